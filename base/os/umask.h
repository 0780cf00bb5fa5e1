// umask.h - the modes of what this process makes.
#pragma once

namespace spillway::os {

// From now on: its user's alone, and usable by that user, whatever umask it was started with.
void keep_files_private();

}  // namespace spillway::os

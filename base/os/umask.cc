#include "base/os/umask.h"

#include <sys/stat.h>

namespace spillway::os {

void keep_files_private() { (void)umask(0077); }

}  // namespace spillway::os

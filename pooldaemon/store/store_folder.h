// store_folder.h - the directory of a segment store that is the daemon's own.
#pragma once
#include <spillway/store.hpp>
#include <string>
#include <vector>

#include "base/core/result.h"

namespace spillway::pool {

// Names in a directory in the order of the file system; none where it cannot be read.
std::vector<std::string> names_in(const std::string& directory);

// What a segment store itself makes in its directory.
bool is_of_store(const std::string& name);
// Closes the store, and removes it with all its files, and no others. The directory may be missing.
Errno remove_store(spillway::Store& store, const std::string& directory);

}  // namespace spillway::pool

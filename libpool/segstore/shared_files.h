// shared_files.h - a store's files in shared memory: the index, and the ring of those who write through
// another process.
//
// They have random names in a directory that all users share; CONTROL tells which is in use. Each begins with
// an IndexHeader that says whose it is, so that those whose store is gone can be told, and removed.
#pragma once
#include <string>
#include <vector>

#include "libpool/segstore/index.h"

namespace spillway::segstore {

// In the order they should be tried: in `index_directory` (empty: /dev/shm), or in the store's, where that is
// full or missing. Relative to the store's directory.
Result<std::vector<std::string>> new_shared_names(int directory, const std::string& index_directory);
// Whose the file is; the caller adds the rest.
Errno fill_head(IndexHeader& head, int directory, const std::string& path, const std::string& boot_id);
// Nothing else, whatever a damaged CONTROL says; nor what belongs to the store that this one is a copy of.
void remove_shared_file(int directory, const std::string& path);
// Those of this user in `index_directory` whose store is gone, or has another directory by now; and of this
// store all but `in_use`, which a writer left that was killed. By the writer.
void sweep_shared_files(int directory, const std::string& index_directory,
                        const std::vector<std::string>& in_use);
// Something in the directory that is none of a store's; "" when there is nothing.
std::string foreign_name(int directory);

}  // namespace spillway::segstore

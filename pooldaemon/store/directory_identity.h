// directory_identity.h - to which pool a spill directory belongs: the file `spillway-pool` in it, and the
// manifest in one of the pool's directories. Both have the pool's number, which is made with the first start.
//
// Why: directories are given in any order, some of them, or somewhere else than last time, and a file of ours
// is deleted only where it is certain that it is. Always: the manifest is written before the marks of
// directories that it is about. Threads: the loop's, at the start.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "pooldaemon/store/disk.h"
#include "pooldaemon/store/manifest.h"

namespace spillway::pool {

struct PoolOnDisk {
  uint64_t number = 0;
  std::string manifest_path;
  bool manifest_is_missing = false;  // there was one
  ManifestContents contents;         // with the directories' paths of today
  std::vector<bool> belongs;         // by directory: it was this pool's before this start
};

using Directories = std::vector<std::unique_ptr<SpillDirectory>>;

// Says what is wrong, or nothing: directories of different pools, two manifests, files that are in the way.
// Changes nothing.
std::string find_pool(const Directories& directories, PoolOnDisk& pool);
std::string mark_directories(const Directories& directories, const PoolOnDisk& pool);
// A copy of a manifest that was damaged; where, or "".
std::string keep_damaged(const std::string& path);
// A regular file, and it is empty or begins so.
bool is_ours(const std::string& path, std::string_view magic);

}  // namespace spillway::pool

// directory.h - where region files go: the wanted directory if it can hold files, else the first that can.
// Says once what it did when that is not what was asked for.
#pragma once
#include <cstddef>

#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway {

class Directory {
 public:
  constexpr Directory() = default;

  // An unlinked file in the chosen directory; chooses at the first call. Fails when no directory will do (the
  // reason is the wanted one's, or the last candidate's).
  Result<os::Fd> open_file();

  // Another directory from now on. Errors leave the old one: ENOENT, ENOTDIR, EACCES, ENAMETOOLONG...
  Errno change(const char* directory);

  // The directory in use, or that would be used.
  const char* path();

 private:
  Result<os::Fd> choose();
  Result<os::Fd> try_directory(const char* directory);

  static constexpr size_t kPathBytes = 4096;
  char path_[kPathBytes] = {};
};

// The one of the process; under the heap's lock.
extern constinit Directory region_directory;

}  // namespace spillway

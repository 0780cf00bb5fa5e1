// charged_files.h - the files of a segment store in a spill directory: what they have on disk is charged to
// the directory before they have it, and where its limits leave no room the store sees a full disk. Threads:
// any.
#pragma once
#include <atomic>
#include <map>
#include <mutex>
#include <string>

#include "libpool/segstore/files.h"
#include "pooldaemon/store/disk.h"

namespace spillway::pool {

class ChargedFiles final : public segstore::Files {
 public:
  ChargedFiles(Disk& disk, SpillDirectory& directory) : disk_(disk), directory_(directory) {}
  Result<os::Fd> create(int directory, const char* name, uint64_t bytes) override;
  Errno unlink(int directory, const char* name) override;
  void release(int fd, uint64_t offset, uint64_t bytes) override;
  // What is there already, or is no more.
  void recount(const std::string& path);
  uint64_t bytes() const { return bytes_; }

 private:
  struct File {
    uint64_t bytes = 0, inode = 0;
  };
  void charge(File& file, uint64_t bytes);

  Disk& disk_;
  SpillDirectory& directory_;
  std::mutex mutex_;
  std::map<std::string, File> files_;
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace spillway::pool

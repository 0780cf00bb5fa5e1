// disk.h - the spill directories: how full they are, and the files in them.
//
//   DIR/lock             held while a daemon uses the directory
//   DIR/spillway-pool    to which pool the directory belongs (directory_identity.h)
//   DIR/manifest         what is in the files (manifest.h); in one of a pool's directories only
//   DIR/obj-ID           one object (format/object_file.h); obj-ID.tmp while it is written
//   DIR/small/CLASS/     objects below 1 MiB (small_store.h); in the manifest's directory only
//   DIR/names/           small objects by name, for clients (small_names.h); in the first directory only
//   DIR/retained/...     files that outlived their objects, the user's from then on
//
// Always: a directory's use is the sum of what its files were charged. Threads: any; room is given under one
// lock, so that the limits hold whoever asks.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/os/folder.h"
#include "pooldaemon/store/object.h"

namespace spillway::pool {

struct SpillDirectory {
  unsigned index = 0;
  std::string path;
  uint64_t limit_bytes = ~uint64_t{0};
  os::Fd lock;

 private:
  friend class Disk;
  uint64_t used_bytes = 0;
  // What the file system said last, and what was reserved here since.
  struct {
    uint64_t at_ms = 0, available_bytes = 0, reserved_bytes = 0;
  } room;
};

struct DirectoryOption {
  std::string path;
  uint64_t limit_bytes = ~uint64_t{0};
};

class Disk {
 public:
  // Makes, checks and locks the directories. Says what is wrong, or nothing.
  std::string open(const std::vector<DirectoryOption>& directories);

  // The directory with the most room that has it for so many bytes more, charged. Null: none.
  SpillDirectory* reserve(uint64_t bytes);
  // The directory that has the segment stores. One, and the manifest's, which is there whenever the pool is:
  // ids and names that only the store of an absent directory knows would be given again meanwhile. Null: it
  // is on another machine, and segments could not be mapped.
  SpillDirectory* for_stores() const { return for_stores_; }
  bool can_have_stores() const { return for_stores_ != nullptr; }
  void keep_stores_in(const std::string& path);
  // False: there is no room for it.
  bool take(SpillDirectory& directory, uint64_t bytes);
  // What is there already.
  void charge(SpillDirectory& directory, uint64_t bytes);
  void release(SpillDirectory& directory, uint64_t bytes);
  // Why so many bytes found no room, in words.
  std::string why_full(uint64_t bytes) const;
  void set_limits(uint64_t bytes, uint64_t least_free_bytes);
  uint64_t limit() const;
  uint64_t used() const;
  uint64_t used(const SpillDirectory& directory) const;
  // What there is room for.
  uint64_t room_in(SpillDirectory& directory) const;

  std::vector<std::unique_ptr<SpillDirectory>>& directories() { return directories_; }
  const std::string& first_path() const { return directories_.front()->path; }
  static std::string object_path(const SpillDirectory& directory, uint64_t id);

 private:
  uint64_t used_locked() const;
  uint64_t room_locked(SpillDirectory& directory) const;
  void charge_locked(SpillDirectory& directory, uint64_t bytes);

  std::vector<std::unique_ptr<SpillDirectory>> directories_;  // the same from open() on
  mutable std::mutex mutex_;
  uint64_t limit_bytes_ = ~uint64_t{0};
  uint64_t least_free_bytes_ = 0;
  SpillDirectory* for_stores_ = nullptr;
};

}  // namespace spillway::pool

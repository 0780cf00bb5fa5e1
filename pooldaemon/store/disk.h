// disk.h - the spill directories: how full they are, and the files in them.
//
//   DIR/lock             held while a daemon uses the directory
//   DIR/spillway-pool    to which pool the directory belongs (directory_identity.h)
//   DIR/manifest         what is there (manifest.h); in one of a pool's directories only
//   DIR/obj-ID           one object (format/object_file.h); obj-ID.tmp while it is written
//   DIR/pack-N           many small objects, one after the other, as the manifest says; it begins with
//   "SPILLPAK" DIR/retained/...     files that outlived their objects, the user's from then on
//
// Always: used_bytes is the sum of what the directory's copies were charged. Threads: the loop's; only paths
// and descriptors leave it.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/os/folder.h"
#include "pooldaemon/store/object.h"

namespace spillway::pool {

struct SpillDirectory {
  unsigned index = 0;
  std::string path;
  uint64_t limit_bytes = ~uint64_t{0};
  uint64_t used_bytes = 0;
  os::Fd lock;
  // What the file system said last, and what was reserved here since.
  struct {
    uint64_t at_ms = 0, available_bytes = 0, reserved_bytes = 0;
  } room;
};

// Small objects one after the other. Room freed in it is given back to the file system at once.
struct Pack {
  uint64_t number = 0;
  SpillDirectory* directory = nullptr;
  os::Fd fd;
  uint64_t end = 0;  // where the next object goes
  uint64_t live_objects = 0;
};

struct DirectoryOption {
  std::string path;
  uint64_t limit_bytes = ~uint64_t{0};
};

inline constexpr std::string_view kPackMagic = "SPILLPAK";
inline constexpr uint64_t kPackHeaderBytes = 4096;

class Disk {
 public:
  // Makes, checks and locks the directories. Says what is wrong, or nothing.
  std::string open(const std::vector<DirectoryOption>& directories);

  // The directory with the most room that has it for so many bytes more, charged. Null: none; `why` says how
  // full.
  SpillDirectory* reserve(uint64_t bytes, std::string& why);
  void release(SpillDirectory& directory, uint64_t bytes) { directory.used_bytes -= bytes; }
  void set_limit(uint64_t bytes) { limit_bytes_ = bytes; }
  void set_least_free(uint64_t bytes) { least_free_bytes_ = bytes; }
  uint64_t limit() const { return limit_bytes_; }
  uint64_t used() const;
  // What reserve could give at most, in all directories together.
  uint64_t room_in(SpillDirectory& directory) const;

  std::vector<std::unique_ptr<SpillDirectory>>& directories() { return directories_; }
  const std::string& first_path() const { return directories_.front()->path; }
  static std::string object_path(const SpillDirectory& directory, uint64_t id);

  // The pack that takes the next small objects of a directory.
  Result<Pack*> pack_for(SpillDirectory& directory);
  Result<Pack*> adopt_pack(SpillDirectory& directory, uint64_t number);
  // Its last object has gone: nothing more is put into it. To be removed with its path.
  std::unique_ptr<Pack> take_out(Pack& pack);
  static std::string pack_path(const SpillDirectory& directory, uint64_t number);

 private:
  std::vector<std::unique_ptr<SpillDirectory>> directories_;
  std::map<uint64_t, std::unique_ptr<Pack>> packs_;
  std::map<const SpillDirectory*, Pack*> filling_;
  uint64_t last_pack_ = 0;
  uint64_t limit_bytes_ = ~uint64_t{0};
  uint64_t least_free_bytes_ = 0;
};

}  // namespace spillway::pool

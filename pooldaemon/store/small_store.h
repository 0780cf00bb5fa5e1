// small_store.h - objects below 1 MiB on disk: a segment store of the daemon's own, DIR/small/UID-GID-MODE in
// the manifest's directory.
//
// One for each kind of reader (AccessClass), as a client that reads an object where it lies can read all of
// its segment. Key: the object's id; value: its bytes, then what the manifest would say of it, so that the
// record alone is what a daemon after this one needs (small_record.h). What was put survives a kill; what
// must survive a power cut as well is put and then synchronised, many objects with one flush.
//
// Always: the directory is charged what the store's files have on disk, before they have it; where the limits
// leave no room, the store sees a full disk. Space comes back when the store compacts itself. A store that
// the disk refused a flush is opened again with the next write, and can be read meanwhile.
// Threads: each call says whose; `copies` and `commits` are the loop's.
#pragma once
#include <optional>
#include <set>
#include <shared_mutex>
#include <spillway/store.hpp>
#include <string>

#include "libpool/segstore/store_impl.h"
#include "pooldaemon/store/charged_files.h"
#include "pooldaemon/store/manifest.h"
#include "pooldaemon/store/requests.h"

namespace spillway::pool {

class SmallStore {
 public:
  static constexpr const char* kFolder = "small";

  SmallStore(Disk& disk, SpillDirectory& directory, AccessClass access);
  SpillDirectory& directory() const { return directory_; }
  const std::string& path() const { return path_; }
  uint64_t disk_bytes() const { return files_.bytes(); }
  static std::string folder_name(AccessClass access);
  static std::optional<AccessClass> parse_folder_name(const std::string& name);

  // --- the journal's thread
  StoreStatus put(const ManifestEntry& entry, std::string_view data);
  // What is said of an object that is there changes.
  StoreStatus edit(uint64_t id, const std::function<void(ManifestEntry&)>& change);
  // What has gone has gone, also when the disk does not take note of it now: then it is still owed.
  void remove(uint64_t id);
  void unname(uint64_t id);
  bool owes() const { return !owed_.empty(); }
  void settle();
  // Nothing is in it any more. The next put begins it anew.
  void remove_files();

  // --- any thread
  StoreStatus sync();  // all that was put before is on the device
  StoreStatus read(uint64_t id, char* to, uint64_t bytes) const;
  StoreResult<FilePlace> find(uint64_t id, uint64_t bytes) const;

  // --- before anybody else has it
  // Opens what an earlier daemon left. Calls with each object, and with what is wrong with objects and
  // segments that are damaged.
  StoreStatus adopt(const std::function<void(ManifestEntry&)>& each,
                    const std::function<void(const std::string&)>& damaged);

  uint64_t copies = 0;  // DiskCopies of this store
  struct {
    std::vector<Done> waiting;  // for a flush that begins from now on
    bool running = false;
  } commits;
  struct {
    uint64_t since_ms = 0;
    bool will_look = false;
  } empty;

 private:
  enum class Owed { kRemove, kUnname };
  StoreStatus make_writable();
  StoreStatus settle_owed();
  StoreStatus put_now(const ManifestEntry& entry, std::string_view data);
  StoreStatus edit_now(uint64_t id, const std::function<void(ManifestEntry&)>& change);

  SpillDirectory& directory_;
  const std::string path_;
  ChargedFiles files_;
  mutable std::shared_mutex mutex_;  // of what store_ is; exclusively, by the journal's thread alone
  spillway::Store store_;
  // The journal's.
  bool is_writer_ = false;
  std::string value_;  // the last, for its memory
  std::set<std::pair<Owed, uint64_t>> owed_;
  bool may_compact_ = true;  // something went since that was of no use
  uint64_t not_before_ms_ = 0;
  StoreStatus refused_;
};

Failure failure_of(const StoreStatus& status);

}  // namespace spillway::pool

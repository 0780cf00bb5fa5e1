// object.h - what the store knows of one object, and of who holds it.
//
// Bytes are owned by reference counting, never by state: an object, each lease on it and each running
// transfer hold the same Memory (or DiskCopy), and the last of them to let go gives it back. So an erased
// object's memory outlives it exactly as long as somebody looks at it, whatever order things end in. Threads:
// the loop's, except that transfers read through a Memory or DiskCopy they hold.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/core/intrusive_list.h"
#include "base/os/file.h"
#include "libpool/wire/message.h"
#include "pooldaemon/store/buffers.h"
#include "pooldaemon/store/slabs.h"

namespace spillway::pool {

class Store;
struct Client;
struct SpillDirectory;
struct Pack;

// Room in memory that has been charged to the limit.
struct Memory {
  explicit Memory(Store& owner) : store(owner) {}
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  Store& store;
  os::Fd fd;                       // a large object's, sealed for good
  std::unique_ptr<Buffer> buffer;  // or one that its maker's next may lie in
  SlabPlace slab;                  // a small one's
  uint64_t charge = 0;             // bytes
  uint64_t leaving_since_ms = 0;   // its object let go of it; others hold it still
  bool pinned = false;             // one of those is a pin
  int descriptor() const { return buffer ? buffer->fd.get() : fd.get(); }
  // Somebody whose lease was taken back does not look at the bytes any more, so they can be used again at
  // once.
  bool used_again() const { return buffer || slab.slab != nullptr; }
};

// Room on disk that has been charged to a directory, or a file of a user's, which is never deleted.
struct DiskCopy {
  explicit DiskCopy(Store& owner) : store(owner) {}
  ~DiskCopy();
  DiskCopy(const DiskCopy&) = delete;
  DiskCopy& operator=(const DiskCopy&) = delete;

  Store& store;
  SpillDirectory* directory = nullptr;  // null: not in one of ours
  Pack* pack = nullptr;                 // null: a file of its own
  std::string path;                     // of that
  uint64_t offset = 0;                  // of the stored bytes
  uint64_t stored_bytes = 0;
  uint64_t charge = 0;
  uint64_t checksum = 0;
  std::vector<std::string> filters;
  bool users = false;     // the user's file
  bool raw = false;       // no header: the whole file is the object
  bool verified = false;  // its checksum was seen to be right
  bool forget = true;     // the file goes when nobody holds this any more
  bool in_manifest = false;
  uint64_t id = 0;
};

struct Object;

// One object that one client holds: an entry in the table they share.
struct Lease {
  Client* client = nullptr;
  uint32_t slot = 0;
  Object* object = nullptr;  // null: taken back, the client has still to let go
  std::shared_ptr<Memory> memory;
  std::shared_ptr<DiskCopy> disk;
  Lease* next = nullptr;  // of the same object
};

struct DestroyCall {
  uint64_t client = 0;
  uint64_t cookie = 0;
};

// What few objects have.
struct Details {
  std::string tag;
  std::string filters;
  std::string error;  // state kFailed
  uint16_t error_status = 0;
  std::vector<std::pair<std::string, std::string>> device_tags;
  std::vector<DestroyCall> on_destroy;
};

struct Object : ListHook {
  uint64_t id = 0;
  uint64_t key = 0;
  uint64_t bytes = 0;
  uint64_t version = 0;
  uint64_t used_ns = 0;
  uint32_t created_s = 0;
  uint32_t uid = 0, gid = 0;
  uint16_t mode = 0600;
  wire::Residency state = wire::Residency::kCreating;
  wire::Hint hint = wire::Hint::kNormal;
  bool evicted : 1 = false;  // recomputable, and it had to leave
  bool retained : 1 = false;
  bool durable : 1 = false;
  bool listed : 1 = false;      // in one of the policy's lists
  bool protected_ : 1 = false;  // the scan-resistant policy: used more than once
  bool moving : 1 = false;      // leaves memory as soon as its copy is written
  bool spilling : 1 = false;    // a write of it runs
  bool recovered : 1 = false;   // of an earlier daemon, not asked for since
  bool uncounted : 1 = false;
  bool listing : 1 = false;  // a record of it is on its way to the manifest
  uint32_t kept_resident = 0;
  uint32_t references = 0;  // sessions and tokens
  uint64_t maker = 0;       // session
  Lease* leases = nullptr;
  std::shared_ptr<Memory> memory;
  std::shared_ptr<DiskCopy> disk;
  std::unique_ptr<Details> details;
  std::string name;

  Details& more() {
    if (!details) details = std::make_unique<Details>();
    return *details;
  }
};

}  // namespace spillway::pool

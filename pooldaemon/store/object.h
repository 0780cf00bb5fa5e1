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
#include "pooldaemon/store/object_name.h"
#include "pooldaemon/store/ref.h"
#include "pooldaemon/store/slabs.h"

namespace spillway::pool {

class Store;
struct Client;
struct SpillDirectory;
class SmallStore;

// Room in memory that has been charged to the limit.
struct Memory : Counted {
  explicit Memory(Store& owner) : store(owner) {}
  ~Memory();

  // A small object's place in a slab.
  uint32_t offset = 0;
  Slab* slab = nullptr;
  SlabPlace place() const { return {slab, offset}; }
  void set_place(SlabPlace p) { slab = p.slab, offset = p.offset; }
  // A large one's file, sealed for good, or a buffer that its maker's next may lie in.
  struct Large {
    os::Fd fd;
    std::unique_ptr<Buffer> buffer;
  };
  std::unique_ptr<Large> large;
  void take(os::Fd fd) { large.reset(new Large{std::move(fd), nullptr}); }
  void take(std::unique_ptr<Buffer> buffer) { large.reset(new Large{os::Fd(), std::move(buffer)}); }
  const os::Fd& fd() const { return buffer() ? buffer()->fd : large->fd; }
  Buffer* buffer() const { return large ? large->buffer.get() : nullptr; }

  Store& store;
  uint64_t charge = 0;  // bytes
  // Somebody whose lease was taken back does not look at the bytes any more, so they can be used again at
  // once.
  bool used_again() const { return buffer() || slab != nullptr; }
};
static_assert(sizeof(Memory) <= 40, "one for each small object");

// Room on disk that has been charged to a directory, or a file of a user's, which is never deleted.
struct DiskCopy : Counted {
  explicit DiskCopy(Store& owner) : store(owner) {}
  ~DiskCopy();

  Store& store;
  SpillDirectory* directory = nullptr;  // null: not in one of ours
  SmallStore* small = nullptr;          // null: a file of its own
  std::string path;                     // of that
  uint64_t offset = 0;                  // of the stored bytes
  uint64_t stored_bytes = 0;
  uint64_t charge = 0;
  uint64_t checksum = 0;
  std::vector<std::string> filters;
  bool users = false;   // the user's file
  bool raw = false;     // no header: the whole file is the object
  bool listed = false;  // all of it was written, and its record, in the manifest or the small store
  // Its checksum was seen to be right when it was read, as a whole, once: that it was written says nothing of
  // what the disk made of it.
  bool verified = false;
  bool forget = true;  // the file goes when nobody holds this any more
  bool in_manifest = false;
  uint64_t id = 0;
};

struct Object;

// One object that one client holds: an entry in the table they share.
struct Lease {
  Client* client = nullptr;
  uint32_t slot = 0;
  Object* object = nullptr;  // null: taken back, the client has still to let go
  Ref<Memory> memory;
  Ref<DiskCopy> disk;
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
  uint32_t kept_resident = 0;
  std::vector<std::pair<std::string, std::string>> device_tags;
  std::vector<DestroyCall> on_destroy;
};

struct Object : ListHook {
  uint64_t id = 0;
  uint64_t key = 0;
  uint64_t bytes = 0;
  uint64_t version = 0;
  uint64_t used_ns = 0;
  Lease* leases = nullptr;
  Ref<Memory> memory;
  Ref<DiskCopy> disk;
  std::unique_ptr<Details> details;
  ObjectName name;
  uint32_t maker = 0;       // number of the session; 0: of an earlier daemon
  uint32_t references = 0;  // sessions and tokens
  uint32_t created_s = 0;
  uint32_t uid = 0, gid = 0;
  uint16_t mode = 0600;
  wire::Residency state : 3 = wire::Residency::kCreating;
  bool evicted : 1 = false;  // recomputable, and it had to leave
  bool retained : 1 = false;
  bool durable : 1 = false;
  bool listed : 1 = false;      // in one of the policy's lists
  bool protected_ : 1 = false;  // the scan-resistant policy: used more than once
  wire::Hint hint : 2 = wire::Hint::kNormal;
  bool moving : 1 = false;     // leaves memory as soon as its copy is written
  bool spilling : 1 = false;   // a write of it runs
  bool recovered : 1 = false;  // of an earlier daemon, not asked for since
  bool uncounted : 1 = false;
  bool listing : 1 = false;  // a record of it is on its way to the manifest
  bool shown : 1 = false;    // clients read it by its name without asking

  Details& more() {
    if (!details) details = std::make_unique<Details>();
    return *details;
  }
  uint32_t kept_resident() const { return details ? details->kept_resident : 0; }
};
static_assert(sizeof(Object) <= 120, "there may be millions");

}  // namespace spillway::pool

// slabs.h - memory for objects below 1 MiB: packed by size into memfds that clients map read-only.
//
// Why slabs of one size each: freeing is O(1), nothing is ever moved (a client may hold its address), and
// what is wasted inside is at most an eighth. A slab is sealed against writable mappings by anybody but us
// from birth, and given back whole when its last object goes. Objects of different owners or modes are never
// in one slab: who may map it may read all of it. This is the seam where the segment store could take over:
// allocate, data, release. Threads: one; others may read bytes of a place while they keep it allocated.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "base/os/memfd.h"
#include "base/os/process.h"

namespace spillway::pool {

// Who may read: slabs and packs are not shared between different answers.
struct AccessClass {
  uint32_t uid = 0, gid = 0;
  uint16_t read_mode = 0;
  auto operator<=>(const AccessClass&) const = default;
};

struct Slab;

struct SlabPlace {
  Slab* slab = nullptr;
  uint32_t offset = 0;
};

struct Slab {
  uint32_t id = 0;
  uint32_t slot_bytes = 0;
  uint32_t slots = 0;
  uint32_t touched = 0;        // slots [0, touched) have their pages
  std::vector<uint16_t> free;  // of those
  os::Fd fd, read_only;
  os::Mapping mapping;
  AccessClass access;
  // Not 0: this session writes into it, and nobody else's objects are in it.
  uint64_t owner = 0;
  uint32_t leases = 0;
  std::vector<uint64_t> mapped_by;  // sessions that were given the descriptor
  bool has_room() const { return !free.empty() || touched < slots; }
};

// Slots that a session may write to.
struct LeasedSlots {
  Slab* slab = nullptr;
  std::vector<uint32_t> offsets;
};

class Slabs {
 public:
  static constexpr uint64_t kLeaseBytes = 256 << 10;

  // Called when a slab is given back, for each session that maps it.
  explicit Slabs(std::function<void(uint64_t session, uint32_t slab)> gone) : gone_(std::move(gone)) {}

  // `bytes` is 1 to 1 MiB. ENOMEM, EMFILE.
  Result<SlabPlace> allocate(uint64_t bytes, AccessClass access);
  void release(SlabPlace place);
  // Slots for objects of the session's own, in a slab that it may map for writing until it ends; the memory
  // is there. What is free again is leased to the same session only.
  Result<LeasedSlots> lease(uint64_t session, uint64_t bytes, AccessClass access);
  void end_lease(Slab& slab);
  void close(uint64_t session);
  // allocate() would take no new page for it.
  bool has_room(uint64_t bytes, AccessClass access) const;
  // Gives back the empty ones that were kept for the next object.
  void trim();
  static char* data(SlabPlace place) { return place.slab->mapping.data() + place.offset; }

  // Pages in use, whatever lies in them.
  uint64_t allocated_bytes() const { return allocated_bytes_; }

 private:
  using Key = std::pair<AccessClass, uint32_t>;
  void drop(Slab& slab);
  void drop_if_spare(Slab& slab);
  Result<std::unique_ptr<Slab>> make(AccessClass access, uint32_t slot_bytes, uint32_t slots);
  std::vector<Slab*>& list_of(const Slab& slab);

  std::function<void(uint64_t, uint32_t)> gone_;
  std::map<Key, std::vector<Slab*>> with_room_;
  std::map<std::pair<uint64_t, uint32_t>, std::vector<Slab*>> owned_;  // by session and size
  std::map<uint32_t, std::unique_ptr<Slab>> slabs_;
  // Not those of a daemon before this one: a client may know them still.
  uint32_t last_id_ = static_cast<uint32_t>(os::random_number());
  uint64_t allocated_bytes_ = 0;
};

}  // namespace spillway::pool

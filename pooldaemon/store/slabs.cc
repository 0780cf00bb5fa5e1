#include "pooldaemon/store/slabs.h"

#include <algorithm>
#include <bit>

#include "base/core/check.h"
#include "base/core/units.h"
#include "libpool/wire/message.h"

namespace spillway::pool {
namespace {

constexpr uint32_t kAlignment = 64;  // a cache line: objects are used in place
constexpr uint64_t kSlabBytes = 512 * kKiB;

// Slots enough that a slab's bookkeeping (a mapping, two descriptors) is small beside it.
uint32_t slots_of(uint32_t slot_bytes) {
  return static_cast<uint32_t>(std::clamp<uint64_t>(kSlabBytes / slot_bytes, 4, 8192));
}
// Of the slots [from, to), the pages that earlier ones did not have.
uint64_t pages_for(uint32_t slot_bytes, uint32_t slots) {
  return round_up(uint64_t{slot_bytes} * slots, kPageBytes);
}

}  // namespace

uint32_t Slabs::slot_bytes_for(uint64_t bytes) {
  if (bytes <= 512) return static_cast<uint32_t>(round_up(std::max<uint64_t>(bytes, 1), kAlignment));
  // Eight sizes for each doubling.
  const uint64_t step = std::bit_floor(bytes - 1) / 8;
  return static_cast<uint32_t>(round_up(bytes, step));
}

Result<Slab*> Slabs::make(AccessClass access, uint32_t slot_bytes) {
  auto slab = std::make_unique<Slab>();
  slab->id = ++last_id_ & ~wire::kBufferBit;
  slab->slot_bytes = slot_bytes;
  slab->slots = slots_of(slot_bytes);
  slab->access = access;
  const uint64_t bytes = pages_for(slot_bytes, slab->slots);
  Result<os::Fd> fd = os::make_memfd("spillway-slab", bytes);
  if (!fd) return fd.error();
  slab->fd = std::move(*fd);
  Result<os::Mapping> mapping = os::Mapping::read_write(slab->fd.get(), 0, bytes);
  if (!mapping) return mapping.error();
  slab->mapping = std::move(*mapping);
  if (Errno e = os::seal_memfd_for_others(slab->fd.get()); !e.ok()) return e;
  Result<os::Fd> read_only = os::reopen_read_only(slab->fd.get());
  if (!read_only) return read_only.error();
  slab->read_only = std::move(*read_only);
  Slab* const raw = slab.get();
  slabs_[raw->id] = std::move(slab);
  with_room_[{access, slot_bytes}].push_back(raw);
  return raw;
}

Result<SlabPlace> Slabs::allocate(uint64_t bytes, AccessClass access) {
  const uint32_t slot_bytes = slot_bytes_for(bytes);
  std::vector<Slab*>& candidates = with_room_[{access, slot_bytes}];
  Slab* slab = candidates.empty() ? nullptr : candidates.back();
  if (slab == nullptr) {
    Result<Slab*> made = make(access, slot_bytes);
    if (!made) return made.error();
    slab = *made;
  }
  uint32_t slot;
  if (!slab->free.empty()) {
    slot = slab->free.back();
    slab->free.pop_back();
  } else {
    // The pages are there before anybody writes to them: no memory is an answer, not a SIGBUS.
    slot = slab->touched;
    const uint64_t before = pages_for(slot_bytes, slot), after = pages_for(slot_bytes, slot + 1);
    if (after > before)
      if (Errno e = os::preallocate(slab->fd.get(), before, after - before, true); !e.ok()) return e;
    allocated_bytes_ += after - before;
    ++slab->touched;
  }
  if (!slab->has_room()) candidates.pop_back();
  return SlabPlace{slab, slot * slot_bytes};
}

bool Slabs::has_room(uint64_t bytes, AccessClass access) const {
  const auto found = with_room_.find({access, slot_bytes_for(bytes)});
  if (found == with_room_.end() || found->second.empty()) return false;
  const Slab& slab = *found->second.back();
  return !slab.free.empty() ||
         pages_for(slab.slot_bytes, slab.touched) >= uint64_t{slab.slot_bytes} * (slab.touched + 1);
}

void Slabs::release(SlabPlace place) {
  Slab* const slab = place.slab;
  std::vector<Slab*>& candidates = with_room_[{slab->access, slab->slot_bytes}];
  if (!slab->has_room()) candidates.push_back(slab);
  slab->free.push_back(static_cast<uint16_t>(place.offset / slab->slot_bytes));
  CHECK(slab->free.size() <= slab->touched, "a slot of a slab was freed twice");
  if (slab->free.size() < slab->touched) return;
  // Empty. The last one of its size stays, unless it is large, so that put and erase in turn are cheap.
  if (candidates.size() == 1 && pages_for(slab->slot_bytes, slab->touched) <= 64 * kKiB) return;
  drop(*slab);
}

void Slabs::drop(Slab& slab) {
  std::vector<Slab*>& candidates = with_room_[{slab.access, slab.slot_bytes}];
  candidates.erase(std::find(candidates.begin(), candidates.end(), &slab));
  allocated_bytes_ -= pages_for(slab.slot_bytes, slab.touched);
  for (uint64_t session : slab.mapped_by) gone_(session, slab.id);
  slabs_.erase(slab.id);
}

void Slabs::trim() {
  std::vector<Slab*> empty;
  for (const auto& [id, slab] : slabs_)
    if (slab->free.size() == slab->touched) empty.push_back(slab.get());
  for (Slab* slab : empty) drop(*slab);
}

}  // namespace spillway::pool

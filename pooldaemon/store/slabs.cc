#include "pooldaemon/store/slabs.h"

#include <algorithm>
#include <bit>

#include "base/core/check.h"
#include "base/core/units.h"
#include "libpool/wire/announce.h"

namespace spillway::pool {
namespace {

constexpr uint64_t kSlabBytes = 512 * kKiB;
constexpr uint64_t kMostLeasedSlots = 512;

// Slots enough that a slab's bookkeeping (a mapping, two descriptors) is small beside it.
uint32_t slots_of(uint32_t slot_bytes) {
  return static_cast<uint32_t>(std::clamp<uint64_t>(kSlabBytes / slot_bytes, 4, 8192));
}
// Of the slots [from, to), the pages that earlier ones did not have.
uint64_t pages_for(uint32_t slot_bytes, uint32_t slots) {
  return round_up(uint64_t{slot_bytes} * slots, kPageBytes);
}

}  // namespace

// Written by us.
Result<std::unique_ptr<Slab>> Slabs::make(AccessClass access, uint32_t slot_bytes, uint32_t slots) {
  auto slab = std::make_unique<Slab>();
  slab->id = ++last_id_ & ~wire::kBufferBit;
  slab->slot_bytes = slot_bytes;
  slab->slots = slots;
  slab->access = access;
  const uint64_t bytes = pages_for(slot_bytes, slab->slots);
  Result<os::Fd> fd = os::make_memfd("spillway-slab", bytes);
  if (!fd) return fd.error();
  slab->fd = std::move(*fd);
  Result<os::Mapping> mapping = os::Mapping::read_write(slab->fd.get(), 0, bytes);
  if (!mapping) return mapping.error();
  slab->mapping = std::move(*mapping);
  Result<os::Fd> read_only = os::reopen_read_only(slab->fd.get());
  if (!read_only) return read_only.error();
  slab->read_only = std::move(*read_only);
  return slab;
}

std::vector<Slab*>& Slabs::list_of(const Slab& slab) {
  return slab.owner != 0 ? owned_[{slab.owner, slab.slot_bytes}] : with_room_[{slab.access, slab.slot_bytes}];
}

Result<SlabPlace> Slabs::allocate(uint64_t bytes, AccessClass access) {
  const uint32_t slot_bytes = wire::slot_bytes_for(bytes);
  std::vector<Slab*>& candidates = with_room_[{access, slot_bytes}];
  Slab* slab = candidates.empty() ? nullptr : candidates.back();
  if (slab == nullptr) {
    Result<std::unique_ptr<Slab>> made = make(access, slot_bytes, slots_of(slot_bytes));
    if (!made) return made.error();
    slab = made->get();
    if (Errno e = os::seal_memfd_for_others(slab->fd.get()); !e.ok()) return e;
    candidates.push_back(slab);
    slabs_[slab->id] = std::move(*made);
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
  const auto found = with_room_.find({access, wire::slot_bytes_for(bytes)});
  if (found == with_room_.end() || found->second.empty()) return false;
  const Slab& slab = *found->second.back();
  return !slab.free.empty() ||
         pages_for(slab.slot_bytes, slab.touched) >= uint64_t{slab.slot_bytes} * (slab.touched + 1);
}

void Slabs::release(SlabPlace place) {
  Slab* const slab = place.slab;
  std::vector<Slab*>& candidates = list_of(*slab);
  if (slab->owner == 0 && !slab->has_room()) candidates.push_back(slab);
  slab->free.push_back(static_cast<uint16_t>(place.offset / slab->slot_bytes));
  CHECK(slab->free.size() <= slab->touched, "a slot of a slab was freed twice");
  if (slab->free.size() < slab->touched || slab->leases > 0) return;
  if (slab->owner != 0) return drop_if_spare(*slab);
  // Empty. The last one of its size stays, unless it is large, so that put and erase in turn are cheap.
  if (candidates.size() == 1 && pages_for(slab->slot_bytes, slab->touched) <= 64 * kKiB) return;
  drop(*slab);
}

// A session that puts and erases in turn keeps one empty slab of each size.
void Slabs::drop_if_spare(Slab& slab) {
  const std::vector<Slab*>& all = list_of(slab);
  const auto empty = std::count_if(
      all.begin(), all.end(), [](const Slab* s) { return s->leases == 0 && s->free.size() == s->touched; });
  if (empty > 1) drop(slab);
}

Result<LeasedSlots> Slabs::lease(uint64_t session, uint64_t bytes, AccessClass access) {
  const uint32_t slot_bytes = wire::slot_bytes_for(bytes);
  std::vector<Slab*>& owned = owned_[{session, slot_bytes}];
  const auto worth = std::find_if(owned.begin(), owned.end(), [](const Slab* s) {
    return s->leases == 0 && s->free.size() * 2 >= s->slots;
  });
  Slab* slab = worth == owned.end() ? nullptr : *worth;
  if (slab == nullptr) {
    const auto slots = static_cast<uint32_t>(std::min<uint64_t>(kLeaseBytes / slot_bytes, kMostLeasedSlots));
    Result<std::unique_ptr<Slab>> made = make(access, slot_bytes, slots);
    if (!made) return made.error();
    slab = made->get();
    const uint64_t pages = pages_for(slot_bytes, slots);
    if (Errno e = os::preallocate(slab->fd.get(), 0, pages, true); !e.ok()) return e;
    slab->owner = session;
    slab->touched = slots;
    for (uint32_t slot = slots; slot-- > 0;) slab->free.push_back(static_cast<uint16_t>(slot));
    allocated_bytes_ += pages;
    owned.push_back(slab);
    slabs_[slab->id] = std::move(*made);
  }
  ++slab->leases;
  LeasedSlots leased{slab, {}};
  for (; !slab->free.empty(); slab->free.pop_back())
    leased.offsets.push_back(uint32_t{slab->free.back()} * slot_bytes);
  return leased;
}

void Slabs::end_lease(Slab& slab) {
  --slab.leases;
  if (slab.leases == 0 && slab.free.size() == slab.touched) drop_if_spare(slab);
}

// Nobody writes to its slabs any more but us: they are like others now.
void Slabs::close(uint64_t session) {
  for (auto at = owned_.lower_bound({session, 0}); at != owned_.end() && at->first.first == session;) {
    const std::vector<Slab*> slabs = std::move(at->second);
    at = owned_.erase(at);
    for (Slab* slab : slabs) {
      (void)os::seal_memfd_for_others(slab->fd.get()).ok();
      slab->owner = 0;
      std::vector<Slab*>& candidates = list_of(*slab);
      if (slab->has_room()) candidates.push_back(slab);
      if (slab->free.size() == slab->touched) drop(*slab);
    }
  }
}

void Slabs::drop(Slab& slab) {
  std::vector<Slab*>& candidates = list_of(slab);
  candidates.erase(std::find(candidates.begin(), candidates.end(), &slab));
  allocated_bytes_ -= pages_for(slab.slot_bytes, slab.touched);
  if (slab.owner != 0) gone_(slab.owner, slab.id);
  for (uint64_t session : slab.mapped_by)
    if (session != slab.owner) gone_(session, slab.id);
  slabs_.erase(slab.id);
}

void Slabs::trim() {
  std::vector<Slab*> empty;
  for (const auto& [id, slab] : slabs_)
    if (slab->free.size() == slab->touched) empty.push_back(slab.get());
  for (Slab* slab : empty) drop(*slab);
}

}  // namespace spillway::pool

#include "libpreload/address_space.h"

#include <bit>
#include <new>

#include "base/core/check.h"
#include "base/os/memory.h"

namespace spillway {
namespace {

int bin_of(uint64_t bytes) { return std::bit_width(bytes >> kExtentShift) - 1; }

// The first address within the region where `bytes` with that alignment fit, or null.
char* fit(const Region& region, uint64_t bytes, uint64_t alignment) {
  const uint64_t base = reinterpret_cast<uint64_t>(region.span.base);
  const uint64_t aligned = round_up(base, alignment);
  const uint64_t skipped = aligned - base;
  return skipped <= region.span.bytes && region.span.bytes - skipped >= bytes
             ? reinterpret_cast<char*>(aligned)
             : nullptr;
}

}  // namespace

Region* AddressSpace::new_region() {
  if (unused_.empty()) {
    constexpr uint64_t kSlabBytes = 64 * kKiB;
    auto slab = os::reserve(kSlabBytes, kPageBytes);
    if (!slab || !os::map_anonymous(*slab).ok()) os::die("no memory to describe large blocks");
    // The slabs are never unmapped: a stale page map entry may be looked at, and must find a Region.
    for (char* at = slab->base; at + sizeof(Region) <= slab->end(); at += sizeof(Region))
      unused_.push_back(*new (at) Region);
  }
  Region* region = unused_.front();
  unused_.remove(*region);
  return region;
}

void AddressSpace::delete_region(Region& region) {
  region.span = {};
  region.chunk = nullptr;
  unused_.push_front(region);
}

void AddressSpace::tag(Region& region) {
  map_.set_region({region.span.base, kExtentBytes}, &region);
  map_.set_region({region.span.end() - kExtentBytes, kExtentBytes}, &region);
}

void AddressSpace::list(Region& region) {
  if (region.state == Region::State::kRecycled) {
    recycled_.push_back(region);
    recycled_bytes_ += region.span.bytes;
  } else {
    free_[bin_of(region.span.bytes)].push_front(region);
  }
}

void AddressSpace::unlist(Region& region) {
  if (region.state == Region::State::kRecycled) {
    recycled_.remove(region);
    recycled_bytes_ -= region.span.bytes;
  } else {
    free_[bin_of(region.span.bytes)].remove(region);
  }
}

// Cuts an unlisted region to `bytes`; the rest, of the same state, is returned unlisted and tagged.
Region* AddressSpace::split(Region& region, uint64_t bytes) {
  Region* rest = new_region();
  rest->span = {region.span.base + bytes, region.span.bytes - bytes};
  rest->chunk = region.chunk;
  rest->state = region.state.load();
  const uint64_t committed = region.committed;
  rest->committed = committed > bytes ? committed - bytes : 0;
  region.committed = std::min(committed, bytes);
  region.span.bytes = bytes;
  tag(*rest);
  tag(region);
  return rest;
}

Region* AddressSpace::carve(Region& found, uint64_t bytes, uint64_t alignment) {
  char* at = fit(found, bytes, alignment);
  unlist(found);
  Region* taken = &found;
  if (at != found.span.base) {
    taken = split(found, found.span.offset_of(at));
    list(found);
  }
  if (taken->span.bytes != bytes) list(*split(*taken, bytes));
  return taken;
}

Region* AddressSpace::take_from(List& candidates, const Backing& backing, uint64_t bytes,
                                uint64_t alignment) {
  Region* best = nullptr;
  for (Region* r = candidates.front(); r != nullptr; r = candidates.after(r)) {
    if (r->chunk->backing != &backing || r->chunk->retired || fit(*r, bytes, alignment) == nullptr) continue;
    if (best == nullptr || r->span.bytes < best->span.bytes) best = r;
    if (best->span.bytes == bytes) break;
  }
  return best != nullptr ? carve(*best, bytes, alignment) : nullptr;
}

Region* AddressSpace::take(const Backing& backing, uint64_t bytes, uint64_t alignment, Region::State wanted) {
  if (wanted == Region::State::kRecycled) return take_from(recycled_, backing, bytes, alignment);
  // Small bins first: the untouched rest of a chunk, in the highest, is broken only when nothing else will
  // do.
  for (int bin = bin_of(bytes); bin < kBins; ++bin)
    if (Region* region = take_from(free_[bin], backing, bytes, alignment)) return region;
  return nullptr;
}

void AddressSpace::mark_live(Region& region) {
  region.shared_with_children = false;
  region.advice = 0;
  region.advice_is_programs = false;
  region.disturbed = false;
  region.is_mapping = false;
  region.has_foreign_pages = false;
  region.state.store(Region::State::kLive, std::memory_order_release);
  map_.set_region(region.span, &region);
  ++region.chunk->live_regions;
}

void AddressSpace::give_back(Region& region, Region::State state) {
  region.unmapped.reset();
  if (region.state == Region::State::kLive) --region.chunk->live_regions;
  region.state.store(state, std::memory_order_release);
  if (state == Region::State::kFree) region.committed = 0;
  Region* merged = &region;

  if (region.span.base != region.chunk->range.base) {
    Region* before = map_.region_at(region.span.base - kExtentBytes);
    if (before->state == state) {
      unlist(*before);
      // What is committed of the later part counts only if there is no gap before it.
      if (before->committed == before->span.bytes) before->committed = before->span.bytes + region.committed;
      before->span.bytes += region.span.bytes;
      delete_region(region);
      merged = before;
    }
  }
  if (Region* behind = next_of(*merged); behind != nullptr && behind->state == state) {
    unlist(*behind);
    if (merged->committed == merged->span.bytes) merged->committed = merged->span.bytes + behind->committed;
    merged->span.bytes += behind->span.bytes;
    delete_region(*behind);
  }
  tag(*merged);
  list(*merged);
}

bool AddressSpace::extend(Region& region, uint64_t bytes, bool& recycled) {
  Region* behind = next_of(region);
  if (behind == nullptr || behind->state == Region::State::kLive || region.chunk->retired) return false;
  const uint64_t more = bytes - region.span.bytes;
  if (behind->span.bytes < more) return false;
  recycled = behind->state == Region::State::kRecycled;
  unlist(*behind);
  if (behind->span.bytes != more) list(*split(*behind, more));
  delete_region(*behind);
  region.span.bytes = bytes;
  map_.set_region(region.span, &region);
  return true;
}

Region* AddressSpace::cut(Region& region, uint64_t bytes) {
  Region* rest = split(region, bytes);
  ++region.chunk->live_regions;  // both halves are live until the rest is given back
  return rest;
}

Chunk* AddressSpace::add_chunk(PageRange range, Backing& backing) {
  auto memory = os::reserve(round_up(Chunk::footprint(range.bytes), kPageBytes), kPageBytes);
  if (!memory || !os::map_anonymous(*memory).ok()) return nullptr;
  Chunk* chunk = new (memory->base) Chunk;
  chunk->range = range;
  chunk->backing = &backing;
  chunk->next = chunks_;
  chunks_ = chunk;
  Region* all = new_region();
  all->span = range;
  all->chunk = chunk;
  all->committed = 0;
  all->state = Region::State::kFree;
  tag(*all);
  list(*all);
  return chunk;
}

void AddressSpace::remove_chunk(Chunk& chunk) {
  CHECK(chunk.live_regions == 0, "removing a chunk with live blocks");
  for (Region* r = first_of(chunk); r != nullptr;) {
    Region* next = next_of(*r);
    unlist(*r);
    delete_region(*r);
    r = next;
  }
  map_.set_region(chunk.range, nullptr);
  Chunk** link = &chunks_;
  while (*link != &chunk) link = &(*link)->next;
  *link = chunk.next;
  const uint64_t footprint = round_up(Chunk::footprint(chunk.range.bytes), kPageBytes);
  os::unreserve({reinterpret_cast<char*>(&chunk), footprint});
}

}  // namespace spillway

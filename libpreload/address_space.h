// address_space.h - which address belongs to whom: chunks tiled by regions, free ones kept by size and merged
// with their neighbours (boundary tags, with the page map as the tags). Knows nothing of files or memory.
// Threads: the caller holds the heap's lock.
#pragma once
#include "libpreload/backing/backing.h"
#include "libpreload/page_map.h"
#include "libpreload/region.h"

namespace spillway {

class AddressSpace {
 public:
  explicit constexpr AddressSpace(PageMap& map) : map_(map) {}

  // Takes `bytes` of free space aligned to `alignment` (both multiples of a granule) from an open chunk of
  // `backing`. With kRecycled only space whose pages are still there. Null: there is none; see add_chunk. The
  // result is in neither list and has the state it was found in.
  Region* take(const Backing& backing, uint64_t bytes, uint64_t alignment, Region::State wanted);

  // Gives a region back as kFree or kRecycled; merges it with neighbours of the same state.
  void give_back(Region& region, Region::State state);

  // Extends a live region by free space right behind it, to `bytes` in all. False: somebody is there.
  // `recycled` says whether some of the new space may hold old bytes.
  bool extend(Region& region, uint64_t bytes, bool& recycled);
  // Cuts a live region to `bytes` and returns the rest, in no list, for give_back.
  Region* cut(Region& region, uint64_t bytes);

  // A chunk over reserved space, all of it one free region. Null: no memory for its description.
  Chunk* add_chunk(PageRange range, Backing& backing);
  // Forgets an empty chunk; its address space is the caller's again.
  void remove_chunk(Chunk& chunk);
  Chunk* chunks() { return chunks_; }

  // Regions of a chunk in address order.
  Region* first_of(Chunk& chunk) { return map_.region_at(chunk.range.base); }
  Region* next_of(Region& region) {
    return region.span.end() == region.chunk->range.end() ? nullptr : map_.region_at(region.span.end());
  }

  // Recycled space, oldest first, and its sum.
  Region* oldest_recycled() { return recycled_.front(); }
  Region* next_recycled(Region& region) { return recycled_.after(&region); }
  uint64_t recycled_bytes() const { return recycled_bytes_; }
  // Out of the lists, to be given back in another state.
  void unlist(Region& region);

  void mark_live(Region& region);

 private:
  static constexpr int kBins = 48;  // bin i: 2^i <= granules < 2^(i+1)
  using List = IntrusiveList<Region>;

  Region* new_region();
  void delete_region(Region& region);
  void list(Region& region);
  void tag(Region& region);
  Region* split(Region& region, uint64_t bytes);
  Region* carve(Region& found, uint64_t bytes, uint64_t alignment);
  Region* take_from(List& candidates, const Backing& backing, uint64_t bytes, uint64_t alignment);

  PageMap& map_;
  Chunk* chunks_ = nullptr;
  List free_[kBins];
  List recycled_;
  uint64_t recycled_bytes_ = 0;
  List unused_;  // Region objects to use again
};

}  // namespace spillway

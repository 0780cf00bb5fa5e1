// page_map.h - address -> who answers for it, in two loads and without a lock. free() asks it for every block
// that is not in the window of small ones.
//
// One entry per 2 MiB of address space: nobody, the small-block heap, or the region that covers the entry.
// The upper level is a table of 4,096 pointers, each to a leaf that covers 32 GiB; a leaf that was never
// written is the one shared leaf of zeroes, so a lookup has no null check. It never looks at the memory it
// speaks of.
//
// Entries inside a region that was freed may be stale: an owner is believed only after
// owner->contains(address). Threads: any; set() of one address by one thread at a time (the caller's lock).
#pragma once
#include <atomic>

#include "base/core/page_range.h"

namespace spillway {

class Region;

class PageMap {
 public:
  constexpr PageMap() = default;

  // True for memory of the small-block heap. Exact to 2 MiB: a neighbour within the same granule is taken for
  // it.
  bool is_small(const void* p) const { return entry(p).load(std::memory_order_relaxed) == small_mark(); }
  // The region whose granule this is, live or stale; null for nobody and for the small-block heap.
  Region* region_at(const void* p) const {
    Region* r = entry(p).load(std::memory_order_acquire);
    return r == small_mark() ? nullptr : r;
  }

  // Both abort when there is no memory for a leaf: 128 KiB per 32 GiB of address space.
  void set_region(PageRange range, Region* region);
  void mark_small(PageRange range);

 private:
  static constexpr int kAddressBits = 47;  // what the kernel gives without being asked for more
  static constexpr int kLeafBits = 14;
  static constexpr size_t kLeafEntries = size_t{1} << kLeafBits;
  static constexpr size_t kRootEntries = size_t{1} << (kAddressBits - kExtentShift - kLeafBits);
  using Entry = std::atomic<Region*>;
  struct Leaf {
    Entry entries[kLeafEntries];
  };

  static Region* small_mark() { return reinterpret_cast<Region*>(uintptr_t{1}); }
  const Entry& entry(const void* p) const {
    const uint64_t address = reinterpret_cast<uint64_t>(p);
    const Leaf* leaf =
        root_[(address >> (kExtentShift + kLeafBits)) & (kRootEntries - 1)].load(std::memory_order_relaxed);
    // relaxed is enough: whoever holds a block got its address from a thread that had installed the leaf
    // before.
    return (leaf != nullptr ? leaf : &empty_leaf_)->entries[(address >> kExtentShift) & (kLeafEntries - 1)];
  }
  Entry& writable_entry(const char* p);
  void set(PageRange range, Region* value);

  static Leaf empty_leaf_;
  std::atomic<Leaf*> root_[kRootEntries] = {};
};

// The one of the process.
// Hidden in words, so that malloc() and free() reach it without the global offset table.
[[gnu::visibility("hidden")]] extern constinit PageMap page_map;

}  // namespace spillway

#include "libpreload/page_map.h"

#include "base/core/check.h"
#include "base/os/memory.h"

namespace spillway {

constinit PageMap page_map;
constinit PageMap::Leaf PageMap::empty_leaf_{};

PageMap::Entry& PageMap::writable_entry(const char* p) {
  const uint64_t address = reinterpret_cast<uint64_t>(p);
  CHECK(address >> kAddressBits == 0, "an address beyond the page map");
  std::atomic<Leaf*>& slot = root_[address >> (kExtentShift + kLeafBits)];
  Leaf* leaf = slot.load(std::memory_order_acquire);
  if (leaf == nullptr) {
    auto memory = os::reserve(sizeof(Leaf), kPageBytes);
    if (!memory || !os::map_anonymous(*memory).ok()) os::die("no memory for the page map");
    Leaf* fresh = reinterpret_cast<Leaf*>(memory->base);  // zeroed memory is a valid Leaf: null pointers
    if (slot.compare_exchange_strong(leaf, fresh, std::memory_order_acq_rel))
      leaf = fresh;
    else
      os::unreserve(*memory);  // another thread was first
  }
  return leaf->entries[(address >> kExtentShift) & (kLeafEntries - 1)];
}

void PageMap::set(PageRange range, Region* value) {
  for (char* p = range.base; p < range.end(); p += kExtentBytes)
    writable_entry(p).store(value, std::memory_order_release);
}

void PageMap::set_region(PageRange range, Region* region) { set(range, region); }

void PageMap::mark_small(PageRange range) {
  char* first = reinterpret_cast<char*>(round_down(reinterpret_cast<uint64_t>(range.base), kExtentBytes));
  set({first, static_cast<uint64_t>(range.end() - first)}, small_mark());
}

}  // namespace spillway

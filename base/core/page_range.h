// page_range.h - a stretch of address space. A plain value: owning memory is somebody else's business.
#pragma once
#include <algorithm>

#include "base/core/units.h"

namespace spillway {

struct PageRange {
  char* base = nullptr;
  uint64_t bytes = 0;

  char* end() const { return base + bytes; }
  bool empty() const { return bytes == 0; }
  bool contains(const void* p) const { return p >= base && p < end(); }
  uint64_t offset_of(const void* p) const {
    return static_cast<uint64_t>(static_cast<const char*>(p) - base);
  }
  PageRange sub(uint64_t offset, uint64_t length) const { return {base + offset, length}; }
  PageRange intersect(PageRange other) const {
    char* low = std::max(base, other.base);
    char* high = std::min(end(), other.end());
    return low < high ? PageRange{low, static_cast<uint64_t>(high - low)} : PageRange{};
  }
};

}  // namespace spillway

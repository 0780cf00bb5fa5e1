#include "libpreload/backing/backing.h"

namespace spillway {

void Chunk::set_mapped(PageRange granules, bool mapped) {
  for (char* g = granules.base; g < granules.end(); g += kExtentBytes) {
    const uint64_t bit = uint64_t{1} << (index(g) % 64);
    if (mapped)
      bitmap()[index(g) / 64] |= bit;
    else
      bitmap()[index(g) / 64] &= ~bit;
  }
}

PageRange Chunk::next_run(PageRange within, bool mapped) const {
  char* first = within.base;
  while (first < within.end() && is_mapped(first) != mapped) first += kExtentBytes;
  char* last = first;
  while (last < within.end() && is_mapped(last) == mapped) last += kExtentBytes;
  return {first, static_cast<uint64_t>(last - first)};
}

}  // namespace spillway

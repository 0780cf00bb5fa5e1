#include "base/os/memory.h"
#include "libpreload/backing/backing.h"
#include "libpreload/small_window.h"

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

PageRange Chunk::used() const {
  return of_small_blocks ? range.sub(0, round_up(small_window.spillable().bytes, kExtentBytes)) : range;
}

PageRange Chunk::next_run(PageRange within, bool mapped) const {
  char* first = within.base;
  while (first < within.end() && is_mapped(first) != mapped) first += kExtentBytes;
  char* last = first;
  while (last < within.end() && is_mapped(last) == mapped) last += kExtentBytes;
  return {first, static_cast<uint64_t>(last - first)};
}

PageRange new_granules(PageRange range) {
  char* first = reinterpret_cast<char*>(round_up(reinterpret_cast<uint64_t>(range.base), kExtentBytes));
  if (first >= range.end()) return {};
  return {first, round_up(static_cast<uint64_t>(range.end() - first), kExtentBytes)};
}

char* granule_of(char* address) {
  return reinterpret_cast<char*>(round_down(reinterpret_cast<uint64_t>(address), kExtentBytes));
}

Errno map_anonymous_granules(Chunk& chunk, PageRange granules) {
  while (!granules.empty()) {
    const PageRange run = chunk.next_run(granules, /*mapped=*/false);
    if (run.empty()) break;
    if (Errno e = os::map_anonymous(run); !e.ok()) return Errno(ENOMEM);
    chunk.set_mapped(run, true);
    granules = {run.end(), static_cast<uint64_t>(granules.end() - run.end())};
  }
  return {};
}

}  // namespace spillway

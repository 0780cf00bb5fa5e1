#include "libpreload/backing/managed.h"

#include <algorithm>

#include "base/os/limits.h"
#include "base/os/memory.h"
#include "libpreload/pager/pager.h"

namespace spillway {
bool ManagedBacking::keeps_freed() const { return !pager.engaged(); }

uint64_t ManagedBacking::chunk_bytes(uint64_t needed) const {
  const uint64_t file = round_down(os::file_size_limit(), kExtentBytes);
  return std::max(std::min(os::chunk_of_address_space(needed), file), needed);
}

Errno ManagedBacking::open(Chunk& chunk) { return pager.add_chunk(chunk); }
void ManagedBacking::close(Chunk& chunk) { pager.remove_chunk(chunk); }

Errno ManagedBacking::commit(Chunk& chunk, PageRange range) {
  const PageRange granules = new_granules(range);
  if (Errno e = map_anonymous_granules(chunk, granules); !e.ok()) return e;
  return granules.empty() || !pager.engaged() ? Errno{} : pager.commit(granules);
}

// The pager sees for itself.
Errno ManagedBacking::advise(PageRange, int) { return {}; }

// Granules that are not mapped are a snapshot, in a child that could not start a pager.
Errno ManagedBacking::discard(Chunk& chunk, PageRange range) {
  while (!range.empty()) {
    char* granule = granule_of(range.base);
    const PageRange part = range.intersect({granule, kExtentBytes});
    const Errno e = !chunk.is_mapped(granule) ? os::map_anonymous(part)
                    : pager.engaged()         ? pager.discard(part)
                                              : os::discard(part);
    if (!e.ok()) return e;
    range = {part.end(), range.bytes - part.bytes};
  }
  return {};
}

bool ManagedBacking::decommit(Chunk& chunk, PageRange granules, bool pristine) {
  if (!chunk.next_run(granules, /*mapped=*/false).empty()) pristine = true;
  if (!pager.engaged()) pager.note_advice(Advice::kNormal, granules);
  if (pager.engaged())
    pager.release(granules);
  else if (!os::discard(granules).ok())
    pristine = true;
  // Kept mapped otherwise: a mapping per freed block would be more than vm.max_map_count allows.
  if (!pristine) return true;
  if (!os::make_inaccessible(granules).ok()) return false;
  chunk.set_mapped(granules, false);
  return true;
}

}  // namespace spillway

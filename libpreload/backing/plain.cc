#include "libpreload/backing/plain.h"

#include "base/os/limits.h"
#include "base/os/memory.h"

namespace spillway {

uint64_t PlainBacking::chunk_bytes(uint64_t needed) const { return os::chunk_of_address_space(needed); }

Errno PlainBacking::commit(Chunk& chunk, PageRange range) {
  return map_anonymous_granules(chunk, new_granules(range));
}

Errno PlainBacking::advise(PageRange range, int advice) { return os::advise(range, advice); }

Errno PlainBacking::discard(Chunk&, PageRange range) { return os::discard(range); }

bool PlainBacking::decommit(Chunk& chunk, PageRange granules, bool pristine) {
  // Kept mapped: a mapping per freed block would split
  // the chunk into more mappings than vm.max_map_count allows.
  if (!pristine && os::discard(granules).ok()) return true;
  if (!os::make_inaccessible(granules).ok()) return false;
  chunk.set_mapped(granules, false);
  return true;
}

}  // namespace spillway

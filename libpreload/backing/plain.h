// plain.h - large blocks in ordinary memory: nothing spills, everything else (recycling, call
// sites) works. What a program gets when no file can be had, and what shows the cost of everything but
// spilling.
#pragma once
#include "libpreload/backing/backing.h"

namespace spillway {

class PlainBacking final : public Backing {
 public:
  const char* name() const override { return "plain"; }
  uint64_t chunk_bytes(uint64_t needed) const override;
  Errno open(Chunk&) override { return {}; }
  void close(Chunk&) override {}
  Errno commit(Chunk& chunk, PageRange range) override;
  Errno advise(PageRange range, int advice) override;
  Errno discard(Chunk& chunk, PageRange range) override;
  bool decommit(Chunk& chunk, PageRange granules, bool pristine) override;
  // The kernel's own copy-on-write is the snapshot.
  void freeze(Chunk&, PageRange, ForkMode, bool) override {}
  void wake_waiters(Chunk&, void*) override {}
  void finish_freeze(Chunk&) override {}
  Errno thaw(Chunk&, PageRange) override { return {}; }
};

}  // namespace spillway

// managed.h - large blocks in ordinary memory, of which the pager keeps no more there than the budget.
#pragma once
#include "libpreload/backing/backing.h"

namespace spillway {

class ManagedBacking final : public Backing {
 public:
  const char* name() const override { return "managed"; }
  bool answers_madvise() const override { return true; }
  // Once memory is short, what is freed gives its frames to others.
  bool keeps_freed() const override;
  uint64_t chunk_bytes(uint64_t needed) const override;
  Errno open(Chunk& chunk) override;
  void close(Chunk& chunk) override;
  Errno commit(Chunk& chunk, PageRange range) override;
  Errno advise(PageRange range, int advice) override;
  Errno discard(Chunk& chunk, PageRange range) override;
  bool decommit(Chunk& chunk, PageRange granules, bool pristine) override;
  // The pager makes the snapshot, of all blocks at once.
  void freeze(Chunk&, PageRange, ForkMode, bool) override {}
  void wake_waiters(Chunk&, void*) override {}
  void finish_freeze(Chunk&) override {}
  Errno thaw(Chunk&, PageRange) override { return {}; }
};

}  // namespace spillway

// file.h - large blocks in unlinked, preallocated files, mapped shared: the kernel's page cache decides what
// is in memory, any kernel, no privilege.
//
// One file per chunk, and the offset in it is the offset in the chunk, so that neighbouring blocks are one
// mapping (vm.max_map_count is 65,530) and need one descriptor. Disk blocks are allocated before the program
// gets the memory: a full disk is ENOMEM there and then, not SIGBUS later.
//
// Fork: a live range that was mapped shared becomes a private mapping of the same file, and both processes
// leave that file alone from then on; both see the snapshot, pages they write are their own. Later blocks go
// to a new file, which the chunk opens on demand. The old file lives as long as somebody maps it: the kernel
// counts, a killed process leaks nothing.
#pragma once
#include "libpreload/backing/backing.h"

namespace spillway {

class FileBacking final : public Backing {
 public:
  const char* name() const override { return "file"; }
  uint64_t chunk_bytes(uint64_t needed) const override;
  Errno open(Chunk& chunk) override;
  void close(Chunk& chunk) override;
  Errno commit(Chunk& chunk, PageRange range) override;
  Errno discard(Chunk& chunk, PageRange range) override;
  bool decommit(Chunk& chunk, PageRange granules, bool pristine) override;
  void freeze(Chunk& chunk, PageRange live, ForkMode mode) override;
  void wake_waiters(Chunk& chunk, void* address) override;
  void finish_freeze(Chunk& chunk) override;
  Errno thaw(Chunk& chunk, PageRange granules) override;

  // The descriptor is there and still means our file.
  static bool owns_file(const Chunk& chunk);

 private:
  Errno ensure_file(Chunk& chunk);
  Errno map_unmapped(Chunk& chunk, PageRange granules);
  bool snapshot(Chunk& chunk, PageRange run);
};

}  // namespace spillway

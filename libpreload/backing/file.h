// file.h - large blocks in unlinked, preallocated files, mapped shared: the kernel's page cache decides what
// is in memory, any kernel, no privilege.
//
// One file per chunk, and the offset in it is the offset in the chunk, so that neighbouring blocks are one
// mapping (vm.max_map_count is 65,530) and need one descriptor. Disk blocks are allocated before the program
// gets the memory: a full disk is ENOMEM there and then, not SIGBUS later. Blocks of a granule and more get
// whole granules, since the kernel reads ahead in units (folios) of up to 2 MiB and allocates all of a unit
// that is written to. Smaller blocks get their pages only, or a hundred thousand of them would take 200 GB:
// they are in chunks of their own, advised MADV_RANDOM throughout, where the unit is the page.
//
// The kernel keeps the state of its read-ahead in the open file. Threads that stream through one block would
// share it, and each wait for what the other made of it; so large blocks are mapped in pieces, each through
// an opening of its own: 1.2 to 1.5 times as fast with two threads (bench, rows fill to cyclic at 128 KiB).
// Not where read-ahead is large: the kernel's units start small again in each piece, which costs more.
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
  enum class Unit { kGranule, kPage };  // of allocation on disk; with kPage a block is less than a granule
  explicit constexpr FileBacking(Unit unit) : unit_(unit) {}

  const char* name() const override { return "file"; }
  bool in_files() const override { return true; }
  uint64_t chunk_bytes(uint64_t needed) const override;
  Errno open(Chunk& chunk) override;
  void close(Chunk& chunk) override;
  Errno commit(Chunk& chunk, PageRange range) override;
  Errno advise(PageRange range, int advice) override;
  Errno discard(Chunk& chunk, PageRange range) override;
  bool decommit(Chunk& chunk, PageRange granules, bool pristine) override;
  void freeze(Chunk& chunk, PageRange live, ForkMode mode, bool is_uniform) override;
  void wake_waiters(Chunk& chunk, void* address) override;
  void finish_freeze(Chunk& chunk) override;
  Errno thaw(Chunk& chunk, PageRange granules) override;

  // The descriptor is there and still means our file.
  static bool owns_file(const Chunk& chunk);

 private:
  Errno ensure_file(Chunk& chunk);
  Errno map(const Chunk& chunk, PageRange run);
  static Errno map_in_pieces(const Chunk& chunk, PageRange run);
  Errno map_unmapped(Chunk& chunk, PageRange granules);
  bool snapshot(Chunk& chunk, PageRange run);
  bool snapshot_parts(Chunk& chunk, PageRange run);

  const Unit unit_;
};

}  // namespace spillway

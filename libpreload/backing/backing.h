// backing.h - the seam between large blocks and what keeps their bytes. The heap of large blocks decides
// which address is whose; a backing decides what is behind it: memory (plain), a file (file), later memory
// that a pager evicts. Another way of keeping bytes is another Backing, and no hook changes.
//
// A chunk is address space of one backing. Its granules are either mapped, by this process and for this
// process alone, or not: nothing is there yet, or it is a snapshot shared with relatives after a fork.
// Threads: the caller holds the heap's lock.
#pragma once
#include "base/core/page_range.h"
#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway {

class Backing;

struct Chunk {
  PageRange range;
  Backing* backing = nullptr;
  Chunk* next = nullptr;
  uint64_t live_regions = 0;
  // Given out by small_window, piece by piece and without a lock.
  bool of_small_blocks = false;
  // Its file system has no holes: what was written stays, for recycling only.
  bool keeps_freed_space = false;
  bool retired =
      false;  // gives out no more space: its directory is no longer the wanted one, or its file is lost

  // `file` backing: the file whose offsets are the chunk's; none right after a fork, until the next commit.
  int fd = -1;
  os::FileIdentity file;
  bool has_small_read_ahead = false;

  // Bytes of memory a chunk over `range_bytes` needs: its bitmap follows it.
  static uint64_t footprint(uint64_t range_bytes) {
    return sizeof(Chunk) + (range_bytes / kExtentBytes + 63) / 64 * 8;
  }

  // Granules of which something was ever given out.
  PageRange used() const;
  bool is_mapped(const char* granule) const {
    return bitmap()[index(granule) / 64] >> (index(granule) % 64) & 1;
  }
  void set_mapped(PageRange granules, bool mapped);
  // The first run of granules within `range` that all are (or all are not) mapped; empty: there is none.
  PageRange next_run(PageRange range, bool mapped) const;

 private:
  uint64_t index(const char* granule) const { return range.offset_of(granule) >> kExtentShift; }
  uint64_t* bitmap() { return reinterpret_cast<uint64_t*>(this + 1); }
  const uint64_t* bitmap() const { return reinterpret_cast<const uint64_t*>(this + 1); }
};

// The whole granules of a range that continues a block: a partial first granule belongs to the block already.
PageRange new_granules(PageRange range);
char* granule_of(char* address);
// Puts anonymous memory where the granules are not mapped yet. ENOMEM.
Errno map_anonymous_granules(Chunk& chunk, PageRange granules);

// What a fork does to a live region.
enum class ForkMode { kShared = 0, kSnapshot = 1, kDuplicate = 2 };

// What preload.h's enum spillway_advice says, and a wish to have the pages soon.
enum class Advice : uint8_t { kNormal, kSequential, kRandom, kLoop, kKeep, kDrop, kPrefetch };

class Backing {
 public:
  virtual const char* name() const = 0;
  // Blocks are in files: they can be read ahead, let go of and written behind.
  virtual bool in_files() const { return false; }

  // The kernel's own answer to the program's madvise(2) would be wrong: the backing gives it.
  virtual bool answers_madvise() const { return in_files(); }
  // Freed blocks may keep their pages for the next request.
  virtual bool keeps_freed() const { return true; }

  // How much address space a chunk of this backing should have, at least `needed` (both in whole granules).
  virtual uint64_t chunk_bytes(uint64_t needed) const = 0;
  // Prepares an empty chunk whose range is reserved. Errors: the backing cannot be had (no directory, no
  // descriptor).
  virtual Errno open(Chunk& chunk) = 0;
  virtual void close(Chunk& chunk) = 0;

  // The range becomes readable and writable, and can be kept whatever happens later; it reads as zeroes
  // unless it was committed before and not decommitted. Page-aligned; a base inside a granule continues a
  // block that owns the rest of the granule. ENOMEM, ENOSPC: no room. EBADF: the chunk's file is lost.
  // Nothing has changed then.
  virtual Errno commit(Chunk& chunk, PageRange range) = 0;

  // madvise(2) with MADV_NORMAL, MADV_RANDOM or MADV_SEQUENTIAL, as far as it does no harm here.
  // Page-aligned.
  virtual Errno advise(PageRange range, int advice) = 0;

  // The next touch reads zeroes; the bytes stay committed. Page-aligned.
  virtual Errno discard(Chunk& chunk, PageRange range) = 0;

  // Memory and disk are given back; a later commit reads zeroes. `pristine`: protection, locks and advice are
  // reset as well. False: that cannot be done here (no holes in this file system), the bytes are still there.
  virtual bool decommit(Chunk& chunk, PageRange granules, bool pristine) = 0;

  // Before a fork: the live range becomes a snapshot that nobody writes to any more, or with kShared stays as
  // it is, for parent and child to write to. Either way the chunk no longer counts it as mapped.
  // `is_uniform`: the program changed no protection in it, and put nothing of its own there.
  virtual void freeze(Chunk& chunk, PageRange live, ForkMode mode, bool is_uniform) = 0;
  // A thread waits, process-shared, on this address since before the freeze: wakes it, so that it waits anew.
  virtual void wake_waiters(Chunk& chunk, void* address) = 0;
  // After all live ranges are frozen: what they are in is left to them, and the chunk starts afresh.
  virtual void finish_freeze(Chunk& chunk) = 0;
  // Makes a frozen range this process's own again, spillable, with the same bytes. No other thread may write
  // to it meanwhile. Whole granules.
  virtual Errno thaw(Chunk& chunk, PageRange granules) = 0;

 protected:
  ~Backing() = default;  // backings live as long as the process
};

}  // namespace spillway

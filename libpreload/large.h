// large.h - blocks at or above the threshold: who has which, how they grow, what happens to them when freed.
//
// A block is a region of a chunk, on a 2 MiB boundary (or its own larger alignment). It grows in place while
// the address space behind it is free; a block that had to move once gets as much room again. A freed block
// keeps its pages and disk blocks for the next request, up to a bound, since first-touch is most of the price
// of a large block. Threads: any. One lock, for large blocks only; nobody holds it while touching the
// program's memory.
#pragma once
#include "base/os/lock.h"
#include "libpreload/address_space.h"
#include "libpreload/backing/file.h"
#include "libpreload/backing/managed.h"
#include "libpreload/backing/plain.h"

namespace spillway {

class LargeHeap {
 public:
  constexpr LargeHeap() : space_(page_map) {}

  // Null with ENOMEM. `alignment` is a power of two. `bytes` > 0.
  void* allocate(uint64_t bytes, uint64_t alignment, bool zeroed);
  // `block` is what region_of returned it for. Keeps errno.
  void release(Region& region);
  // Changes the size without moving: true, and the first bytes are as they were.
  bool resize_in_place(Region& region, uint64_t bytes);
  // A block of `bytes` with the contents of the old one, which is gone; null: no room, and the old one is
  // untouched.
  void* move(Region& region, uint64_t bytes);

  // The live block that starts at p, or null. No lock.
  static Region* block_at(const void* p) {
    Region* r = page_map.region_at(p);
    return r != nullptr && r->is_block(p) ? r : nullptr;
  }
  // The live block that p lies in, or null. No lock.
  static Region* block_around(const void* p) {
    Region* r = page_map.region_at(p);
    return r != nullptr && r->is_live_at(p) ? r : nullptr;
  }

  // The program's own calls on the block's pages (page-aligned, within one block).
  Errno discard(Region& region, PageRange range);
  // The range is no longer ours: the program unmapped or moved it. Until the block is freed it stays
  // reserved.
  Errno withdraw(Region& region, PageRange range);
  // The program maps private anonymous memory in place of the range: what is there does as well, as zeroes.
  Errno renew(Region& region, PageRange range, int protection);

  // What the program says of part of a block.
  Errno advise(Region& region, PageRange pages, Advice advice);
  void set_limit(uint64_t bytes);

  // A block for a mapping of the program's own. Null: there is no room.
  char* allocate_mapping(uint64_t bytes);
  // The program unmaps part of such a block, or all.
  Errno unmap(Region& region, PageRange range);

  // For the pacer. Extents of live blocks in files, in the order of addresses, the first at or after `from`:
  // the process's own, or snapshots of the last fork. Empty: none.
  PageRange next_own_extent(const char* from) { return next_extent(from, /*mapped=*/true); }
  PageRange next_snapshot_extent(const char* from) { return next_extent(from, /*mapped=*/false); }
  // Drops the pages of neighbouring own extents from the process; the page cache has them. False: some are no
  // longer there, nothing was done.
  bool let_go(PageRange run);
  // Where an own extent is; fd -1: it is no longer the process's own. The caller holds the lock.
  struct FileExtent {
    int fd = -1;
    os::FileIdentity file;
    uint64_t offset = 0;
  };
  FileExtent file_extent(PageRange extent);
  // Makes a snapshot extent the process's own. The caller holds the lock and has stopped all other threads.
  bool thaw_extent(PageRange extent);
  static bool can_thaw(const Region& region, PageRange range);
  // Advice for the block at `p`, unless the program gave its own.
  void advise_block(const char* p, int advice);
  // Some block is, or was, in a file.
  bool has_files() const { return has_files_; }
  // The descriptor of some region file; -1: there is none.
  int any_file();

  // Small blocks are in managed memory from now on. False: that cannot be had here; a line said why.
  bool start_spilling_small();
  // As discard(), of pages with small blocks that can spill.
  Errno discard_small(PageRange pages);

  // Small blocks took more memory. The caller may hold any lock of the program's.
  void on_small_growth();
  // The program mapped private anonymous memory of its own.
  void on_program_mapping(PageRange range);

  // Gives recycled memory back to the system. True: there was some.
  bool trim();
  // Later chunks go to the directory that region_directory names now.
  void retire_chunks();

  // Others' fork handlers may use their blocks between the two before it, and between the two after it.
  void before_fork();
  void freeze_for_fork();
  void thaw_in_parent();
  void after_fork_in_parent();
  void begin_child();
  // may_start_threads false: only what is async-signal-safe may be called.
  void after_fork_in_child(bool may_start_threads);

  // A live block that satisfies `visit` last returned true for; each under the lock.
  template <typename Visit>
  void for_each_block(Visit visit) {
    os::Locked locked(lock_);
    for (Chunk* c = space_.chunks(); c != nullptr; c = c->next)
      for (Region* r = space_.first_of(*c); r != nullptr; r = space_.next_of(*r))
        if (r->state == Region::State::kLive) visit(*r);
  }

  os::Lock& lock() { return lock_; }

 private:
  Region* acquire(Backing& backing, uint64_t span, uint64_t alignment, uint64_t bytes, bool& recycled,
                  Errno& error);
  Region* acquire_anywhere(uint64_t span, uint64_t alignment, uint64_t bytes, bool& recycled);
  Errno open_chunk(Backing& backing, uint64_t bytes);
  void forget_chunk(Chunk& chunk);
  bool resize(Region& region, uint64_t bytes);
  void give_back(Region& region);
  Errno empty(Region& region, PageRange range, int protection);
  void* allocate_span(uint64_t bytes, uint64_t span, uint64_t alignment, bool zeroed);
  bool release_oldest_recycled();
  Region* own_extent(PageRange extent);
  PageRange next_extent(const char* from, bool mapped);
  PageRange next_extent_of(Chunk& chunk, const char* from, bool mapped);
  Backing& preferred(uint64_t bytes);
  bool can_manage();
  Errno open_small_blocks(uint64_t bytes);
  void start_pacing();
  void start_pager_if_time(unsigned processes = 1);

  os::Lock lock_;
  AddressSpace space_;
  FileBacking file_{FileBacking::Unit::kGranule};
  FileBacking small_file_{FileBacking::Unit::kPage};
  ManagedBacking managed_;
  PlainBacking plain_;
  Chunk* small_blocks_ = nullptr;  // that can spill; no region is in it
  bool probed_ = false;            // whether this host permits managed_
  bool managed_possible_ = false;
  Errno probe_error_;
  std::atomic<bool> has_files_ = false;
  bool file_failed_ = false;  // said once: files cannot be had, blocks are in memory
  ForkMode fork_mode_ = ForkMode::kSnapshot;
  unsigned forks_ = 0;  // one soon after the other
  uint64_t last_fork_ms_ = 0;
};

// The one of the process.
extern constinit LargeHeap large_heap;

}  // namespace spillway

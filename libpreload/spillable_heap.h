// spillable_heap.h - with SPILLWAY_HEAP small blocks can spill, too: jemalloc gets the pages for them from a
// chunk of managed memory (small_window.h has the address space, large.h the chunk).
//
// Some stay in memory, in the arena that also has jemalloc's tables of each thread: what the C library and
// the loader allocate. A forked child uses it (streams, tables of threads) before it can bring anything back,
// and so do the pager's threads. Threads: any, once it is open.
#pragma once
#include <cstddef>

#include "base/core/page_range.h"

namespace spillway {

class SpillableHeap {
 public:
  constexpr SpillableHeap() = default;

  // After the settings are read. Where it cannot be had a line says so, and all is as without it.
  void open();

  // jemalloc's own choice for what it needs itself.
  static constexpr unsigned kArenaInMemory = 0;

  // Of the calling thread: its blocks are to come from another one.
  void choose_arena() {
    if (!has_chosen_) choose_other_arena();
  }

  // Whether blocks that this code asks for stay in memory.
  bool keeps(const void* caller) const { return libc_.contains(caller) || loader_.contains(caller); }
  // Such blocks; null: no memory. Freed as all others are. `alignment` 0: that of every block.
  void* allocate(size_t bytes, size_t alignment, bool zeroed) const;
  void* reallocate(void* block, size_t bytes) const;

 private:
  void choose_other_arena();

  static inline thread_local bool has_chosen_ __attribute__((tls_model("initial-exec"))) = false;
  PageRange libc_, loader_;  // their code
  unsigned other_arena_ = 0;
};

// The one of the process.
extern constinit SpillableHeap spillable_heap;

}  // namespace spillway

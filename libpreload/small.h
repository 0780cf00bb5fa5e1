// small.h - blocks under the threshold: jemalloc, under names of its own (the Makefile renames them in a copy
// of Debian's archive). These are the functions as jemalloc documents them; everything else about small
// blocks is there.
//
// All its memory comes from one window of reserved address space, so that free() knows a small block by one
// load, a subtraction and a compare; a look into the page map instead cost 7 % of a malloc/free pair
// (bench/malloc). Where address space is limited there is no window, and where it is used up there is more
// memory outside: that is entered in the page map.
#pragma once
#include <atomic>
#include <cstddef>

#include "libpreload/page_map.h"

extern "C" {
void* jemalloc_malloc(size_t bytes);
void* jemalloc_calloc(size_t count, size_t bytes);
void* jemalloc_realloc(void* block, size_t bytes);
void jemalloc_free(void* block);
void* jemalloc_memalign(size_t alignment, size_t bytes);
size_t jemalloc_malloc_usable_size(void* block);
int jemalloc_mallctl(const char* name, void* old_value, size_t* old_bytes, void* new_value, size_t new_bytes);
}

namespace spillway {

class SmallWindow {
 public:
  constexpr SmallWindow() = default;

  bool holds(const void* p) const { return (reinterpret_cast<uint64_t>(p) - base_) >> kBits == 0; }
  // Zeroed memory in the window; null when there is none left.
  void* map(size_t bytes, size_t alignment);

 private:
  static constexpr int kBits = 40;  // 1 TiB of small blocks
  static constexpr uint64_t kBytes = uint64_t{1} << kBits;
  static constexpr uint64_t kNone = uint64_t{1} << 63;  // no address is within 1 TiB above it

  void open();

  // Not atomic, which would cost free() an instruction: it is set before the first block is given out, and
  // who has a block knows that.
  uint64_t base_ = kNone;
  std::atomic<char*> next_ = nullptr;
  bool opened_ = false;
};

extern constinit SmallWindow small_window;

// True for memory of the small-block heap, outside of the window exact to 2 MiB.
inline bool is_small(const void* p) {
  return __builtin_expect(small_window.holds(p), 1) || page_map.is_small(p);
}

}  // namespace spillway

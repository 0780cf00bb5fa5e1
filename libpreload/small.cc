// Where jemalloc's memory is. It gets its memory from here: the linker's --wrap replaces the one function by
// which it maps pages (extent hooks would do the same only for arenas that exist already, and at a price per
// extent).
#include "libpreload/small.h"

#include "base/os/memory.h"
#include "libpreload/large.h"

namespace {
void* note(void* memory, size_t bytes) {
  if (memory != nullptr) spillway::page_map.mark_small({static_cast<char*>(memory), bytes});
  return memory;
}
}  // namespace

extern "C" {
// jemalloc's mmap(2) has this name in our copy of it: ours is for the program.
void* jemalloc_mmap(void* hint, size_t bytes, int protection, int flags, int fd, long offset) {
  return spillway::os::program_mmap(hint, bytes, protection, flags, fd, offset);
}

void* __real_je_pages_map(void* address, size_t bytes, size_t alignment, bool* commit);
void* __real_je_extent_alloc_dss(void* thread, void* arena, void* address, size_t bytes, size_t alignment,
                                 bool* zero, bool* commit);

void* __wrap_je_pages_map(void* address, size_t bytes, size_t alignment, bool* commit) {
  if (address == nullptr)
    if (void* memory = spillway::small_window.map(bytes, alignment)) {
      *commit = true;
      return memory;
    }
  return note(__real_je_pages_map(address, bytes, alignment, commit), bytes);
}

void* __wrap_je_extent_alloc_dss(void* thread, void* arena, void* address, size_t bytes, size_t alignment,
                                 bool* zero, bool* commit) {
  return note(__real_je_extent_alloc_dss(thread, arena, address, bytes, alignment, zero, commit), bytes);
}

// The two ways to more memory for blocks. When they return, no lock of jemalloc's is held.
void* __real_je_tcache_alloc_small_hard(void* thread, void* arena, void* cache, void* bin, unsigned index,
                                        bool* success);
void* __wrap_je_tcache_alloc_small_hard(void* thread, void* arena, void* cache, void* bin, unsigned index,
                                        bool* success) {
  void* block = __real_je_tcache_alloc_small_hard(thread, arena, cache, bin, index, success);
  if (spillway::small_window.has_grown()) spillway::large_heap.on_small_growth();
  return block;
}

void* __real_je_large_malloc(void* thread, void* arena, size_t bytes, bool zero);
void* __wrap_je_large_malloc(void* thread, void* arena, size_t bytes, bool zero) {
  void* block = __real_je_large_malloc(thread, arena, bytes, zero);
  if (spillway::small_window.has_grown()) spillway::large_heap.on_small_growth();
  return block;
}
}

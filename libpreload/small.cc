// Where jemalloc's memory is. It gets its memory from here: the linker's --wrap replaces the one function by
// which it maps pages (extent hooks would do the same only for arenas that exist already, and at a price per
// extent).
#include "libpreload/small.h"

#include <cerrno>

#include "base/os/memory.h"
#include "libpreload/large.h"
#include "libpreload/lifecycle.h"
#include "libpreload/pager/pager.h"
#include "libpreload/spillable_heap.h"

namespace {
using spillway::small_window;

void* note(void* memory, size_t bytes) {
  if (memory != nullptr) spillway::page_map.mark_small({static_cast<char*>(memory), bytes});
  return memory;
}
}  // namespace

extern "C" {
// What differs from jemalloc's defaults; MALLOC_CONF of the environment wins. A thread looks through its
// cache for what it can do without after so many bytes of requests: 64 KiB by default, a slow path every
// 1,024 blocks of 64 bytes. What a thread can hold back at most stays the same.
[[gnu::visibility("hidden")]] extern const char* jemalloc_malloc_conf;
const char* jemalloc_malloc_conf = "tcache_gc_incr_bytes:524288";

// jemalloc's mmap(2) has this name in our copy of it: ours is for the program.
void* jemalloc_mmap(void* hint, size_t bytes, int protection, int flags, int fd, long offset) {
  return spillway::os::program_mmap(hint, bytes, protection, flags, fd, offset);
}

void* __real_je_pages_map(void* address, size_t bytes, size_t alignment, bool* commit);
void* __real_je_extent_alloc_dss(void* thread, void* arena, void* address, size_t bytes, size_t alignment,
                                 bool* zero, bool* commit);

void* __wrap_je_pages_map(void* address, size_t bytes, size_t alignment, bool* commit) {
  static bool is_first = true;  // the first time under jemalloc's lock
  if (is_first) {
    is_first = false;
    spillway::register_inner_fork_handlers();
  }
  if (address == nullptr)
    if (void* memory = small_window.map(bytes, alignment)) {
      *commit = true;
      return memory;
    }
  return note(__real_je_pages_map(address, bytes, alignment, commit), bytes);
}

void* __wrap_je_extent_alloc_dss(void* thread, void* arena, void* address, size_t bytes, size_t alignment,
                                 bool* zero, bool* commit) {
  return note(__real_je_extent_alloc_dss(thread, arena, address, bytes, alignment, zero, commit), bytes);
}

// Likewise its madvise(2), by which it gives pages back and takes them for zeroed. Pages that spill may be
// elsewhere, and under jemalloc's locks nothing may wait for them; it takes a refusal well. The pager may
// have begun meanwhile.
int jemalloc_madvise(void* base, size_t bytes, int advice) {
  const auto may_be_elsewhere = [&] {
    return small_window.is_spillable(base) && spillway::pager.has_begun();
  };
  const int result = may_be_elsewhere() ? -1 : spillway::os::program_madvise(base, bytes, advice);
  if (result != 0 || !may_be_elsewhere()) return result;
  errno = EAGAIN;
  return -1;
}

// Memory for the blocks of an arena; for what jemalloc itself writes down, it does not come here.
void* __real_je_ehooks_default_alloc_impl(void* thread, void* address, size_t bytes, size_t alignment,
                                          bool* zero, bool* commit, unsigned arena);
void* __wrap_je_ehooks_default_alloc_impl(void* thread, void* address, size_t bytes, size_t alignment,
                                          bool* zero, bool* commit, unsigned arena) {
  if (address == nullptr && arena != spillway::SpillableHeap::kArenaInMemory)
    if (void* memory = small_window.map_spillable(bytes, alignment)) {
      *zero = *commit = true;
      return memory;
    }
  return __real_je_ehooks_default_alloc_impl(thread, address, bytes, alignment, zero, commit, arena);
}

// The two ways to more memory for blocks. When they return, no lock of jemalloc's is held.
void* __real_je_tcache_alloc_small_hard(void* thread, void* arena, void* cache, void* bin, unsigned index,
                                        bool* success);
void* __wrap_je_tcache_alloc_small_hard(void* thread, void* arena, void* cache, void* bin, unsigned index,
                                        bool* success) {
  void* block = __real_je_tcache_alloc_small_hard(thread, arena, cache, bin, index, success);
  if (small_window.has_grown()) spillway::large_heap.on_small_growth();
  return block;
}

void* __real_je_large_malloc(void* thread, void* arena, size_t bytes, bool zero);
void* __wrap_je_large_malloc(void* thread, void* arena, size_t bytes, bool zero) {
  void* block = __real_je_large_malloc(thread, arena, bytes, zero);
  if (small_window.has_grown()) spillway::large_heap.on_small_growth();
  return block;
}
}

#include "libpreload/spillable_heap.h"

#include <dlfcn.h>
#include <jemalloc/jemalloc.h>
#include <link.h>

#include <algorithm>
#include <cstring>

#include "libpreload/large.h"
#include "libpreload/settings.h"
#include "libpreload/small.h"

namespace spillway {

constinit SpillableHeap spillable_heap;

namespace {

struct Search {
  const char* inside;
  PageRange code;
};

// The executable segment that the address is in.
int find_code(dl_phdr_info* object, size_t, void* data) {
  auto& search = *static_cast<Search*>(data);
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    const PageRange range{reinterpret_cast<char*>(object->dlpi_addr + segment.p_vaddr), segment.p_memsz};
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0 || !range.contains(search.inside))
      continue;
    search.code = range;
    return 1;
  }
  return 0;
}

constexpr int kInMemory = MALLOCX_ARENA(SpillableHeap::kArenaInMemory) | MALLOCX_TCACHE_NONE;

PageRange code_around(const char* symbol) {
  Search search{static_cast<const char*>(dlsym(RTLD_NEXT, symbol)), {}};
  if (search.inside != nullptr) dl_iterate_phdr(find_code, &search);
  return search.code;
}

}  // namespace

void SpillableHeap::open() {
  // One function of each.
  libc_ = code_around("fopen");
  loader_ = code_around("__tls_get_addr");
  size_t bytes = sizeof other_arena_;
  if (libc_.empty() || jemalloc_mallctl("arenas.create", &other_arena_, &bytes, nullptr, 0) != 0) {
    settings.warn("small blocks stay in memory: the C library of this program is not one we know");
    return;
  }
  if (large_heap.start_spilling_small()) settings.look_at_all();
}

// jemalloc deals arenas out to threads; one of some dozen threads gets that one.
void SpillableHeap::choose_other_arena() {
  has_chosen_ = true;
  unsigned arena = 0;
  size_t bytes = sizeof arena;
  if (jemalloc_mallctl("thread.arena", &arena, &bytes, nullptr, 0) == 0 && arena == kArenaInMemory)
    (void)jemalloc_mallctl("thread.arena", nullptr, nullptr, &other_arena_, sizeof other_arena_);
}

void* SpillableHeap::allocate(size_t bytes, size_t alignment, bool zeroed) const {
  int flags = kInMemory | (zeroed ? MALLOCX_ZERO : 0);
  if (alignment != 0) flags |= MALLOCX_ALIGN(alignment);
  return jemalloc_mallocx(std::max<size_t>(bytes, 1), flags);
}

void* SpillableHeap::reallocate(void* block, size_t bytes) const {
  return jemalloc_rallocx(block, bytes, kInMemory);
}

}  // namespace spillway

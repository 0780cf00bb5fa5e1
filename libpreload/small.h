// small.h - blocks under the threshold: jemalloc, under names of its own (the Makefile renames them in a copy
// of Debian's archive). These are the functions as jemalloc documents them; everything else about small
// blocks is there.
#pragma once
#include <cstddef>

#include "libpreload/page_map.h"
#include "libpreload/small_window.h"

extern "C" {
void* jemalloc_malloc(size_t bytes);
void* jemalloc_calloc(size_t count, size_t bytes);
void* jemalloc_realloc(void* block, size_t bytes);
void jemalloc_free(void* block);
void* jemalloc_memalign(size_t alignment, size_t bytes);
size_t jemalloc_malloc_usable_size(void* block);
void* jemalloc_mallocx(size_t bytes, int flags);
void* jemalloc_rallocx(void* block, size_t bytes, int flags);
int jemalloc_mallctl(const char* name, void* old_value, size_t* old_bytes, void* new_value, size_t new_bytes);
}

namespace spillway {

// True for memory of the small-block heap, outside of the window exact to 2 MiB.
inline bool is_small(const void* p) {
  return __builtin_expect(small_window.holds(p), 1) || page_map.is_small(p);
}

}  // namespace spillway

// Where jemalloc's memory is. It gets its memory from here: the linker's --wrap replaces the one function by
// which it maps pages (extent hooks would do the same only for arenas that exist already, and at a price per
// extent).
#include "libpreload/small.h"

#include "base/os/limits.h"
#include "base/os/memory.h"

namespace spillway {

constinit SmallWindow small_window;

void SmallWindow::open() {
  opened_ = true;
  if (os::address_space_limit() != UINT64_MAX) return;  // then address space is the program's own
  Result<PageRange> window = os::reserve(kBytes, kExtentBytes);
  if (!window) return;
  next_.store(window->base, std::memory_order_relaxed);
  base_ = reinterpret_cast<uint64_t>(window->base);
}

void* SmallWindow::map(size_t bytes, size_t alignment) {
  if (!opened_) open();  // under jemalloc's own lock: this is its first mapping
  const uint64_t base = base_;
  if (base == kNone) return nullptr;
  char* next = next_.load(std::memory_order_relaxed);
  char* at;
  do {
    at = reinterpret_cast<char*>(round_up(reinterpret_cast<uint64_t>(next), alignment));
    if (!holds(at) || bytes > base + kBytes - reinterpret_cast<uint64_t>(at)) return nullptr;
  } while (!next_.compare_exchange_weak(next, at + bytes, std::memory_order_relaxed));
  return os::map_anonymous({at, bytes}).ok() ? at : nullptr;
}

}  // namespace spillway

namespace {
void* note(void* memory, size_t bytes) {
  if (memory != nullptr) spillway::page_map.mark_small({static_cast<char*>(memory), bytes});
  return memory;
}
}  // namespace

extern "C" {
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
}

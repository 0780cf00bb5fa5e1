// The exported malloc family. A hook is: guard, act, forward. A small block comes from jemalloc's cache of
// the thread and goes there, or is jemalloc's after one compare of the size (malloc) or one look into the
// page map (free): no lock, no system call, nothing of ours is written.
//
// operator new and delete are not here on purpose: every C++ runtime implements them over malloc,
// aligned_alloc and free, and a failure must throw the program's own std::bad_alloc, through its own
// new_handler.
#include <cerrno>
#include <cstring>

#include "base/core/units.h"
#include "base/os/fatal.h"
#include "libpreload/large.h"
#include "libpreload/lifecycle.h"
#include "libpreload/settings.h"
#include "libpreload/small.h"
#include "libpreload/spillable_heap.h"
#include "libpreload/thread_cache.h"

#define EXPORT extern "C" __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define CALLER __builtin_return_address(0)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

namespace spillway {
namespace {

// jemalloc's, whoever asks.
bool is_plain(size_t bytes) { return LIKELY(bytes < settings.plain_below_bytes); }
bool is_large(size_t bytes) { return bytes >= settings.threshold_bytes.load(std::memory_order_relaxed); }

void* out_of_memory() {
  errno = ENOMEM;
  return nullptr;
}

void* allocate_small(size_t bytes, size_t alignment, bool zeroed) {
  return zeroed           ? jemalloc_calloc(1, bytes)
         : alignment != 0 ? jemalloc_memalign(alignment, bytes)
                          : jemalloc_malloc(bytes);
}

// `alignment`: what is asked for beyond that of every block, or 0.
__attribute__((noinline)) void* allocate_other(size_t bytes, size_t alignment, bool zeroed,
                                               const void* caller) {
  ensure_started();
  if (is_large(bytes)) return large_heap.allocate(bytes, std::max<size_t>(alignment, kExtentBytes), zeroed);
  // The environment may name a larger threshold than the built-in one.
  if (is_plain(bytes)) return allocate_small(bytes, alignment, zeroed);
  if (!spillable_heap.keeps(caller)) {
    spillable_heap.choose_arena();
    return allocate_small(bytes, alignment, zeroed);
  }
  void* block = spillable_heap.allocate(bytes, alignment, zeroed);
  return block != nullptr ? block : out_of_memory();
}

[[noreturn]] __attribute__((noinline)) void not_a_block(const char* function, void* p) {
  Region* region = page_map.region_at(p);
  if (region != nullptr && region->state != Region::State::kLive && region->span.contains(p))
    os::die("%s(): %p was freed twice", function, p);
  os::die("%s(): %p is not the start of an allocated block", function, p);
}

void expect_live(const char* function, const void* p) {
  if (settings.knows_thread_cache) ThreadCache::mine().expect_live(function, p);
}

__attribute__((noinline)) void free_other(void* p) {
  if (is_small(p)) {
    expect_live("free", p);
    return jemalloc_free(p);
  }
  if (p == nullptr) return;
  Region* region = LargeHeap::block_at(p);
  if (region == nullptr) not_a_block("free", p);
  large_heap.release(*region);
}

__attribute__((noinline)) void* realloc_other(void* p, size_t bytes, const void* caller) {
  ensure_started();
  const bool large = is_large(bytes);
  if (is_small(p)) {
    if (!large) {
      if (is_plain(bytes)) return jemalloc_realloc(p, bytes);
      if (!spillable_heap.keeps(caller)) {
        spillable_heap.choose_arena();
        return jemalloc_realloc(p, bytes);
      }
      void* block = spillable_heap.reallocate(p, bytes);
      return block != nullptr ? block : out_of_memory();
    }
    void* block = large_heap.allocate(bytes, kExtentBytes, /*zeroed=*/false);
    if (block == nullptr) return nullptr;
    memcpy(block, p, std::min(bytes, jemalloc_malloc_usable_size(p)));
    jemalloc_free(p);
    return block;
  }
  Region* region = LargeHeap::block_at(p);
  if (region == nullptr) not_a_block("realloc", p);
  if (large) return large_heap.resize_in_place(*region, bytes) ? p : large_heap.move(*region, bytes);

  void* block = jemalloc_malloc(bytes);
  if (block == nullptr) return nullptr;
  memcpy(block, p, std::min<size_t>(bytes, region->committed));
  large_heap.release(*region);
  return block;
}

void* aligned(size_t alignment, size_t bytes, const void* caller) {
  if (bytes == 0) bytes = 1;  // or jemalloc forgets about the alignment
  if (!is_plain(bytes)) return allocate_other(bytes, alignment, false, caller);
  void* block = jemalloc_memalign(alignment, bytes);
  return LIKELY(block != nullptr) ? block : out_of_memory();  // it does not say so itself
}

}  // namespace
}  // namespace spillway

using namespace spillway;

EXPORT __attribute__((aligned(64))) void* malloc(size_t bytes) {
  if (LIKELY(bytes < settings.cached_below_bytes))
    if (void* block = ThreadCache::mine().take(bytes); LIKELY(block != nullptr)) return block;
  if (!is_plain(bytes)) return allocate_other(bytes, 0, false, CALLER);
  return jemalloc_malloc(bytes);
}

EXPORT __attribute__((aligned(64))) void free(void* p) {
  if (LIKELY(settings.knows_thread_cache) && LIKELY(ThreadCache::mine().put(p))) return;
  free_other(p);
}

EXPORT void* calloc(size_t count, size_t size) {
  size_t bytes;
  if (UNLIKELY(__builtin_mul_overflow(count, size, &bytes))) return out_of_memory();
  if (!is_plain(bytes)) return allocate_other(bytes, 0, true, CALLER);
  return jemalloc_calloc(count, size);
}

static void* reallocate(void* p, size_t bytes, const void* caller) {
  if (p == nullptr) return is_plain(bytes) ? jemalloc_malloc(bytes) : allocate_other(bytes, 0, false, caller);
  if (bytes == 0) {  // as glibc
    free(p);
    return nullptr;
  }
  if (LIKELY(is_small(p))) {
    expect_live("realloc", p);
    if (is_plain(bytes)) return jemalloc_realloc(p, bytes);
  }
  return realloc_other(p, bytes, caller);
}

EXPORT void* realloc(void* p, size_t bytes) { return reallocate(p, bytes, CALLER); }

EXPORT void* reallocarray(void* p, size_t count, size_t size) {
  size_t bytes;
  if (UNLIKELY(__builtin_mul_overflow(count, size, &bytes))) return out_of_memory();
  return reallocate(p, bytes, CALLER);
}

// glibc rounds up to a power of two.
static void* aligned_as_power(size_t alignment, size_t bytes, const void* caller) {
  if (UNLIKELY(alignment > SIZE_MAX / 2 + 1)) {
    errno = EINVAL;
    return nullptr;
  }
  size_t power = sizeof(void*);
  while (power < alignment) power *= 2;
  return aligned(power, bytes, caller);
}

EXPORT void* memalign(size_t alignment, size_t bytes) { return aligned_as_power(alignment, bytes, CALLER); }

EXPORT int posix_memalign(void** block, size_t alignment, size_t bytes) {
  if (!is_power_of_two(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
  const int saved = errno;  // the result carries the error, errno does not
  void* p = aligned(alignment, bytes, CALLER);
  errno = saved;
  if (p == nullptr) return ENOMEM;
  *block = p;
  return 0;
}

// Until 2.38 glibc took any alignment, and there are programs that count on it.
EXPORT void* aligned_alloc(size_t alignment, size_t bytes) {
  return aligned_as_power(alignment, bytes, CALLER);
}

EXPORT void* valloc(size_t bytes) { return aligned(kPageBytes, bytes, CALLER); }

EXPORT void* pvalloc(size_t bytes) {
  if (bytes > SIZE_MAX - kPageBytes) return out_of_memory();
  return aligned(kPageBytes, round_up(bytes, kPageBytes), CALLER);
}

EXPORT size_t malloc_usable_size(void* p) {
  if (p == nullptr) return 0;
  if (LIKELY(is_small(p))) return jemalloc_malloc_usable_size(p);
  Region* region = LargeHeap::block_at(p);
  if (region == nullptr) not_a_block("malloc_usable_size", p);
  return region->committed;
}

EXPORT void cfree(void* p) { free(p); }
EXPORT void free_sized(void* p, size_t) { free(p); }
EXPORT void free_aligned_sized(void* p, size_t, size_t) { free(p); }

EXPORT int malloc_trim(size_t) {
  const bool trimmed = large_heap.trim();
  char purge[] = "arena.4096.purge";  // MALLCTL_ARENAS_ALL
  jemalloc_mallctl(purge, nullptr, nullptr, nullptr, 0);
  return trimmed ? 1 : 0;
}

// Names by which some programs reach glibc's allocator around the standard ones: they must meet the same
// heap.
EXPORT void* __libc_malloc(size_t bytes) __attribute__((alias("malloc"), copy(malloc)));
EXPORT void __libc_free(void* p) __attribute__((alias("free"), copy(free)));
EXPORT void* __libc_calloc(size_t count, size_t size) __attribute__((alias("calloc"), copy(calloc)));
EXPORT void* __libc_realloc(void* p, size_t bytes) __attribute__((alias("realloc"), copy(realloc)));
EXPORT void* __libc_memalign(size_t alignment, size_t bytes)
    __attribute__((alias("memalign"), copy(memalign)));
EXPORT void* __libc_valloc(size_t bytes) __attribute__((alias("valloc"), copy(valloc)));
EXPORT void* __libc_pvalloc(size_t bytes) __attribute__((alias("pvalloc"), copy(pvalloc)));
EXPORT int __posix_memalign(void** block, size_t alignment, size_t bytes)
    __attribute__((alias("posix_memalign"), copy(posix_memalign)));

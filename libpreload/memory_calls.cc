// The program's own mmap, madvise, mprotect, mlock, munmap and mremap. Elsewhere they are the system's; on a
// large block they must behave as on the anonymous memory that the program believes it has, though there is a
// file behind it, and what they change must not survive into the next block at that address.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstring>

#include "base/os/keep_errno.h"
#include "base/os/memory.h"
#include "libpreload/large.h"
#include "libpreload/lifecycle.h"
#include "libpreload/settings.h"
#include "libpreload/small_window.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace spillway {
namespace {

// Linux 6.1; not in the headers of glibc 2.36.
constexpr int kMadvCollapse = 25;

bool is_page_aligned(const void* p) { return reinterpret_cast<uint64_t>(p) % kPageBytes == 0; }

// The block that contains the whole range, or null: such calls are the system's.
Region* block_of(const void* base, size_t bytes) {
  if (!is_page_aligned(base) || bytes == 0 || bytes > SIZE_MAX - kPageBytes) return nullptr;
  Region* region = LargeHeap::block_around(base);
  if (region == nullptr || region->span.offset_of(base) + round_up(bytes, kPageBytes) > region->span.bytes)
    return nullptr;
  return region;
}

PageRange pages(void* base, size_t bytes) { return {static_cast<char*>(base), round_up(bytes, kPageBytes)}; }

int as_result(Errno e) {
  if (e.ok()) return 0;
  errno = e.code();
  return -1;
}

int advise(void* base, size_t bytes, int advice) {
  if (small_window.is_spillable(base) && is_page_aligned(base) &&
      (advice == MADV_DONTNEED || advice == MADV_FREE))
    return as_result(large_heap.discard_small(pages(base, bytes).intersect(small_window.spillable())));
  Region* region = block_of(base, bytes);
  if (region == nullptr || !region->chunk->backing->answers_madvise()) {
    if (region != nullptr) region->disturbed = true;
    return os::program_madvise(base, bytes, advice);
  }
  switch (advice) {
    case MADV_DONTNEED:
    case MADV_FREE:  // may read as zeroes from now on: do it at once, the blocks are worth having
#ifdef MADV_DONTNEED_LOCKED
    case MADV_DONTNEED_LOCKED:
#endif
      return as_result(large_heap.discard(*region, pages(base, bytes)));
    case MADV_REMOVE:
      errno = EINVAL;  // it is for shared mappings
      return -1;
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
      region->advice_is_programs = true;
      region->disturbed = true;
      return as_result(region->chunk->backing->advise(pages(base, bytes), advice));
    case MADV_HUGEPAGE:
    case MADV_NOHUGEPAGE:
    case MADV_MERGEABLE:
    case MADV_UNMERGEABLE:
    case kMadvCollapse:
      return 0;  // hints for anonymous memory; there is nothing to do for a file
    case MADV_WILLNEED:
    case MADV_COLD:
    case MADV_PAGEOUT:
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
      break;
    default:
      region->disturbed = true;
  }
  return os::program_madvise(base, bytes, advice);
}

// Memory that a program's own allocator would ask for. What it reserves without access, and uses later, is
// not captured: the mappings it makes in there have their place.
bool may_capture(const void* hint, size_t bytes, int protection, int flags) {
  constexpr int kWanted = MAP_PRIVATE | MAP_ANONYMOUS, kHarmless = MAP_NORESERVE | MAP_POPULATE;
  return hint == nullptr && bytes >= kPageBytes && protection == (PROT_READ | PROT_WRITE) &&
         (flags & ~kHarmless) == kWanted;
}

// mremap of pages of a block: the new place is the program's own memory, with the same bytes; the old is
// gone.
void* move_out(Region& region, PageRange from, size_t new_bytes, int flags, void* target) {
  const uint64_t bytes = round_up(new_bytes, kPageBytes);
  if (bytes <= from.bytes && (flags & MREMAP_FIXED) == 0) {
    if (bytes < from.bytes)
      if (Errno e = large_heap.withdraw(region, from.sub(bytes, from.bytes - bytes)); !e.ok())
        return errno = e.code(), MAP_FAILED;
    return from.base;
  }
  if ((flags & MREMAP_MAYMOVE) == 0) return errno = ENOMEM, MAP_FAILED;
  PageRange to{static_cast<char*>(target), bytes};
  if ((flags & MREMAP_FIXED) == 0) {
    Result<PageRange> place = os::reserve(bytes, kPageBytes);
    if (!place) return errno = place.error().code(), MAP_FAILED;
    to = *place;
  }
  if (Errno e = os::map_anonymous(to); !e.ok()) return errno = e.code(), MAP_FAILED;
  memcpy(to.base, from.base, std::min(bytes, from.bytes));
  const bool keep_mapped = (flags & MREMAP_DONTUNMAP) != 0;
  const Errno e = keep_mapped ? large_heap.discard(region, from) : large_heap.withdraw(region, from);
  if (!e.ok()) {
    os::unreserve(to);
    return errno = e.code(), MAP_FAILED;
  }
  return to.base;
}

// mremap of a captured mapping as a whole. What is new reads as zeroes. Null: there is no room.
void* move_mapping(Region& region, uint64_t bytes) {
  KeepErrno keep;
  char* to = large_heap.allocate_mapping(bytes);
  if (to == nullptr) return nullptr;
  memcpy(to, region.span.base, std::min<uint64_t>(bytes, region.committed));
  large_heap.release(region);
  return to;
}

}  // namespace
}  // namespace spillway

using namespace spillway;

EXPORT void* mmap(void* hint, size_t bytes, int protection, int flags, int fd, off_t offset) {
  // In place of pages of a block, which are lost: not if the call will fail anyway.
  if (Region* region = (flags & MAP_FIXED) != 0 ? block_of(hint, bytes) : nullptr) {
    void* trial = os::program_mmap(nullptr, bytes, protection, flags & ~MAP_FIXED, fd, offset);
    if (trial == MAP_FAILED) return trial;
    os::unreserve(pages(trial, bytes));
    if (Errno e = large_heap.withdraw(*region, pages(hint, bytes)); !e.ok())
      return errno = e.code(), MAP_FAILED;
  }
  if (may_capture(hint, bytes, protection, flags)) {
    ensure_started();
    KeepErrno keep;
    if (settings.captures_mappings && bytes >= settings.threshold_bytes)
      if (char* block = large_heap.allocate_mapping(round_up(bytes, kPageBytes))) return block;
  }
  void* at = os::program_mmap(hint, bytes, protection, flags, fd, offset);
  constexpr int kKind = MAP_ANONYMOUS | MAP_PRIVATE | MAP_HUGETLB | MAP_GROWSDOWN;
  if (at != MAP_FAILED && (flags & kKind) == (MAP_ANONYMOUS | MAP_PRIVATE))
    large_heap.on_program_mapping(pages(at, bytes));
  return at;
}
EXPORT void* mmap64(void* hint, size_t bytes, int protection, int flags, int fd, off_t offset)
    __attribute__((alias("mmap")));

EXPORT int madvise(void* base, size_t bytes, int advice) { return advise(base, bytes, advice); }

EXPORT int posix_madvise(void* base, size_t bytes, int advice) {
  if (advice == POSIX_MADV_DONTNEED) return 0;  // as glibc: POSIX does not let it lose data
  const int saved = errno;
  const int failed = advise(base, bytes, advice) == 0 ? 0 : errno;
  errno = saved;
  return failed;
}

EXPORT int mprotect(void* base, size_t bytes, int protection) {
  if (Region* region = block_of(base, bytes)) region->disturbed = true;
  return os::program_mprotect(base, bytes, protection);
}

EXPORT int mlock(const void* base, size_t bytes) {
  if (Region* region = LargeHeap::block_around(base)) region->disturbed = true;
  return os::program_mlock(base, bytes, 0, false);
}

EXPORT int mlock2(const void* base, size_t bytes, unsigned flags) {
  if (Region* region = LargeHeap::block_around(base)) region->disturbed = true;
  return os::program_mlock(base, bytes, flags, true);
}

EXPORT int munmap(void* base, size_t bytes) {
  PageRange rest = pages(base, bytes);
  // Mappings that were captured may lie side by side, and be unmapped by one call.
  while (is_page_aligned(base) && bytes != 0 && !rest.empty()) {
    Region* region = LargeHeap::block_around(rest.base);
    if (region == nullptr) break;
    const PageRange part = rest.intersect(region->span);
    const Errno e = region->is_mapping ? large_heap.unmap(*region, part) : large_heap.withdraw(*region, part);
    if (!e.ok()) return as_result(e);
    rest = {part.end(), rest.bytes - part.bytes};
  }
  if (rest.empty() && bytes != 0) return 0;
  return os::program_munmap(rest.base, bytes == 0 ? 0 : rest.bytes);
}

EXPORT void* mremap(void* base, size_t old_bytes, size_t new_bytes, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  void* target = (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0 ? va_arg(arguments, void*) : nullptr;
  va_end(arguments);
  Region* region = block_of(base, old_bytes);
  if (region != nullptr && region->is_mapping && base == region->span.base && flags == MREMAP_MAYMOVE &&
      region->unmapped_bytes == 0 && round_up(old_bytes, kPageBytes) == region->committed &&
      new_bytes >= settings.threshold_bytes)
    if (void* moved = move_mapping(*region, round_up(new_bytes, kPageBytes))) return moved;
  if (region != nullptr) return move_out(*region, pages(base, old_bytes), new_bytes, flags, target);
  return os::program_mremap(base, old_bytes, new_bytes, flags, target);
}

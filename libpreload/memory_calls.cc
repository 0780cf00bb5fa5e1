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

// Blocks lie side by side, and a call may be about several. The block that the range begins in and how much
// of the range is in it; null: such calls are the system's, or what is left of them is.
Region* first_block_of(PageRange range, PageRange& part) {
  if (!is_page_aligned(range.base) || range.empty()) return nullptr;
  Region* region = LargeHeap::block_around(range.base);
  if (region != nullptr) part = range.intersect(region->span);
  return region;
}

PageRange after(PageRange part, PageRange whole) { return {part.end(), whole.bytes - part.bytes}; }

// Protection or locks of the pages are the program's from now on.
void disturb(void* base, size_t bytes) {
  PageRange part;
  for (PageRange rest = pages(base, bytes); Region* region = first_block_of(rest, part);
       rest = after(part, rest))
    region->disturbed = true;
}

int as_result(Errno e) {
  if (e.ok()) return 0;
  errno = e.code();
  return -1;
}

int advise_part(Region& region, PageRange part, int advice) {
  if (!region.chunk->backing->answers_madvise()) {
    region.disturbed = true;
    return os::program_madvise(part.base, part.bytes, advice);
  }
  switch (advice) {
    case MADV_DONTNEED:
    case MADV_FREE:  // may read as zeroes from now on: do it at once, the blocks are worth having
#ifdef MADV_DONTNEED_LOCKED
    case MADV_DONTNEED_LOCKED:
#endif
      return as_result(large_heap.discard(region, part));
    case MADV_REMOVE:
      errno = EINVAL;  // it is for shared mappings
      return -1;
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
      region.advice_is_programs = true;
      region.disturbed = true;
      return as_result(region.chunk->backing->advise(part, advice));
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
      region.disturbed = true;
  }
  return os::program_madvise(part.base, part.bytes, advice);
}

int advise(void* base, size_t bytes, int advice) {
  if (small_window.is_spillable(base) && is_page_aligned(base) &&
      (advice == MADV_DONTNEED || advice == MADV_FREE))
    return as_result(large_heap.discard_small(pages(base, bytes).intersect(small_window.spillable())));
  PageRange part;
  Region* region = bytes <= SIZE_MAX - kPageBytes ? first_block_of(pages(base, bytes), part) : nullptr;
  if (region == nullptr) return os::program_madvise(base, bytes, advice);
  PageRange rest = pages(base, bytes);
  for (; region != nullptr; region = first_block_of(rest, part)) {
    if (const int failed = advise_part(*region, part, advice); failed != 0) return failed;
    rest = after(part, rest);
  }
  return rest.empty() ? 0 : os::program_madvise(rest.base, rest.bytes, advice);
}

// For a mapping in place of pages of blocks, which are lost. Private anonymous memory is what the program
// thinks is there already: it stays ours. `rest` becomes what the system has to map, if anything.
Errno replace_blocks(PageRange& rest, int protection, int flags) {
  constexpr int kHarmless = MAP_NORESERVE | MAP_POPULATE | MAP_STACK;
  const bool is_memory = (flags & ~kHarmless) == (MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
  PageRange left = rest, part;
  while (Region* region = first_block_of(left, part)) {
    const bool stays_ours =
        is_memory && left.base == rest.base && part.end() <= region->span.base + region->committed;
    const Errno e =
        stays_ours ? large_heap.renew(*region, part, protection) : large_heap.withdraw(*region, part);
    if (!e.ok()) return e;
    left = after(part, left);
    if (stays_ours)
      rest = left;
    else
      region->has_foreign_pages = true;
  }
  return {};
}

// Memory that a program's own allocator would ask for. What it reserves without access, and uses later, is
// not captured: the mappings it makes in there have their place.
bool may_capture(const void* hint, size_t bytes, int protection, int flags) {
  constexpr int kWanted = MAP_PRIVATE | MAP_ANONYMOUS, kHarmless = MAP_NORESERVE | MAP_POPULATE;
  return hint == nullptr && bytes >= kPageBytes && protection == (PROT_READ | PROT_WRITE) &&
         (flags & ~kHarmless) == kWanted;
}

// The pages are no longer the program's.
Errno give_up(Region& region, PageRange part) {
  return region.is_mapping ? large_heap.unmap(region, part) : large_heap.withdraw(region, part);
}

// mremap of pages of a block: the new place is the program's own memory, with the same bytes; the old is
// gone.
void* move_out(Region& region, PageRange from, size_t new_bytes, int flags, void* target) {
  const uint64_t bytes = round_up(new_bytes, kPageBytes);
  if (bytes <= from.bytes && (flags & MREMAP_FIXED) == 0) {
    if (bytes < from.bytes)
      if (Errno e = give_up(region, from.sub(bytes, from.bytes - bytes)); !e.ok())
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
  const Errno e = keep_mapped ? large_heap.discard(region, from) : give_up(region, from);
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
  if ((flags & MAP_FIXED) != 0 && bytes <= SIZE_MAX - kPageBytes &&
      LargeHeap::block_around(hint) != nullptr) {
    // Not if the call will fail anyway.
    void* trial = os::program_mmap(nullptr, bytes, protection, flags & ~MAP_FIXED, fd, offset);
    if (trial == MAP_FAILED) return trial;
    os::unreserve(pages(trial, bytes));
    PageRange rest = pages(hint, bytes);
    if (Errno e = replace_blocks(rest, protection, flags); !e.ok()) return errno = e.code(), MAP_FAILED;
    if (rest.empty()) return hint;
    if (rest.base != hint)  // anonymous, so there is no offset
      return os::program_mmap(rest.base, rest.bytes, protection, flags, fd, offset) != MAP_FAILED
                 ? hint
                 : MAP_FAILED;
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
  disturb(base, bytes);
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
  if (bytes == 0 || bytes > SIZE_MAX - kPageBytes) return os::program_munmap(base, bytes);  // EINVAL
  PageRange rest = pages(base, bytes), part;
  // Mappings that were captured may lie side by side, and be unmapped by one call.
  while (Region* region = first_block_of(rest, part)) {
    if (Errno e = give_up(*region, part); !e.ok()) return as_result(e);
    rest = after(part, rest);
  }
  return rest.empty() ? 0 : os::program_munmap(rest.base, rest.bytes);
}

EXPORT void* mremap(void* base, size_t old_bytes, size_t new_bytes, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  void* target = (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0 ? va_arg(arguments, void*) : nullptr;
  va_end(arguments);
  Region* region = block_of(base, old_bytes);
  if (region != nullptr && region->is_mapping && base == region->span.base && flags == MREMAP_MAYMOVE &&
      region->unmapped.bytes() == 0 && round_up(old_bytes, kPageBytes) == region->committed &&
      new_bytes >= settings.threshold_bytes)
    if (void* moved = move_mapping(*region, round_up(new_bytes, kPageBytes))) return moved;
  if (region != nullptr) return move_out(*region, pages(base, old_bytes), new_bytes, flags, target);
  return os::program_mremap(base, old_bytes, new_bytes, flags, target);
}

#include "libpreload/large.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/os/fatal.h"
#include "base/os/keep_errno.h"
#include "base/os/memory.h"
#include "libpreload/backing/directory.h"
#include "libpreload/pager/trace.h"
#include "libpreload/settings.h"
#include "libpreload/stats.h"

namespace spillway {

constinit LargeHeap large_heap;

namespace {

// Freed blocks whose pages are kept: enough for the temporaries of a numerical program, little beside its
// data.
constexpr uint64_t kMaxRecycledBytes = 256 * kMiB;

// Half of user space: more is refused before rounding could overflow.
constexpr uint64_t kMostBytes = uint64_t{1} << 46;

uint64_t max_recycled_bytes() {
  const uint64_t limit = settings.limit_bytes;
  return limit == 0 ? kMaxRecycledBytes : std::min(kMaxRecycledBytes, limit / 8);
}

}  // namespace

Backing& LargeHeap::preferred(uint64_t bytes) {
  const bool may_manage = settings.backing == Settings::BackingChoice::kAuto ||
                          settings.backing == Settings::BackingChoice::kManaged;
  if (may_manage && bytes >= kExtentBytes && can_manage()) return managed_;
  // Smaller blocks are in files beside managed ones.
  if (!may_manage || bytes >= kExtentBytes) trace.say_only_managed();
  if (settings.backing == Settings::BackingChoice::kPlain) return plain_;
  if (file_failed_) return plain_;
  return bytes < kExtentBytes ? small_file_ : file_;
}

Errno LargeHeap::open_chunk(Backing& backing, uint64_t bytes) {
  for (uint64_t size = backing.chunk_bytes(bytes);;
       size = std::max(bytes, round_down(size / 2, kExtentBytes))) {
    Result<PageRange> range = os::reserve(size, kExtentBytes);
    Errno error = range ? Errno{} : range.error();
    if (range) {
      Chunk* chunk = space_.add_chunk(*range, backing);
      error = chunk != nullptr ? backing.open(*chunk) : Errno(ENOMEM);
      if (error.ok()) {
        if (backing.in_files()) has_files_ = true;
        return {};
      }
      if (chunk != nullptr) space_.remove_chunk(*chunk);
      os::unreserve(*range);
    }
    // Less may do where the address space (ENOMEM) or the file's length (EFBIG) is limited.
    if (size == bytes || !(error == ENOMEM || error == EFBIG)) return error;
  }
}

void LargeHeap::forget_chunk(Chunk& chunk) {
  const PageRange range = chunk.range;
  chunk.backing->close(chunk);
  space_.remove_chunk(chunk);
  os::unreserve(range);
}

// A region of `span` bytes of which the first `bytes` are committed; in no list, not yet live.
Region* LargeHeap::acquire(Backing& backing, uint64_t span, uint64_t alignment, uint64_t bytes,
                           bool& recycled, Errno& error) {
  // Once more after a new chunk, and that twice if the program closed the file of the first.
  for (int attempt = 0; attempt < 4; ++attempt) {
    Region* region = space_.take(backing, span, alignment, Region::State::kRecycled);
    recycled = region != nullptr;
    if (region == nullptr) region = space_.take(backing, span, alignment, Region::State::kFree);
    if (region == nullptr) {
      error = open_chunk(backing, span + (alignment > kExtentBytes ? alignment : 0));
      if (!error.ok()) return nullptr;
      continue;
    }
    const uint64_t there = region->committed;
    if (there < bytes) {
      const PageRange missing{region->span.base + there, bytes - there};
      error = backing.commit(*region->chunk, missing);
      if (!error.ok()) {
        space_.give_back(*region, region->state);
        if (error == EBADF) continue;  // the program closed the chunk's file; the chunk is retired
        return nullptr;
      }
      region->committed = bytes;
    }
    stats.recycled += recycled;
    return region;
  }
  return nullptr;
}

Region* LargeHeap::acquire_anywhere(uint64_t span, uint64_t alignment, uint64_t bytes, bool& recycled) {
  for (;;) {
    Errno error(ENOMEM);
    Backing& backing = preferred(bytes);
    if (Region* region = acquire(backing, span, alignment, bytes, recycled, error)) return region;
    if (error == ENOSPC || error == EDQUOT || error == ENOMEM || error == EIO) {
      if (!release_oldest_recycled()) return nullptr;  // full; what freed blocks keep is all there is to give
    } else if (backing.in_files()) {
      // No file can be had here: the program runs on as it would without us.
      if (error == EFBIG || error == EMFILE || error == ENFILE) {
        // This block only: the next may be smaller, or descriptors be free again.
        const Errno why = error;
        Region* region = acquire(plain_, span, alignment, bytes, recycled, error);
        static bool said = false;
        if (region != nullptr && !std::exchange(said, true))
          settings.warn("a block of %llu MiB stays in memory: %s (%s)",
                        static_cast<unsigned long long>(bytes / kMiB), strerror(why.code()),
                        why == EFBIG ? "see ulimit -f" : "see ulimit -n");
        return region;
      }
      file_failed_ = true;
      settings.warn("no file for large blocks in %s: %s; they stay in memory (plain)",
                    region_directory.path(), strerror(error.code()));
    } else {
      return nullptr;
    }
  }
}

void* LargeHeap::allocate_span(uint64_t bytes, uint64_t span, uint64_t alignment, bool zeroed) {
  KeepErrno keep;
  os::NoCancellation no_cancellation;
  Region* region;
  bool recycled = false;
  {
    os::Locked locked(lock_);
    region = acquire_anywhere(span, std::max(alignment, kExtentBytes), round_up(bytes, kPageBytes), recycled);
    if (region != nullptr) {
      space_.mark_live(*region);
      stats.on_allocate(*region);
    }
  }
  if (region == nullptr) return nullptr;
  if (zeroed && recycled) memset(region->span.base, 0, bytes);
  stats.note_call_site(*region, bytes);
  start_pacing();
  return region->span.base;
}

void* LargeHeap::allocate(uint64_t bytes, uint64_t alignment, bool zeroed) {
  void* block = nullptr;
  if (bytes <= kMostBytes && alignment <= kMostBytes)
    block = allocate_span(bytes, round_up(bytes, kExtentBytes), alignment, zeroed);
  if (block == nullptr) errno = ENOMEM;
  return block;
}

void LargeHeap::give_back(Region& region) {
  Chunk& chunk = *region.chunk;
  Backing& backing = *chunk.backing;
  if (const PageRange used = region.committed_granules(); used.bytes < region.span.bytes) {
    Region* head_room = space_.cut(region, used.bytes);
    if (chunk.next_run(head_room->span, /*mapped=*/true).empty() ||
        backing.decommit(chunk, head_room->span, false))
      space_.give_back(*head_room, Region::State::kFree);
    else
      space_.give_back(*head_room, Region::State::kRecycled);
  }
  const bool all_ours = chunk.next_run(region.span, /*mapped=*/false).empty();
  const bool keep = all_ours && backing.keeps_freed() && !region.disturbed && !chunk.retired &&
                    !region.shared_with_children && region.span.bytes <= max_recycled_bytes();
  if (keep) {
    if (region.advice != 0) (void)backing.advise(region.span, os::kAdviceNormal);
    space_.give_back(region, Region::State::kRecycled);
    while (space_.recycled_bytes() > max_recycled_bytes() && release_oldest_recycled()) {
    }
    return;
  }
  const bool pristine = region.disturbed || region.advice != 0;
  if (backing.decommit(chunk, region.span, pristine)) {
    space_.give_back(region, Region::State::kFree);
  } else {
    chunk.keeps_freed_space = true;
    if (!all_ours) region.committed = 0;  // the granules of a snapshot are gone: commit maps them again
    space_.give_back(region, Region::State::kRecycled);
  }
  // Address space is precious only where it is limited, and chunks are small there.
  if (chunk.live_regions == 0 && (chunk.retired || chunk.range.bytes < 64 * kGiB)) forget_chunk(chunk);
}

bool LargeHeap::release_oldest_recycled() {
  Region* oldest = space_.oldest_recycled();
  while (oldest != nullptr && oldest->chunk->keeps_freed_space) oldest = space_.next_recycled(*oldest);
  if (oldest == nullptr) return false;
  space_.unlist(*oldest);
  Chunk& chunk = *oldest->chunk;
  const bool given_back = chunk.backing->decommit(chunk, oldest->span, /*pristine=*/false);
  if (!given_back) chunk.keeps_freed_space = true;
  space_.give_back(*oldest, given_back ? Region::State::kFree : Region::State::kRecycled);
  return true;
}

void LargeHeap::release(Region& region) {
  KeepErrno keep;
  os::Locked locked(lock_);
  // Two threads may free one block at once; the second finds it gone.
  if (region.state != Region::State::kLive)
    os::die("free(): %p was freed twice", static_cast<void*>(region.span.base));
  stats.on_release(region);
  give_back(region);
}

bool LargeHeap::resize_in_place(Region& region, uint64_t bytes) {
  KeepErrno keep;
  if (bytes > kMostBytes) return false;
  bool done;
  {
    os::Locked locked(lock_);
    done = resize(region, bytes);
  }
  start_pacing();
  return done;
}

bool LargeHeap::resize(Region& region, uint64_t bytes) {
  const uint64_t pages = round_up(bytes, kPageBytes);
  const uint64_t span = round_up(bytes, kExtentBytes);
  Backing& backing = *region.chunk->backing;

  if (pages > region.committed) {
    if (span > region.span.bytes) {
      bool recycled = false;
      if (region.shared_with_children || region.disturbed || &backing == &small_file_) return false;
      const uint64_t before = region.span.bytes;
      if (!space_.extend(region, span, recycled)) return false;
      const uint64_t committed = region.committed;
      if (!backing.commit(*region.chunk, {region.span.base + committed, pages - committed}).ok()) {
        Region* rest = space_.cut(region, before);
        rest->committed = 0;
        space_.give_back(*rest, recycled ? Region::State::kRecycled : Region::State::kFree);
        return false;
      }
    } else {
      const uint64_t committed = region.committed;
      if (!backing.commit(*region.chunk, {region.span.base + committed, pages - committed}).ok())
        return false;
    }
    stats.on_resize(region, pages);
    region.committed = pages;
    return true;
  }
  if (span < region.committed_granules().bytes) {
    stats.on_resize(region, span);
    Region* rest = space_.cut(region, span);
    rest->disturbed = region.disturbed.load();
    rest->shared_with_children = region.shared_with_children;
    rest->advice = region.advice.load();
    give_back(*rest);
    region.committed = std::min<uint64_t>(region.committed, span);
  }
  return true;
}

void* LargeHeap::move(Region& region, uint64_t bytes) {
  if (bytes > kMostBytes) {
    errno = ENOMEM;
    return nullptr;
  }
  // A block that grows once grows again: address space for as much again costs nothing.
  const uint64_t span = round_up(bytes, kExtentBytes);
  void* block =
      allocate_span(bytes, span > region.span.bytes ? 2 * span : span, kExtentBytes, /*zeroed=*/false);
  if (block == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  memcpy(block, region.span.base, std::min<uint64_t>(bytes, region.committed));
  release(region);
  return block;
}

bool LargeHeap::trim() {
  os::Locked locked(lock_);
  bool some = false;
  while (release_oldest_recycled()) some = true;
  return some;
}

void LargeHeap::retire_chunks() {
  os::Locked locked(lock_);
  for (Chunk *c = space_.chunks(), *next; c != nullptr; c = next) {
    next = c->next;
    if (!c->backing->in_files()) continue;
    c->retired = true;
    if (c->live_regions == 0) forget_chunk(*c);  // nobody will be freed there any more
  }
  file_failed_ = false;
}

}  // namespace spillway

// What the program says of its large blocks, or does to them by a system call of its own.
#include <cerrno>

#include "base/os/memory.h"
#include "libpreload/large.h"
#include "libpreload/pager/pager.h"

namespace spillway {

Errno LargeHeap::discard(Region& region, PageRange range) {
  os::Locked locked(lock_);
  return region.chunk->backing->discard(*region.chunk, range.intersect({region.span.base, region.committed}));
}

Errno LargeHeap::withdraw(Region& region, PageRange range) {
  os::Locked locked(lock_);
  return empty(region, range, os::kNoAccess);
}

Errno LargeHeap::renew(Region& region, PageRange range, int protection) {
  os::Locked locked(lock_);
  region.unmapped.remove(region.span, range);
  return empty(region, range, protection);
}

// A file without holes is cleared by writing, so the pages must be writable first.
Errno LargeHeap::empty(Region& region, PageRange range, int protection) {
  region.disturbed = true;
  if (os::program_mprotect(range.base, range.bytes, os::kReadWrite) != 0) return Errno(errno);
  if (Errno e = region.chunk->backing->discard(*region.chunk, range); !e.ok()) return e;
  if (protection == os::kReadWrite || os::program_mprotect(range.base, range.bytes, protection) == 0)
    return {};
  return Errno(errno);
}

Errno LargeHeap::advise(Region& region, PageRange pages, Advice advice) {
  os::Locked locked(lock_);
  Backing& backing = *region.chunk->backing;
  region.disturbed = true;
  if (&backing == &managed_) {
    pager.advise(pages, advice);
    return {};
  }
  if (!backing.in_files()) return {};
  switch (advice) {
    case Advice::kNormal:
    case Advice::kSequential:
    case Advice::kRandom:
      region.advice_is_programs = advice != Advice::kNormal;
      return backing.advise(pages, advice == Advice::kRandom       ? os::kAdviceRandom
                                   : advice == Advice::kSequential ? os::kAdviceSequential
                                                                   : os::kAdviceNormal);
    case Advice::kPrefetch:
      return os::prefetch(pages);
    case Advice::kDrop:
      return os::page_out(pages);
    case Advice::kLoop:
    case Advice::kKeep:
      break;
  }
  return {};
}

void LargeHeap::set_limit(uint64_t bytes) {
  os::Locked locked(lock_);
  pager.set_limit(bytes);
}

char* LargeHeap::allocate_mapping(uint64_t bytes) {
  auto* block = static_cast<char*>(allocate(bytes, kExtentBytes, /*zeroed=*/true));
  if (block != nullptr) page_map.region_at(block)->is_mapping = true;
  return block;
}

Errno LargeHeap::unmap(Region& region, PageRange range) {
  const PageRange all{region.span.base, region.committed};
  const PageRange gone = range.intersect(all);
  if (gone.bytes < all.bytes) {
    if (Errno e = withdraw(region, range); !e.ok()) return e;
    os::Locked locked(lock_);
    region.unmapped.add(region.span, gone);
    if (region.unmapped.bytes() < all.bytes || region.state != Region::State::kLive) return {};
  }
  release(region);
  return {};
}

}  // namespace spillway

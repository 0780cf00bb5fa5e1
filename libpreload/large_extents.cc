// Large blocks in files as the pacer's threads see them: extent by extent, whoever's block it is.
#include <algorithm>

#include "base/os/memory.h"
#include "base/os/procfs.h"
#include "libpreload/large.h"

namespace spillway {

PageRange LargeHeap::next_extent_of(Chunk& chunk, const char* from, bool mapped) {
  Region* region = from > chunk.range.base ? page_map.region_at(from) : space_.first_of(chunk);
  if (region == nullptr || region->chunk != &chunk ||
      !region->span.contains(std::max<const char*>(from, chunk.range.base)))
    region = space_.first_of(chunk);  // what was there when the caller came by last time is gone
  for (; region != nullptr; region = space_.next_of(*region)) {
    if (region->state != Region::State::kLive || region->shared_with_children || region->has_foreign_pages ||
        region->span.end() <= from)
      continue;
    const PageRange blocks = region->committed_granules();
    for (char* g = std::max(const_cast<char*>(from), blocks.base); g < blocks.end(); g += kExtentBytes)
      if (chunk.is_mapped(g) == mapped) return {g, kExtentBytes};
  }
  return {};
}

PageRange LargeHeap::next_extent(const char* from, bool mapped) {
  os::Locked locked(lock_);
  PageRange first;
  for (Chunk* c = space_.chunks(); c != nullptr; c = c->next) {
    if (!c->backing->in_files() || c->range.end() <= from || (!first.empty() && c->range.base > first.base))
      continue;
    const PageRange extent = next_extent_of(*c, from, mapped);
    if (!extent.empty()) first = extent;
  }
  return first;
}

// The live region in a file that maps this extent as its own, or null.
Region* LargeHeap::own_extent(PageRange extent) {
  Region* region = block_around(extent.base);
  return region != nullptr && region->chunk->backing->in_files() && !region->has_foreign_pages &&
                 region->chunk->is_mapped(extent.base)
             ? region
             : nullptr;
}

bool LargeHeap::let_go(PageRange run) {
  os::Locked locked(lock_);
  for (uint64_t at = 0; at < run.bytes; at += kExtentBytes)
    if (own_extent(run.sub(at, kExtentBytes)) == nullptr) return false;
  return os::let_go(run).ok();
}

LargeHeap::FileExtent LargeHeap::file_extent(PageRange extent) {
  Region* region = own_extent(extent);
  if (region == nullptr) return {};
  const Chunk& chunk = *region->chunk;
  return {chunk.fd, chunk.file, chunk.range.offset_of(extent.base)};
}

// What the program protected or put there itself stays a snapshot: a new mapping would be neither.
bool LargeHeap::can_thaw(const Region& region, PageRange range) {
  if (region.has_foreign_pages) return false;
  if (!region.disturbed || !region.chunk->backing->in_files()) return true;
  os::MappingList mappings;
  if (!mappings.open().ok()) return false;
  for (os::MappingList::Entry entry; mappings.next(entry) && entry.range.base < range.end();)
    if (!range.intersect(entry.range).empty() && entry.protection != os::kReadWrite) return false;
  return true;
}

bool LargeHeap::thaw_extent(PageRange extent) {
  Region* region = block_around(extent.base);
  if (region == nullptr || region->chunk->is_mapped(extent.base) || !can_thaw(*region, extent)) return false;
  return region->chunk->backing->thaw(*region->chunk, extent).ok();
}

void LargeHeap::advise_block(const char* p, int advice) {
  PageRange scattered;
  {
    os::Locked locked(lock_);
    Region* region = block_around(p);
    if (region == nullptr || region->advice_is_programs || region->disturbed) return;
    const PageRange range = region->committed_granules();
    if (!region->chunk->backing->advise(range, advice).ok()) return;
    if (region->advice == os::kAdviceRandom) scattered = range;
    region->advice = advice;
  }
  // Single pages, each of which would cut a read ahead in two for as long as it stays: a scan again and again
  // took 1.4 times as long. For memory that has just become somebody else's it is no more than advice.
  if (!scattered.empty()) (void)os::page_out(scattered);
}

int LargeHeap::any_file() {
  os::Locked locked(lock_);
  for (Chunk* c = space_.chunks(); c != nullptr; c = c->next)
    if (FileBacking::owns_file(*c)) return c->fd;
  return -1;
}

}  // namespace spillway

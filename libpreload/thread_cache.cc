#include "libpreload/thread_cache.h"

#include <jemalloc/jemalloc.h>

#include <string_view>

#include "base/os/fatal.h"
#include "libpreload/small.h"

namespace spillway {
namespace {

// The address of one of jemalloc's counters of this thread.
const uint64_t* counter(const char* name) {
  uint64_t* at = nullptr;
  size_t bytes = sizeof at;
  return jemalloc_mallctl(name, &at, &bytes, nullptr, 0) == 0 ? at : nullptr;
}

}  // namespace

bool ThreadCache::is_laid_out_like_this() {
  constexpr std::string_view kVersion = JEMALLOC_VERSION;
  if constexpr (!kVersion.starts_with("5.3.0-0-")) return false;
  if (je_nhbins > kMostBins) return false;
  ThreadCache& cache = mine();
  return counter("thread.allocatedp") == &cache.allocated_ &&
         counter("thread.deallocatedp") == &cache.deallocated_ && cache.works_for(8) && cache.works_for(48) &&
         cache.works_for(640) && cache.works_for(kMostBytes);
}

// A block that is freed is on top afterwards; but now and then jemalloc clears the cache up first.
bool ThreadCache::works_for(size_t bytes) {
  const size_t size_class = je_sz_size2index_tab[(bytes + 7) / 8];
  const Bin& bin = bins_[size_class];
  for (int attempt = 0; attempt < 3; ++attempt) {
    void* const block = jemalloc_malloc(bytes);
    if (block == nullptr) return false;
    void** const top = bin.top;
    const uint64_t deallocated = deallocated_;
    jemalloc_free(block);
    const Pages& pages = pages_around(block);
    const uint16_t cached_bytes = bin.empty - low_bits(bin.top), room_bytes = bin.empty - bin.full;
    if (pages.key == key_of(block) && is_of_small_blocks(pages.at(block)) &&
        class_of(pages.at(block)) == size_class && bin.top == top - 1 && *bin.top == block &&
        cached_bytes >= sizeof block && cached_bytes <= room_bytes && room_bytes % sizeof block == 0 &&
        deallocated_ == deallocated + je_sz_index2size_tab[size_class])
      return true;
  }
  return false;
}

void ThreadCache::expect_not_cached(const Bin& bin, const char* function, const void* block) {
  // No top: the thread has no cache yet.
  if (bin.top != nullptr && low_bits(bin.top) != bin.empty && *bin.top == block)
    os::die("%s(): %p was freed twice", function, block);
}

void ThreadCache::not_live(const char* function, const void* block) {
  os::die("%s(): %p was freed twice, or is not the start of an allocated block", function, block);
}

}  // namespace spillway

#include "libpreload/backing/access_sampler.h"

#include <algorithm>
#include <utility>

#include "base/os/memory.h"
#include "libpreload/large.h"

namespace spillway {
namespace {

constexpr int kProbeVotes = 8;
constexpr uint64_t kRun = 32;        // pages, of a stream under MADV_RANDOM
constexpr uint64_t kMappedRun = 64;  // under normal advice; a fault maps 16 pages at once

bool is_cached(char* page) {
  unsigned char cached = 0;
  return os::cached_pages({page, kPageBytes}, &cached).ok() && (cached & 1) != 0;
}

}  // namespace

void AccessSampler::choose_blocks() {
  int n = 0;
  large_heap.for_each_block([&](Region& region) {
    const PageRange span{region.span.base, round_down(region.committed, kExtentBytes)};
    if (n == kBlocks || span.bytes < 8 * kMiB || region.advice_is_programs) return;
    Block& block = blocks_[n++];
    if (block.region != &region || block.span.base != span.base) {
      block = {};
      block.region = &region;
    }
    block.span = span;
  });
  while (n < kBlocks) blocks_[n++] = {};
}

void AccessSampler::choose_probes(Block& block) {
  const uint64_t extents = block.span.bytes / kExtentBytes;
  const uint64_t part = (extents + kProbes - 1) / kProbes * kExtentBytes;
  uint64_t at = 0;
  for (char*& absent : block.absent) {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator
    char* page = block.span.base + at + (random_ >> 33) % (part / kPageBytes) * kPageBytes;
    absent = block.span.contains(page) && !is_cached(page) ? page : nullptr;
    at += part;
  }
}

// False: nothing can be told from what is around the page.
bool AccessSampler::vote(Block& block, char* page, const os::PageTable& pages) {
  char* extent = block.span.base + round_down(static_cast<uint64_t>(page - block.span.base), kExtentBytes);
  unsigned char cached[kPages];
  if (!os::cached_pages({extent, kExtentBytes}, cached).ok()) return false;
  const uint64_t at = static_cast<uint64_t>(page - extent) / kPageBytes;
  if (block.region->advice == os::kAdviceRandom) {
    uint64_t first = at, end = at;
    while (first > 0 && (cached[first - 1] & 1) != 0) --first;
    while (end < kPages && (cached[end] & 1) != 0) ++end;
    block.votes.add(/*is_dense=*/end - first >= kRun);
    return true;
  }
  bool is_mapped[kPages];
  pages.look({extent, kExtentBytes}, is_mapped);
  uint64_t read = 0, mapped = 0, run = 0, longest = 0;
  for (uint64_t i = 0; i < kPages; ++i) {
    read += cached[i] & 1;
    mapped += is_mapped[i];
    run = is_mapped[i] ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  if (mapped == 0) return false;  // it was read ahead, for whom cannot be told yet
  block.votes.add(/*is_dense=*/longest >= kMappedRun || mapped * 5 >= read * 3);
  return true;
}

void AccessSampler::decide(Block& block) {
  const int now = block.region->advice;
  // Page by page, a stream passes one probe in 40 ms, and long runs there are no chance.
  const int advice = block.votes.decide(now, now == os::kAdviceRandom ? kProbeVotes / 2 : kProbeVotes);
  if (advice != AccessVotes::kUndecided && advice != now) large_heap.advise_block(block.span.base, advice);
}

void AccessSampler::favour_stream(Block& block, bool is_read, uint64_t waits) {
  constexpr uint64_t kFew = 2;
  constexpr int kMostCalm = 64;
  const int now = block.region->advice;
  if (now == os::kAdviceSequential && waits > kFew) {
    large_heap.advise_block(block.span.base, os::kAdviceNormal);
    block.calm_needed = std::min(2 * block.calm_needed, kMostCalm);
    block.calm = 0;
  } else if (waits > kFew) {
    block.calm = 0;
  } else if (is_read && ++block.calm == block.calm_needed && now == os::kAdviceNormal) {
    large_heap.advise_block(block.span.base, os::kAdviceSequential);
  } else if (block.calm == 4 * block.calm_needed && now == os::kAdviceSequential) {
    block.calm_needed = std::max(block.calm_needed / 2, 2);
    block.calm = block.calm_needed;
  }
}

void AccessSampler::look(const os::PageTable& pages, uint64_t major_faults) {
  const uint64_t waits = major_faults - std::exchange(major_faults_, major_faults);
  choose_blocks();
  for (Block& block : blocks_) {
    if (block.region == nullptr) continue;
    int votes = 0;
    bool is_read = false;
    for (char* page : block.absent) {
      if (votes == kProbeVotes || (is_read && !with_votes_)) break;
      if (page == nullptr || !block.span.contains(page) || !is_cached(page)) continue;
      is_read = true;
      if (with_votes_) votes += vote(block, page, pages);
    }
    if (with_votes_) decide(block);
    if (streams_are_sequential_) favour_stream(block, is_read, waits);
    choose_probes(block);
  }
}

}  // namespace spillway

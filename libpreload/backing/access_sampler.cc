#include "libpreload/backing/access_sampler.h"

#include "base/os/memory.h"
#include "libpreload/large.h"

namespace spillway {

void AccessSampler::choose_blocks() {
  int n = 0;
  large_heap.for_each_block([&](Region& region) {
    const PageRange span{region.span.base, round_down(region.committed, kExtentBytes)};
    if (n == kBlocks || span.bytes < 8 * kMiB || region.advice_is_programs) return;
    if (Block& block = blocks_[n++]; block.region != &region || block.span.base != span.base) {
      block = {};
      block.region = &region;
      block.span = span;
    } else {
      block.span = span;
    }
  });
  while (n < kBlocks) blocks_[n++] = {};
}

void AccessSampler::choose_extents(Block& block) {
  for (Sample& sample : block.samples) {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator
    sample.extent = block.span.base + (random_ >> 33) % (block.span.bytes / kExtentBytes) * kExtentBytes;
    if (!os::cached_pages({sample.extent, kExtentBytes}, sample.cached).ok()) sample.extent = nullptr;
  }
}

void AccessSampler::compare(Block& block, const os::PageTable& pages) {
  for (Sample& sample : block.samples) {
    unsigned char now[kPages];
    if (sample.extent == nullptr || !os::cached_pages({sample.extent, kExtentBytes}, now).ok()) continue;
    bool in_run = false;
    for (uint64_t i = 0; i < kPages; ++i) {
      const bool is_new = (now[i] & 1) != 0 && (sample.cached[i] & 1) == 0;
      if (is_new) {
        ++block.new_pages;
        block.runs += !in_run;
        block.mapped += pages.count({sample.extent + i * kPageBytes, kPageBytes}).present;
      }
      in_run = is_new;
    }
  }
}

void AccessSampler::decide(Block& block) {
  if (block.new_pages < 64) return;
  if (block.region->advice == os::kAdviceRandom) {
    if (block.new_pages >= 32 * block.runs) large_heap.advise_block(block.span.base, os::kAdviceNormal);
  } else if (block.mapped * 5 < block.new_pages * 3) {
    large_heap.advise_block(block.span.base, os::kAdviceRandom);
  }
  block.new_pages = block.mapped = block.runs = 0;
}

void AccessSampler::look(const os::PageTable& pages) {
  if (have_before_) {
    for (Block& block : blocks_) {
      if (block.region == nullptr) continue;
      compare(block, pages);
      decide(block);
    }
  }
  choose_blocks();
  for (Block& block : blocks_)
    if (block.region != nullptr) choose_extents(block);
  have_before_ = true;
}

}  // namespace spillway

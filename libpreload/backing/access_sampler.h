// access_sampler.h - learns what blocks are used for where fault events are forbidden (access_advisor.h):
// looks at a few random extents of each large block twice, and at the pages that came into the page cache
// between the looks.
//
// Under normal advice, read-ahead brings neighbours along: if the program then maps few of the new pages, the
// accesses are scattered. Under MADV_RANDOM only pages that were asked for come: long runs of them are a
// stream. Threads: the pacer's.
#pragma once
#include <cstdint>

#include "base/os/procfs.h"
#include "libpreload/region.h"

namespace spillway {

class AccessSampler {
 public:
  // Call at even intervals of some 50 ms.
  void look(const os::PageTable& pages);

 private:
  static constexpr int kBlocks = 8;
  static constexpr int kExtents = 24;  // of a block: 1 ms of looking
  static constexpr uint64_t kPages = kExtentBytes / kPageBytes;

  struct Sample {
    char* extent = nullptr;
    unsigned char cached[kPages] = {};
  };
  struct Block {
    Region* region = nullptr;
    PageRange span;
    Sample samples[kExtents];
    // Since the last decision.
    uint64_t new_pages = 0, mapped = 0, runs = 0;
  };

  void choose_blocks();
  void choose_extents(Block& block);
  void compare(Block& block, const os::PageTable& pages);
  void decide(Block& block);

  Block blocks_[kBlocks];
  bool have_before_ = false;
  uint64_t random_ = 0x9E3779B97F4A7C15u;
};

}  // namespace spillway

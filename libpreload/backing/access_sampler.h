// access_sampler.h - learns what blocks are used for where fault events are forbidden (access_advisor.h): looks
// at single pages all over each large block, again and again, and around those that came into the page cache
// between two looks.
//
// Under normal advice, read-ahead brings neighbours along: where the program maps few of them, and no long run,
// accesses are scattered. Under MADV_RANDOM only pages that were asked for come: a long run is a stream.
// Threads: the pacer's.
#pragma once
#include <cstdint>

#include "base/os/procfs.h"
#include "libpreload/backing/access_votes.h"
#include "libpreload/region.h"

namespace spillway {

class AccessSampler {
 public:
  // Call at even intervals of some 50 ms.
  void look(const os::PageTable& pages);

 private:
  static constexpr int kBlocks = 8;
  static constexpr uint64_t kProbes = 512;  // of a block: 0.2 ms of looking
  static constexpr uint64_t kPages = kExtentBytes / kPageBytes;

  struct Block {
    Region* region = nullptr;
    PageRange span;
    AccessVotes votes;
    // Pages that were not in the page cache at the last look, one in each of equal parts of the block.
    char* absent[kProbes] = {};
  };

  void choose_blocks();
  void choose_probes(Block& block);
  bool vote(Block& block, char* page, const os::PageTable& pages);
  void decide(Block& block);

  Block blocks_[kBlocks];
  uint64_t random_ = 0x9E3779B97F4A7C15u;
};

}  // namespace spillway

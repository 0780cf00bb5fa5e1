// access_sampler.h - learns what blocks are used for where fault events are forbidden (access_advisor.h):
// looks at single pages all over each large block, again and again, and around those that came into the page
// cache between two looks.
//
// Under normal advice, read-ahead brings neighbours along: where the program maps few of them, and no long
// run, accesses are scattered. Under MADV_RANDOM only pages that were asked for come: a long run is a stream.
//
// Where the read-ahead is large and pages come while nobody waits for one, a stream has the kernel read ahead
// of it in units of up to 2 MiB. Then MADV_SEQUENTIAL has one more effect, that pages which were used are let
// go first: updating 1 GiB in 256 MiB is up to twice as fast (bench, row update at 8 MiB). But once such a
// stream has to wait, the kernel reads a window of single pages at a time for ever, so the advice is taken
// back at once. Threads: the pacer's.
#pragma once
#include <cstdint>

#include "base/os/procfs.h"
#include "libpreload/backing/access_votes.h"
#include "libpreload/region.h"

namespace spillway {

class AccessSampler {
 public:
  // read_ahead_bytes: the window the kernel reads around a fault. with_votes: decide on MADV_RANDOM, too.
  AccessSampler(uint64_t read_ahead_bytes, bool with_votes)
      : streams_are_sequential_(read_ahead_bytes >= kMiB), with_votes_(with_votes) {}

  // Call at even intervals of some 50 ms. major_faults: of the process, since it began.
  void look(const os::PageTable& pages, uint64_t major_faults);

 private:
  static constexpr int kBlocks = 8;
  static constexpr uint64_t kProbes = 512;  // of a block: 0.2 ms of looking
  static constexpr uint64_t kPages = kExtentBytes / kPageBytes;

  struct Block {
    Region* region = nullptr;
    PageRange span;
    AccessVotes votes;
    int calm = 0;         // looks in which it was read and nobody waited
    int calm_needed = 2;  // before MADV_SEQUENTIAL
    // Pages that were not in the page cache at the last look, one in each of equal parts of the block.
    char* absent[kProbes] = {};
  };

  void choose_blocks();
  void choose_probes(Block& block);
  bool vote(Block& block, char* page, const os::PageTable& pages);
  void decide(Block& block);
  void favour_stream(Block& block, bool is_read, uint64_t waits);

  const bool streams_are_sequential_, with_votes_;
  uint64_t major_faults_ = 0;
  Block blocks_[kBlocks];
  uint64_t random_ = 0x9E3779B97F4A7C15u;
};

}  // namespace spillway

// access_advisor.h - what each large block is used for, and the advice that suits: the kernel's read-ahead is
// right for streams and ruinous for scattered accesses (with 128 KiB read-ahead a random read moves 32 times
// too much, with 8 MiB 2,048 times). Learns from the addresses of major faults.
//
// A fault is compared with the last few of its block. Just beyond what the kernel read around one of them, or
// at the end of pages that are in use, speaks for MADV_NORMAL. Far from all, a constant large stride away, or
// within what was read and is gone again, speaks for MADV_RANDOM; there, the very next page speaks for
// MADV_NORMAL. A clear majority decides.
// Backward streams, for which the kernel does not read ahead, are read ahead here: 886 MB/s instead of 420
// (bench, row backward); doing the same for forward streams gained nothing. Threads: the pacer's.
#pragma once
#include "base/os/procfs.h"
#include "libpreload/backing/access_votes.h"
#include "libpreload/region.h"

namespace spillway {

class AccessAdvisor {
 public:
  // read_ahead_bytes: the window the kernel reads around a fault.
  AccessAdvisor(uint64_t read_ahead_bytes, const os::PageTable& pages)
      : window_bytes_(read_ahead_bytes), pages_(pages) {}

  // A thread had to wait for the page at `address`.
  void on_fault(char* address, uint32_t thread);
  // Reads ahead for streams that came along. True: streams are going on; call again within a millisecond or
  // two.
  bool advance_streams();

 private:
  static constexpr int kRemembered = 8;
  static constexpr int kStreams = 8;
  static constexpr int kBlocks =
      64;  // blocks learned about at once; others share, and only learn more slowly

  struct Fault {
    char* page = nullptr;
    uint32_t thread = 0;
    int64_t step = 0;  // from the thread's fault before
  };
  struct Block {
    Region* region = nullptr;
    char* base = nullptr;
    Fault last[kRemembered];
    int next = 0;
    AccessVotes votes;
    int run = 0;  // faults in a row that continue a backward stream
  };
  struct Stream {
    Region* region = nullptr;
    char* front = nullptr;  // everything down to here is being read
    uint64_t window = 0;
    int idle = 0;
  };

  Block& block_of(Region* region);
  void vote(Block& block, Fault fault);
  const Fault* earlier(const Block& block, int back) const;
  const Fault* last_of(const Block& block, uint32_t thread) const;
  bool moves_on(const Block& block, const Fault& fault, const Fault& before) const;
  bool is_walked(const char* from, const char* to) const;
  int64_t distance_to_nearest(const Block& block, const char* page) const;
  void decide(Block& block, char* address);
  void start_stream(Region* region, char* at);
  void read_ahead(Stream& stream);

  const uint64_t window_bytes_;
  const os::PageTable& pages_;
  Block blocks_[kBlocks];
  Stream streams_[kStreams];
};

}  // namespace spillway

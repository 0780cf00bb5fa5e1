// residency.h - SPILLWAY_LIMIT for blocks in files: when the process holds more of their pages than that, a
// clock hand goes round the blocks and lets go of them, and write_behind takes them out of the page cache as
// well: what comes back then comes from the device, no faster than it can be let go of again.
//
// Without a limit nothing of this happens: under memory pressure the kernel, which knows what was used last,
// is better at it. A thread of its own, since nothing else may delay it: a program on two processors touches
// 6 GB/s of new pages, so that every 10 ms later are 60 MB more.
#pragma once
#include "base/os/procfs.h"
#include "libpreload/backing/write_behind.h"

namespace spillway {

class Residency {
 public:
  explicit Residency(WriteBehind& write_behind) : write_behind_(write_behind) {}

  // A thread that holds settings.limit_bytes for as long as the process lives, and one that writes behind.
  // False: no room for them.
  static bool start_threads();
  // What it does again and again: lets go of pages if there are too many. Returns how long may be waited
  // until the next look, in us.
  int hold(const os::PageTable& pages, uint64_t limit_bytes);

 private:
  static void* run(void* self);
  uint64_t count_ours(const os::PageTable& pages);
  uint64_t ours() const;
  PageRange next_run(uint64_t most_bytes);
  // Lets go of extents until ours() is low. False: all were let go of, and it is not.
  bool sweep(uint64_t low_bytes);

  os::MemoryMeter meter_;
  char* hand_ = nullptr;
  WriteBehind& write_behind_;
  uint64_t others_bytes_ = 0;  // resident file pages that are not ours: the program's code and libraries
};

}  // namespace spillway

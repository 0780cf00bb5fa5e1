// rehome.h - after a fork the blocks in files are snapshots: pages written since are ordinary memory of the
// process, which nothing can spill. When that has become much, the granules it is in are copied to the
// process's own file and mapped shared again, while the other threads stand still (nothing else keeps a write
// between copy and mapping from being lost, short of userfaultfd). Holds for the parent and for children, so
// that they all spill again. Threads: one of its own, which
// opens the files that the process's other threads allocate in.
#pragma once
#include "base/os/procfs.h"

namespace spillway {

class Rehome {
 public:
  // `forks`: how many there were in this process and its ancestors.
  void expect_snapshots(unsigned forks);
  // Returns how long may be waited until the next look, in ms.
  int run(const os::PageTable& pages);

 private:
  os::MemoryMeter meter_;
  bool expecting_ = false;
  uint64_t baseline_bytes_ = 0;  // anonymous memory that is not worth a look
  uint64_t allowance_bytes_ = 0;
};

}  // namespace spillway

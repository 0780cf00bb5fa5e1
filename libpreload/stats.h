// stats.h - what SPILLWAY_STATS prints at exit: counters of large blocks, and who asked for them.
// Nothing here is on the path of a small block. Counters are under the heap's lock unless atomic.
#pragma once
#include <atomic>

#include "base/os/file.h"
#include "libpreload/callsite.h"
#include "libpreload/region.h"

namespace spillway {

class Stats {
 public:
  constexpr Stats() = default;

  // Opens what the report goes to and the unwinder; not before the process is ready to load libraries.
  void start();
  void report();

  void on_allocate(const Region& region);
  void on_resize(const Region& region, uint64_t committed);
  void on_release(const Region& region);
  // Counts the block towards the code that asked for it. Outside of the lock: unwinding may take the
  // loader's.
  void note_call_site(Region& region, uint64_t bytes);

  uint64_t managed_bytes() const { return managed_bytes_.load(std::memory_order_relaxed); }

  uint64_t peak_managed_bytes() const { return peak_managed_bytes_; }

  uint64_t recycled = 0;
  uint64_t rehomed_bytes = 0;  // snapshots after a fork that became spillable again

 private:
  os::Fd output();
  bool is_output(int fd) const;

  std::atomic<uint64_t> managed_bytes_ = 0;
  uint64_t peak_managed_bytes_ = 0;
  uint64_t allocations_ = 0;
  uint64_t releases_ = 0;
  bool enabled_ = false;
  int output_ = -1;
  os::FileIdentity output_file_;
  CallSites sites_;
};

// The one of the process.
extern constinit Stats stats;

}  // namespace spillway

// fault_samples.h - which addresses the threads of this process had to wait for, from the kernel's software
// event "major fault": address and thread of each, without privilege where perf_event_paranoid is 2 or less.
// (Debian's own kernels default to 3; containers often forbid the call.) Source: perf_event_open(2). Threads:
// one reader.
#pragma once
#include <cstdint>

#include "base/core/result.h"

namespace spillway::os {

struct FaultSample {
  char* address;
  uint32_t thread;
};

class FaultSamples {
 public:
  FaultSamples() = default;
  FaultSamples(const FaultSamples&) = delete;
  FaultSamples& operator=(const FaultSamples&) = delete;
  ~FaultSamples() { close(); }

  // Watches all threads there are, and those they start. EACCES, EPERM: not permitted; ENOSYS; EMFILE; E2BIG:
  // more threads times CPUs than is worth it (kMaxRings).
  Errno open();
  void close();
  bool is_open() const { return ring_count_ != 0; }

  // Waits until there are samples or the time is over; -1 waits for ever. Without rings it just waits.
  void wait(int timeout_ms);
  // Takes up to `count` samples; 0: no more. Samples are lost, not waited for, when nobody reads.
  int read(FaultSample* samples, int count);

 private:
  static constexpr int kMaxRings = 128;
  struct Ring {
    int fd = -1;
    void* pages = nullptr;
    bool ended = false;  // its thread, and all that this one started: poll(2) would return at once for ever
  };
  Errno open_ring(int thread, int cpu);
  static void close_ring(Ring& ring);

  Ring rings_[kMaxRings];
  int ring_count_ = 0;
  int next_ring_ = 0;
};

}  // namespace spillway::os

// short_wait.h - waiting for another process for a moment without sleeping.
//
// Putting a processor to sleep and waking it takes as long as most answers do, 25 us each way in a virtual
// machine. So who expects an answer soon looks for it again and again, and leaves the processor to whoever
// wants it meanwhile. Who looked in vain does without for a while, twice as long every time: a machine that
// is busy loses little by it.
#pragma once
#include <sched.h>

#include <algorithm>
#include <cstdint>

#include "base/os/clock.h"

namespace spillway::os {

class ShortWait {
 public:
  static constexpr uint64_t kUs = 50;

  // Whether `look` returned true. At once false when it is not worth it.
  template <class Look>
  bool until(Look look) {
    if (skip_ > 0) {
      --skip_;
      return false;
    }
    const uint64_t begun = monotonic_us();
    do {
      if (look()) {
        penalty_ = 1;
        return true;
      }
      sched_yield();
    } while (monotonic_us() - begun < kUs);
    skip_ = penalty_;
    penalty_ = std::min(2 * penalty_, kMostSkipped);
    return false;
  }

 private:
  static constexpr int kMostSkipped = 64;
  int skip_ = 0, penalty_ = 1;
};

}  // namespace spillway::os

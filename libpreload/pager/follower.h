// follower.h - while one thread of the program has all the faults, and they are answered from memory, the
// thread that answers them runs on the same processor: nothing goes on beside the other, and a processor that
// must be woken first costs more than the answer (measured: 19 us of a processor's time instead of 36, and a
// quarter of the time on a machine with other work).
//
// Threads: the one that answers faults, which must have descriptors of its own.
#pragma once
#include <algorithm>
#include <cstdint>

#include "base/os/thread.h"

namespace spillway {

class Follower {
 public:
  constexpr Follower() = default;

  void start() {
    processors_.remember();
    score_ = rounds_ = 0;
    at_ = -1;
  }
  bool follows() const { return at_ >= 0; }

  // Faults were answered: all of them of this thread, and from memory. 0: not so.
  void note(uint32_t thread) {
    score_ = thread != 0 && thread == thread_ ? std::min(score_ + 1, kMost) : std::max(score_ - kLess, 0);
    if (thread != 0 && score_ == 0) thread_ = thread;
    if (score_ == 0 && follows()) {
      processors_.run_there();
      at_ = -1;
    }
    // Now and then it moves.
    if (score_ >= kEnough && (!follows() || ++rounds_ % kLookAgain == 0)) follow();
  }

 private:
  static constexpr int kEnough = 48, kMost = 64, kLess = 4;
  static constexpr unsigned kLookAgain = 256;

  void follow() {
    const int processor = os::processor_of(thread_);
    if (processor == at_) return;
    if (processor >= 0 && os::run_on(processor))
      at_ = processor;
    else
      score_ = 0;
  }

  os::Processors processors_;
  uint32_t thread_ = 0;
  int score_ = 0;
  unsigned rounds_ = 0;
  int at_ = -1;  // the processor
};

}  // namespace spillway

// access_votes.h - what has been seen of a block's accesses, for and against reading ahead, until a clear
// majority decides which advice it needs. MADV_RANDOM that was taken back needs more votes the next time, up
// to 8 times as many: changing advice to and fro costs more than either.
#pragma once
#include <algorithm>

#include "base/os/memory.h"

namespace spillway {

class AccessVotes {
 public:
  static constexpr int kUndecided = -1;

  void add(bool is_dense) { ++(is_dense ? dense_ : scattered_); }

  // The advice (os::Advice) that so many votes decide on, or kUndecided. `advice` is in force.
  int decide(int advice, int votes) {
    const bool is_random = advice == os::kAdviceRandom;
    if (!is_random) votes <<= wrong_;
    if (dense_ + scattered_ < votes) return kUndecided;
    const int decision = scattered_ >= votes * 3 / 4 ? os::kAdviceRandom
                         : dense_ >= votes * 3 / 4   ? os::kAdviceNormal
                                                     : kUndecided;
    dense_ = scattered_ = 0;
    if (advice == os::kAdviceSequential && decision == os::kAdviceNormal)
      return kUndecided;  // it is no better
    if (is_random && decision == os::kAdviceNormal) wrong_ = std::min(wrong_ + 1, kMostWrong);
    if (is_random && decision == os::kAdviceRandom) wrong_ = std::max(wrong_ - 1, 0);
    return decision;
  }

 private:
  static constexpr int kMostWrong = 3;
  int dense_ = 0, scattered_ = 0;
  int wrong_ = 0;  // times that MADV_RANDOM was taken back; less when it proved right
};

}  // namespace spillway

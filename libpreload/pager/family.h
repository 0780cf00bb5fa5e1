// family.h - what the processes of a family, a parent and its forked children, tell each other of the memory
// they are about to take, so that not all of them take the same. The page they share is inherited by forks.
// Threads: the pager's, under its lock, and the one that forks.
#pragma once
#include <atomic>
#include <cstdint>

namespace spillway {

class Family {
 public:
  constexpr Family() = default;

  // Once per process that is no child of the family. Without memory for it everybody is alone.
  void found();
  // Before a fork: the child will take so much, whatever is left.
  void expect_child(uint64_t claim_bytes);
  // In that child.
  void be_child();

  // Of what this process claims it lacks so much now. To be told often: who is silent for a second has
  // ended, or runs another program.
  void tell(uint64_t claim_bytes);
  struct Others {
    uint64_t claimed_bytes = 0;
    int count = 0;
  };
  Others others() const;

 private:
  static constexpr int kMostMembers = 256;
  static constexpr uint64_t kSilenceMs = 1000;
  struct Member {
    std::atomic<uint64_t> told_ms;
    std::atomic<uint64_t> claim_bytes;
  };

  Member* join(uint64_t claim_bytes);

  Member* members_ = nullptr;
  Member* me_ = nullptr;
  Member* child_ = nullptr;
};

}  // namespace spillway

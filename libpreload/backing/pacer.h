// pacer.h - the threads of the file backing: one watches how blocks in files are used and gives advice
// (access_advisor), one holds the limit with another that writes behind (residency), one makes snapshots
// after a fork spillable again (rehome); the last two only where there is a limit, a fork.
//
// There are none until large blocks are a matter for the memory at all (a quarter of it, or half of the
// limit): a program that fits stays single-threaded. They block all signals, and have descriptors of their
// own where that is possible. A forked child starts its own when it needs them.
#pragma once
#include <atomic>
#include <cstdint>

namespace spillway {

class Pacer {
 public:
  constexpr Pacer() = default;

  // Large blocks have grown to so many bytes: starts the thread when that is enough. Not under the heap's
  // lock.
  void on_managed_bytes(uint64_t bytes) {
    if (bytes >= start_at_bytes_.load(std::memory_order_relaxed)) start();
  }
  // After the settings are read.
  void configure();

  void before_fork() { forks_.fetch_add(1); }
  void after_fork_in_parent();
  void after_fork_in_child();
  // In a child: the thread stayed with the parent, the next growth starts another.
  void forget_thread();

 private:
  enum class State : int { kNone, kStarting, kRunning };
  void start();
  void after_fork();
  static void* run(void* self);
  static void* rehome(void*);
  void loop();

  std::atomic<uint64_t> start_at_bytes_ = UINT64_MAX;
  std::atomic<State> state_ = State::kNone;
  std::atomic<unsigned> forks_ = 0;       // of this process and its ancestors
  std::atomic<bool> limit_held_ = false;  // by residency's thread
  std::atomic<bool> rehoming_ = false;    // by a thread of its own
  std::atomic<bool> forked_ = false;      // snapshots may have come into being
};

// The one of the process.
extern constinit Pacer pacer;

}  // namespace spillway

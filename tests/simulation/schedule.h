// schedule.h - threads of which one runs at a time, in an order that a seed decides, and a clock that goes on
// when somebody looks at it or all of them wait. A run can be repeated by its seed; nobody waits for time;
// and when nothing can happen any more, that is said instead of hanging. They are contexts of one thread of
// this program: changing from one to the other takes no time, whatever else the machine does.
//
// Who runs gives the turn away where it would enter the kernel. With the pager's lock held only threads of
// the program may go on meanwhile, which never take it.
#pragma once
#include <ucontext.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <vector>

namespace spillway::simulation {

class Schedule {
 public:
  enum class Kind { kProgram, kPager };
  static constexpr uint64_t kNever = UINT64_MAX;

  // Who calls is the first of the program's threads.
  explicit Schedule(uint64_t seed);
  ~Schedule() { end(); }
  Schedule(const Schedule&) = delete;
  Schedule& operator=(const Schedule&) = delete;

  // The others end where they are. Of the first thread alone.
  void end();
  void start(Kind kind, std::function<void()> body);
  // Waits until all that were started as threads of the program are through.
  void join_program();

  // Somebody else may go on. `locked`: the caller holds the pager's lock.
  void pause(bool locked);
  // True: it is so; false: the time is over.
  bool wait_until(std::function<bool()> is_so, uint64_t deadline_us = kNever);

  uint64_t now_us() const { return now_us_; }
  // Who looks at the clock over and over waits for it, too.
  uint64_t look_at_clock() { return ++now_us_; }
  uint64_t random(uint64_t below) { return random_() % below; }
  bool one_in(uint64_t n) { return n != 0 && random(n) == 0; }
  // Small, and different for each thread.
  uint32_t thread() const { return current_; }
  // Changes with everything that ever happened: the same for the same seed.
  uint64_t history() const { return history_; }
  void remember(uint64_t event) { history_ = (history_ ^ event) * 0x9E3779B97F4A7C15u + (history_ >> 29); }

 private:
  struct Thread {
    Kind kind = Kind::kProgram;
    std::function<void()> body;
    std::function<bool()> is_so;  // none: it may go on
    uint64_t deadline_us = kNever;
    bool over = false;
    ucontext_t context{};
    std::vector<char> stack;
    void* shadow = nullptr;  // of the address sanitizer
  };
  struct WorldEnds {};

  static void run();
  bool may_go_on(const Thread& thread) const;
  uint32_t choose();
  void give_turn();
  void switch_to(uint32_t next);

  std::mt19937_64 random_;
  const uint64_t seed_;
  uint64_t now_us_ = 1'000'000;
  uint64_t history_;
  std::vector<std::unique_ptr<Thread>> threads_;
  uint32_t current_ = 0, previous_ = 0;
  Thread* lock_holder_ = nullptr;  // of the pager's lock, and without the turn
  bool ending_ = false;
};

}  // namespace spillway::simulation

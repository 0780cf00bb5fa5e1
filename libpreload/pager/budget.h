// budget.h - how much memory large blocks may have: of --limit everything, and no more than the machine and
// the control group leave beside what everything else takes; where the pool's daemon runs, no more than this
// process's share of what all programs under Spillway may have. Everything else is looked at every few
// milliseconds; small blocks, the part of it that grows fastest, are counted as they take pages. Threads:
// before the pager has started, anybody's, under the heap's lock; then the pager's, under its own.
#pragma once
#include <algorithm>

#include "base/os/memory_room.h"
#include "base/os/shared_budget.h"
#include "libpreload/pager/family.h"

namespace spillway {

class Budget {
 public:
  constexpr Budget() = default;

  // `weight`, `minimum_bytes`: of the budget that programs share where a daemon keeps one.
  void configure(uint64_t limit_bytes, uint32_t weight, uint64_t minimum_bytes);
  // Later: no more than the most there was when the pager started.
  void set_limit(uint64_t limit_bytes, uint64_t most_bytes);
  // Large blocks of so many bytes, and small ones, are about to fill the memory there is: it is time to
  // start.
  bool is_reached(uint64_t large_bytes, uint64_t small_bytes);

  // In the thread that answers faults, with its own descriptors.
  void open() { room_.open(); }
  // In a forked child.
  void forget();
  // `resident_bytes`: of large blocks, exact, and this process's alone. `wanted_bytes`: of all that there
  // are.
  void look(uint64_t resident_bytes, uint64_t wanted_bytes, Family::Others others);
  bool is_time_to_look(bool urgent) const;
  // Others of the family take from the same little memory: who is about to take some looks again.
  bool is_stale() const { return is_shared_ && is_tight() && is_time_to_look(true); }
  // Everything else takes more.
  void admit(uint64_t bytes) { usable_bytes_ -= static_cast<int64_t>(bytes); }
  // That is about to happen, or has not happened after all.
  void set_aside(uint64_t bytes) { aside_bytes_ = static_cast<int64_t>(bytes); }

  // What large blocks may have now.
  uint64_t bytes() const {
    const auto usable = static_cast<uint64_t>(std::max<int64_t>(usable_bytes_ - aside_bytes_, 0));
    const uint64_t most = std::min(usable, share_bytes_);
    return limit_bytes_ != 0 ? std::min(limit_bytes_, most) : most;
  }
  // While they have `resident_bytes`, everything else may take more.
  bool leaves_room(uint64_t resident_bytes) const {
    return static_cast<int64_t>(resident_bytes) <=
           usable_bytes_ + memory_bytes_ / os::MemoryRoom::kReserveShare / 2;
  }
  // The most they can ever have.
  uint64_t most_bytes() const;
  // It is the memory that is short, not the limit.
  bool is_tight() const { return usable_bytes_ < static_cast<int64_t>(most_bytes()) + memory_bytes_ / 8; }
  int look_again_ms() const { return is_tight() ? kLookMs : kLookSeldomMs; }

 private:
  void look_at_share(uint64_t wanted_bytes);

  static constexpr uint64_t kJoinAgainMs = 2000;
  static constexpr int kLookMs = 10, kLookSeldomMs = 100;
  static constexpr int kMostParts = 4;

  uint64_t limit_bytes_ = 0;  // 0: none was set
  uint32_t weight_ = 1;
  uint64_t minimum_bytes_ = 0;
  int64_t memory_bytes_ = 0;
  uint64_t engage_at_bytes_ = 0;  // 0: not known
  uint64_t engage_known_ms_ = 0;
  os::MemoryRoom room_;
  int64_t usable_bytes_ = 0;
  int64_t aside_bytes_ = 0;
  uint64_t looked_ms_ = 0;
  bool is_shared_ = false;
  os::SharedBudget shared_;
  uint64_t share_bytes_ = UINT64_MAX;  // no daemon, nothing to share
  uint64_t tried_to_join_ms_ = 0;
};

}  // namespace spillway

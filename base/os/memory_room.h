// memory_room.h - how much memory this process may still take before the kernel kills somebody: what the
// machine has available, and what the control groups with a limit (v1 or v2; all levels) leave. Pages of
// files count as available: the kernel drops them.
#pragma once
#include <cstdint>

#include "base/core/units.h"
#include "base/os/file.h"

namespace spillway::os {

class MemoryRoom {
 public:
  constexpr MemoryRoom() = default;

  // Finds the groups. Needs no heap, nor do the others.
  void open();
  // In a forked child the numbers mean something else.
  void forget();

  // Of each limit a sixteenth is left alone: page tables, and what comes faster than anybody can look. Of a
  // small one up to an eighth: what is mapped of the program's files, and pages that are being written, are
  // counted as available, and are not at that moment. A sort under 52 MiB was killed with 4.6 MiB of them.
  static constexpr int64_t kReserveShare = 16;
  static constexpr uint64_t kLargestReserveShare = 8, kReserveBytes = 6 * kMiB;
  // Of the tightest, in bytes, without its reserve; below zero: that is in use, too. INT64_MAX: the kernel
  // does not tell.
  int64_t left() const;

 private:
  static constexpr int kMostGroups = 6;
  struct Group {
    Fd limit, high, usage, statistics;
    bool is_v2 = false;
  };
  void add_group(const char* directory, bool is_v2);
  static int64_t left_in(const Group& group);

  Fd meminfo_;
  Group groups_[kMostGroups];
  int group_count_ = 0;
};

}  // namespace spillway::os

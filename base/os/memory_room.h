// memory_room.h - how much memory this process may still take before the kernel kills somebody: what the
// machine has available, and what the control groups with a limit (v1 or v2; all levels) leave. Pages of
// files count as available: the kernel drops them.
#pragma once
#include <cstdint>

#include "base/os/file.h"

namespace spillway::os {

class MemoryRoom {
 public:
  constexpr MemoryRoom() = default;

  // Finds the groups. Needs no heap, nor do the others.
  void open();
  void close() { *this = MemoryRoom(); }
  bool is_open() const { return meminfo_.valid(); }

  struct Left {
    uint64_t bytes = UINT64_MAX;  // UINT64_MAX: the kernel does not tell
    uint64_t of_bytes = 0;        // the limit that this is the rest of
  };
  // Of each limit a sixteenth is left alone: page tables, and what comes faster than anybody can look.
  static constexpr uint64_t kReserveShare = 16;
  // The tightest, without its reserve.
  Left left() const;

 private:
  static constexpr int kMostGroups = 6;
  struct Group {
    Fd limit, high, usage, statistics;
    bool is_v2 = false;
  };
  void add_group(const char* directory, bool is_v2);
  static Left left_in(const Group& group);

  Fd meminfo_;
  Group groups_[kMostGroups];
  int group_count_ = 0;
};

}  // namespace spillway::os

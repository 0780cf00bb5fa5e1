// own_memory.h - how much memory the daemon itself takes, for a limit on daemon and objects together.
//
// Why not just what /proc says now: buffers come and go within milliseconds, and room that was granted
// because none was there at that moment cannot be taken back in time. So it is the most that was seen lately,
// and never less than all I/O threads may take at once. Threads: one.
#pragma once
#include <algorithm>
#include <cstdint>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "base/os/process.h"

namespace spillway::pool {

class OwnMemory {
 public:
  // Of a thread: four pieces of 2 MiB read ahead.
  static constexpr uint64_t kEachThreadBytes = 8 * kMiB;
  // The program itself, messages on their way, and what it may grow by between two looks.
  static constexpr uint64_t kBaseBytes = 12 * kMiB;

  uint64_t bytes(unsigned threads) {
    const uint64_t now = os::monotonic_ms();
    if (now - looked_ms_ >= kBetweenMs) look(now);
    return std::max(std::max(peak_, peak_before_) + kGrowthBytes, kBaseBytes + threads * kEachThreadBytes);
  }

 private:
  static constexpr uint64_t kBetweenMs = 5, kPeakMs = 10'000, kGrowthBytes = 4 * kMiB;

  void look(uint64_t now) {
    looked_ms_ = now;
    if (now - peak_since_ms_ >= kPeakMs) peak_before_ = peak_, peak_ = 0, peak_since_ms_ = now;
    const os::Resident resident = os::resident_bytes();
    peak_ = std::max(peak_, resident.all_bytes - resident.shared_bytes);
  }

  uint64_t looked_ms_ = 0, peak_since_ms_ = 0, peak_ = 0, peak_before_ = 0;
};

}  // namespace spillway::pool

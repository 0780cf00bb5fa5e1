// clock.h - time.
#pragma once
#include <time.h>

#include <cstdint>

namespace spillway::os {

// These only go forward.
inline uint64_t monotonic_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

inline uint64_t monotonic_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

// Since 1970; may jump.
inline uint64_t wall_clock_us() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

inline void sleep_us(int us) {
  const timespec time{us / 1'000'000, us % 1'000'000 * 1'000L};
  nanosleep(&time, nullptr);
}

// True once per so many milliseconds, for loops that wake more often.
class Interval {
 public:
  explicit Interval(uint64_t ms) : ms_(ms) {}
  bool is_over() {
    const uint64_t now = monotonic_ms();
    if (now - last_ < ms_) return false;
    last_ = now;
    return true;
  }

 private:
  uint64_t ms_;
  uint64_t last_ = 0;
};

}  // namespace spillway::os

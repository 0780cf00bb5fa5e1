#include "libpreload/pager/budget.h"

#include <algorithm>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "base/os/limits.h"

namespace spillway {
namespace {

// While the memory is full, and while it is not.
constexpr int kLookMs = 10, kLookSeldomMs = 100;
// A program that allocates all the time need not ask the kernel all the time.
constexpr uint64_t kEngageKnownMs = 50;

}  // namespace

void Budget::configure(uint64_t limit_bytes) {
  limit_bytes_ = limit_bytes;
  memory_bytes_ = os::memory_limit_bytes();
  engage_at_bytes_ = 0;
}

uint64_t Budget::most_bytes() const {
  return limit_bytes_ != 0 ? std::min(limit_bytes_, memory_bytes_) : memory_bytes_;
}

bool Budget::is_reached(uint64_t large_bytes, uint64_t small_bytes) {
  if (limit_bytes_ != 0 && large_bytes >= limit_bytes_ / 10 * 8) return true;
  // Others may have taken most of it, but hardly so much.
  const uint64_t bytes = large_bytes + small_bytes;
  if (bytes < memory_bytes_ / 16) return false;
  const uint64_t now = os::monotonic_ms();
  if (engage_at_bytes_ == 0 || now - engage_known_ms_ >= kEngageKnownMs) {
    engage_known_ms_ = now;
    os::MemoryRoom room;
    room.open();
    const os::MemoryRoom::Left left = room.left();
    const uint64_t ours = os::MemoryMeter().read().anonymous_bytes;
    const uint64_t all =
        left.bytes == UINT64_MAX ? memory_bytes_ : std::min(left.bytes + ours, memory_bytes_);
    // Of this process, what is in neither kind of block.
    const uint64_t other = ours - std::min(ours, bytes);
    engage_at_bytes_ = std::max<uint64_t>((all - std::min(all, other)) / 10 * 8, 1);
  }
  return bytes >= engage_at_bytes_;
}

void Budget::open() {
  room_.open();
  looked_ms_ = 0;
}

int Budget::look_again_ms() const {
  return usable_bytes_ < most_bytes() + memory_bytes_ / 8 ? kLookMs : kLookSeldomMs;
}

bool Budget::look(uint64_t resident_bytes) {
  const uint64_t now = os::monotonic_ms();
  if (looked_ms_ != 0 && now - looked_ms_ < static_cast<uint64_t>(look_again_ms())) return false;
  looked_ms_ = now;
  const os::MemoryRoom::Left left = room_.left();
  usable_bytes_ = left.bytes == UINT64_MAX ? memory_bytes_ : resident_bytes + left.bytes;
  taken_bytes_ = 0;
  return true;
}

uint64_t Budget::bytes() const {
  const uint64_t usable = usable_bytes_ - std::min(usable_bytes_, taken_bytes_);
  return limit_bytes_ != 0 ? std::min(limit_bytes_, usable) : usable;
}

}  // namespace spillway

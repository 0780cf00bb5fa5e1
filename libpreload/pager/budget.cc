#include "libpreload/pager/budget.h"

#include "base/core/units.h"
#include "base/os/clock.h"
#include "base/os/limits.h"
#include "base/os/procfs.h"

namespace spillway {
namespace {

// A program that allocates all the time need not ask the kernel all the time.
constexpr uint64_t kEngageKnownMs = 50;

}  // namespace

void Budget::configure(uint64_t limit_bytes, uint32_t weight, uint64_t minimum_bytes) {
  weight_ = weight;
  minimum_bytes_ = minimum_bytes;
  limit_bytes_ = limit_bytes;
  memory_bytes_ = static_cast<int64_t>(os::memory_limit_bytes());
  engage_at_bytes_ = 0;
}

void Budget::set_limit(uint64_t limit_bytes, uint64_t most_bytes) {
  limit_bytes_ = limit_bytes;
  if (most_bytes != 0 && this->most_bytes() > most_bytes) limit_bytes_ = most_bytes;
}

uint64_t Budget::most_bytes() const {
  const auto memory = static_cast<uint64_t>(memory_bytes_);
  return limit_bytes_ != 0 ? std::min(limit_bytes_, memory) : memory;
}

bool Budget::is_reached(uint64_t large_bytes, uint64_t small_bytes) {
  if (limit_bytes_ != 0 && large_bytes >= limit_bytes_ / 10 * 8) return true;
  // Others may have taken most of the memory, but hardly so much.
  const uint64_t bytes = large_bytes + small_bytes;
  if (bytes < static_cast<uint64_t>(memory_bytes_) / 16) return false;
  const uint64_t now = os::monotonic_ms();
  if (engage_at_bytes_ == 0 || now - engage_known_ms_ >= kEngageKnownMs) {
    engage_known_ms_ = now;
    os::MemoryRoom room;
    room.open();
    const auto ours = static_cast<int64_t>(os::MemoryMeter().read().anonymous_bytes);
    // Of this process, what is in neither kind of block.
    const int64_t other = std::max<int64_t>(ours - static_cast<int64_t>(bytes), 0);
    const int64_t left = std::min(room.left(), memory_bytes_);
    const int64_t all = std::min(left + ours, memory_bytes_) - other;
    engage_at_bytes_ = static_cast<uint64_t>(std::max<int64_t>(all / 10 * 8, 1));
  }
  return bytes >= engage_at_bytes_;
}

bool Budget::is_time_to_look(bool urgent) const {
  return os::monotonic_ms() - looked_ms_ >= static_cast<uint64_t>(urgent ? 1 : look_again_ms());
}

void Budget::forget() {
  room_.forget();
  shared_.forget();
  share_bytes_ = UINT64_MAX;
  tried_to_join_ms_ = 0;
}

void Budget::look_at_share(uint64_t wanted_bytes) {
  if (!shared_.joined() && (tried_to_join_ms_ == 0 || looked_ms_ - tried_to_join_ms_ >= kJoinAgainMs)) {
    tried_to_join_ms_ = looked_ms_;
    char path[4096];
    if (os::default_budget_path(path, sizeof path)) (void)shared_.join(path, weight_, minimum_bytes_);
  }
  if (!shared_.joined()) return;
  share_bytes_ = shared_.share(wanted_bytes);
  if (share_bytes_ == UINT64_MAX) shared_.leave();
}

void Budget::look(uint64_t resident_bytes, uint64_t wanted_bytes, Family::Others others) {
  looked_ms_ = os::monotonic_ms();
  is_shared_ = others.count > 0;
  look_at_share(wanted_bytes);
  int64_t left = room_.left();
  if (left != INT64_MAX) {
    left -= std::min(static_cast<int64_t>(others.claimed_bytes), memory_bytes_ / 4);
    // Of the rest each takes a part, and then a part of what the others left: all of it in the end, but never
    // all at once.
    if (left > 0) left /= std::min(1 + others.count, kMostParts);
  }
  usable_bytes_ = left == INT64_MAX ? memory_bytes_ : static_cast<int64_t>(resident_bytes) + left;
}

}  // namespace spillway

#include "libpreload/small_window.h"

#include "base/os/limits.h"
#include "base/os/memory.h"

namespace spillway {

constinit SmallWindow small_window;

void SmallWindow::open() {
  opened_ = true;
  if (os::address_space_limit() != UINT64_MAX) return;  // then address space is the program's own
  Result<PageRange> window = os::reserve(kBytes, kExtentBytes);
  if (!window) return;
  next_.store(window->base, std::memory_order_relaxed);
  base_ = reinterpret_cast<uint64_t>(window->base);
}

void* SmallWindow::map(size_t bytes, size_t alignment) {
  if (!opened_) open();  // under jemalloc's own lock: this is its first mapping
  const uint64_t base = base_;
  if (base == kNone) return nullptr;
  char* next = next_.load(std::memory_order_relaxed);
  char* at;
  do {
    at = reinterpret_cast<char*>(round_up(reinterpret_cast<uint64_t>(next), alignment));
    if (!holds(at) || bytes > base + kBytes - reinterpret_cast<uint64_t>(at)) return nullptr;
  } while (!next_.compare_exchange_weak(next, at + bytes, std::memory_order_relaxed));
  const auto grown = [&](const char* end) { return (reinterpret_cast<uint64_t>(end) - base) / kGoodDeal; };
  if (grown(at + bytes) != grown(next)) has_grown_ = true;
  // Not mapped anew: the pager watches the whole window.
  return os::make_accessible({at, bytes}).ok() ? at : nullptr;
}

}  // namespace spillway

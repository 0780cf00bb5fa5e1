#include "libpreload/small_window.h"

#include <algorithm>

#include "base/os/limits.h"
#include "base/os/memory.h"

namespace spillway {

constinit SmallWindow small_window;

void SmallWindow::open() {
  opened_ = true;
  if (os::address_space_limit() != UINT64_MAX) return;  // then address space is the program's own
  Result<PageRange> window = os::reserve(kBytes, kBytes);
  if (!window) return;
  memory_.all = window->sub(0, kBytes / 2);
  spillable_.all = window->sub(kBytes / 2, kBytes / 2);
  for (Half* half : {&memory_, &spillable_}) half->next.store(half->all.base, std::memory_order_relaxed);
  number_ = reinterpret_cast<uint64_t>(window->base) >> kBits;
}

void SmallWindow::start_spilling(uint64_t most_bytes) {
  spillable_.all.bytes = std::min(spillable_.all.bytes, most_bytes);
  spills_.store(true, std::memory_order_release);
}

void* SmallWindow::map_in(Half& half, size_t bytes, size_t alignment) {
  if (!opened_) open();  // under jemalloc's own lock: this is its first mapping
  if (!is_open()) return nullptr;
  char* next = half.next.load(std::memory_order_relaxed);
  char* at;
  do {
    at = reinterpret_cast<char*>(round_up(reinterpret_cast<uint64_t>(next), alignment));
    if (!half.all.contains(at) || bytes > half.all.bytes - half.all.offset_of(at)) return nullptr;
  } while (!half.next.compare_exchange_weak(next, at + bytes, std::memory_order_relaxed));
  const auto grown = [&](const char* end) { return half.all.offset_of(end) / kGoodDeal; };
  if (grown(at + bytes) != grown(next)) has_grown_ = true;
  // Not mapped anew: the pager watches the whole window.
  return os::make_accessible({at, bytes}).ok() ? at : nullptr;
}

}  // namespace spillway

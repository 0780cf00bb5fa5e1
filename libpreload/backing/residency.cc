#include "libpreload/backing/residency.h"

#include <algorithm>

#include "base/os/clock.h"
#include "base/os/stop_threads.h"
#include "base/os/thread.h"
#include "libpreload/large.h"
#include "libpreload/settings.h"

namespace spillway {

bool Residency::start_thread() { return os::start_thread(run, nullptr, os::Urgency::kAtOnce); }

void* Residency::run(void*) {
  os::leave_this_thread_running();
  Residency residency;
  os::PageTable pages;
  (void)pages.open();
  for (;;) os::sleep_us(residency.hold(pages, settings.limit_bytes));
}

int Residency::hold(const os::PageTable& pages, uint64_t limit_bytes) {
  // Act from half of the limit on: a program that finds its pages in the page cache maps 30 MB and more in a
  // millisecond, and the next look may be late on a busy machine.
  const uint64_t high = limit_bytes / 2, low = limit_bytes / 8 * 3;
  if (ours() > high) {
    if (!sweep(low)) {
      // A whole round, and still too much: some is not ours.
      const uint64_t all = meter_.read().file_bytes;
      others_bytes_ = all - std::min(all, count_ours(pages));
    }
    return 200;
  }
  return ours() > limit_bytes / 4 ? 200 : 1000;
}

uint64_t Residency::ours() const {
  const uint64_t all = meter_.read().file_bytes;
  return all - std::min(all, others_bytes_);
}

uint64_t Residency::count_ours(const os::PageTable& pages) {
  uint64_t present = 0;
  for (PageRange e = large_heap.next_own_extent(nullptr); !e.empty(); e = large_heap.next_own_extent(e.end()))
    present += pages.count(e).present * kPageBytes;
  return present;
}

bool Residency::sweep(uint64_t low_bytes) {
  constexpr int kExtentsPerLook = 4;
  char* const start = hand_;
  bool wrapped = false;
  for (int n = 1; ours() > low_bytes; ++n) {
    for (int i = 0; i < kExtentsPerLook; ++i) {
      const PageRange extent = large_heap.next_own_extent(hand_);
      if (extent.empty() || (wrapped && extent.base >= start)) {
        if (wrapped) return false;
        wrapped = true;
        hand_ = nullptr;
        continue;
      }
      hand_ = extent.end();
      if (large_heap.let_go(extent)) write_behind_.push(extent);
    }
  }
  return true;
}

}  // namespace spillway

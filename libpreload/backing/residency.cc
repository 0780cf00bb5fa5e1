#include "libpreload/backing/residency.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/os/clock.h"
#include "base/os/file.h"
#include "base/os/stop_threads.h"
#include "base/os/thread.h"
#include "libpreload/large.h"
#include "libpreload/settings.h"

namespace spillway {

namespace {
// It may be taken away while it is held.
uint64_t limit_or_none() {
  const uint64_t limit = settings.limit_bytes;
  return limit != 0 ? limit : UINT64_MAX;
}
}  // namespace

bool Residency::start_threads() {
  alignas(WriteBehind) static char storage[sizeof(WriteBehind)];
  static int made_in_process = 0;
  auto* write_behind = reinterpret_cast<WriteBehind*>(storage);
  // In a child of a fork the parent's is there, in whatever state.
  if (std::exchange(made_in_process, os::process_id()) != os::process_id()) new (storage) WriteBehind;
  // Both before the program touches its block: to create a thread takes 100 ms while others fault.
  return write_behind->start(settings.limit_bytes / 4) &&
         os::start_thread(run, write_behind, os::Urgency::kAtOnce);
}

void* Residency::run(void* write_behind) {
  os::leave_this_thread_running();
  (void)os::use_own_descriptors();
  Residency residency(*static_cast<WriteBehind*>(write_behind));
  os::PageTable pages;
  (void)pages.open();
  for (;;) os::sleep_us(residency.hold(pages, limit_or_none()));
}

int Residency::hold(const os::PageTable& pages, uint64_t limit_bytes) {
  // Act from half of the limit on: a program that finds its pages in the page cache maps 30 MB and more in a
  // millisecond, and the next look may be late on a busy machine.
  const uint64_t high = limit_bytes / 2, low = limit_bytes / 8 * 3;
  if (ours() > high) {
    (void)write_behind_.start(limit_bytes / 4);  // without it there is only the kernel's own writeback
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

// Neighbouring extents from the hand on: letting go of many at once costs little more than of one.
PageRange Residency::next_run(uint64_t most_bytes) {
  PageRange run = large_heap.next_own_extent(hand_);
  while (!run.empty() && run.bytes < most_bytes) {
    const PageRange next = large_heap.next_own_extent(run.end());
    if (next.base != run.end()) break;
    run.bytes += next.bytes;
  }
  return run;
}

bool Residency::sweep(uint64_t low_bytes) {
  char* const start = hand_;
  bool wrapped = false;
  while (ours() > low_bytes) {
    const PageRange run = next_run(low_bytes / 4);
    if (run.empty() || (wrapped && run.base >= start)) {
      if (wrapped) return false;
      wrapped = true;
      hand_ = nullptr;
      continue;
    }
    hand_ = run.end();
    if (large_heap.let_go(run)) write_behind_.push(run);
  }
  return true;
}

}  // namespace spillway

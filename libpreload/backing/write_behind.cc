#include "libpreload/backing/write_behind.h"

#include <utility>

#include "base/os/clock.h"
#include "base/os/futex.h"
#include "base/os/stop_threads.h"
#include "base/os/thread.h"
#include "libpreload/large.h"

namespace spillway {

bool WriteBehind::start(uint64_t most_bytes) {
  if (running_) return true;
  most_bytes_ = most_bytes;
  running_ = os::start_thread(run, this);
  return running_;
}

void WriteBehind::push(PageRange run) {
  const uint32_t pushed = pushed_.load(std::memory_order_relaxed);
  if (pushed - popped_.load(std::memory_order_acquire) == kQueued) return;
  queue_[pushed % kQueued] = run;
  queued_bytes_ += run.bytes;
  pushed_.store(pushed + 1, std::memory_order_release);
  os::wake_all(pushed_);
}

// The device has many writes at once before the first is waited for.
void WriteBehind::write_batch(const LargeHeap::FileExtent* extents, unsigned count) {
  for (const bool wait : {false, true}) {
    for (unsigned i = 0; i < count; ++i) {
      if (extents[i].fd < 0 || !fetch_file(extents[i])) continue;
      if (wait)
        os::drop_from_cache(file_.get(), extents[i].offset, kExtentBytes);
      else
        os::start_writeback(file_.get(), extents[i].offset, kExtentBytes);
    }
  }
}

// file_ becomes the extent's file, which is nearly always that of the last one.
bool WriteBehind::fetch_file(const LargeHeap::FileExtent& extent) {
  if (file_.valid() && file_identity_ == extent.file) return true;
  Result<os::Fd> file = os::fetch_descriptor(extent.fd);
  if (!file) return false;
  // The program may have closed the descriptor and got the number for a file of its own.
  auto identity = os::identify(file->get());
  if (!identity || !(*identity == extent.file)) return false;
  file_ = std::move(*file);
  file_identity_ = *identity;
  return true;
}

// Writes the front of the queue. False: the heap's lock would have to be waited for, and `may_wait` is not
// set.
bool WriteBehind::write_some(bool may_wait) {
  LargeHeap::FileExtent extents[kBatch];
  unsigned count = 0;
  if (may_wait)
    large_heap.lock().lock();
  else if (!large_heap.lock().try_lock())
    return false;
  while (count < kBatch && !is_empty()) {
    PageRange& run = queue_[popped_ % kQueued];
    for (; count < kBatch && !run.empty(); run = {run.base + kExtentBytes, run.bytes - kExtentBytes})
      extents[count++] = large_heap.file_extent({run.base, kExtentBytes});
    if (run.empty()) popped_.fetch_add(1, std::memory_order_release);
  }
  large_heap.lock().unlock();
  write_batch(extents, count);
  queued_bytes_ -= count * kExtentBytes;
  return true;
}

// Writes while the program stands still. Threads that slept run on when they wake, and one may fork: it has
// the heap's lock then, and waits for what a thread that stands still holds.
void WriteBehind::drain() {
  large_heap.lock().lock();  // a thread that stands still must not hold it
  os::StopThreads stop(os::StopThreads::kRunning);
  large_heap.lock().unlock();
  const uint64_t start = os::monotonic_ms();
  constexpr uint64_t kMostMs = 500;  // a device that hangs must not stop the program for ever
  while (queued_bytes_ > most_bytes_ / 2 && os::monotonic_ms() - start < kMostMs)
    if (!write_some(/*may_wait=*/false)) break;
}

void* WriteBehind::run(void* self) {
  os::leave_this_thread_running();  // it blocks the signal, and nobody else could be stopped
  os::wake_soon();
  (void)os::use_own_descriptors();
  WriteBehind& queue = *static_cast<WriteBehind*>(self);
  for (;;) {
    if (queue.is_empty())
      queue.file_.reset();  // or its blocks would stay on the disk when nobody else has it
    while (queue.is_empty()) os::wait(queue.pushed_, queue.popped_);
    if (queue.queued_bytes_ > queue.most_bytes_) queue.drain();
    (void)queue.write_some(/*may_wait=*/true);
  }
}

}  // namespace spillway

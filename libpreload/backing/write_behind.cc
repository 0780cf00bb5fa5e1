#include "libpreload/backing/write_behind.h"

#include <algorithm>

#include "base/os/clock.h"
#include "base/os/futex.h"
#include "base/os/stop_threads.h"
#include "base/os/thread.h"
#include "libpreload/large.h"

namespace spillway {

bool WriteBehind::start(uint64_t most_bytes) {
  most_bytes_ = most_bytes;
  if (!running_) running_ = os::start_thread(run, this);
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

PageRange WriteBehind::pop() {
  const uint32_t popped = popped_.load(std::memory_order_relaxed);
  const PageRange run = queue_[popped % kQueued];
  popped_.store(popped + 1, std::memory_order_release);
  return run;
}

void WriteBehind::write(PageRange run) {
  while (!run.empty()) {
    const PageRange batch = run.sub(0, std::min(run.bytes, kBatchBytes));
    for (uint64_t at = 0; at < batch.bytes; at += kExtentBytes)
      large_heap.start_writeback(batch.sub(at, kExtentBytes));
    for (uint64_t at = 0; at < batch.bytes; at += kExtentBytes)
      large_heap.drop_from_cache(batch.sub(at, kExtentBytes));
    run = {batch.end(), run.bytes - batch.bytes};
    queued_bytes_ -= batch.bytes;
  }
}

// Writes while the program stands still.
void WriteBehind::drain() {
  large_heap.lock().lock();  // a thread that stands still must not hold it
  os::StopThreads stop(os::StopThreads::kRunning);
  large_heap.lock().unlock();
  const uint64_t start = os::monotonic_ms();
  constexpr uint64_t kMostMs = 500;  // a device that hangs must not stop the program for ever
  while (!is_empty() && queued_bytes_ > most_bytes_ / 2 && os::monotonic_ms() - start < kMostMs) write(pop());
}

void* WriteBehind::run(void* self) {
  os::leave_this_thread_running();  // it blocks the signal, and nobody else could be stopped
  os::wake_soon();
  WriteBehind& queue = *static_cast<WriteBehind*>(self);
  for (;;) {
    while (queue.is_empty()) os::wait(queue.pushed_, queue.popped_);
    if (queue.queued_bytes_ > queue.most_bytes_)
      queue.drain();
    else
      queue.write(queue.pop());
  }
}

}  // namespace spillway

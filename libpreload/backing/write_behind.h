// write_behind.h - takes extents that the process has let go of to disk and out of the page cache, so that a
// limit bounds memory and not only page tables. A thread of its own: a write waits when the device's queue is
// full, and whoever lets go of extents must not. Between the two is a ring without a lock, or the thread that
// holds the limit would wait for this one to be scheduled. Threads: push() from one thread at a time.
#pragma once
#include <atomic>

#include "base/core/page_range.h"
#include "base/os/file.h"
#include "libpreload/large.h"

namespace spillway {

class WriteBehind {
 public:
  // Starts the thread, if it does not run. A program that dirties pages faster than the device writes them is
  // stopped while more than `most_bytes` are queued, or the page cache would take what the process lets go of
  // and give it back at once. False: no room for a thread.
  bool start(uint64_t most_bytes);
  // Remembers a run of extents. When kQueued wait already, the kernel's own writeback has to do.
  void push(PageRange run);

 private:
  static constexpr uint32_t kQueued = 1024;
  static constexpr unsigned kBatch = 8;  // 16 MiB on their way at once: enough to keep a device busy
  static void* run(void* self);
  bool is_empty() const { return pushed_.load(std::memory_order_acquire) == popped_; }
  bool fetch_file(const LargeHeap::FileExtent& extent);
  void write_batch(const LargeHeap::FileExtent* extents, unsigned count);
  bool write_some(bool may_wait);
  void drain();

  PageRange queue_[kQueued];
  std::atomic<uint32_t> pushed_ = 0, popped_ = 0;  // count up for ever, modulo 2^32
  std::atomic<uint64_t> queued_bytes_ = 0;         // let go of, and not yet out of the page cache
  uint64_t most_bytes_ = UINT64_MAX;
  bool running_ = false;
  os::Fd file_;  // in the thread's own table
  os::FileIdentity file_identity_;
};

}  // namespace spillway

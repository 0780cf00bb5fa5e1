// write_behind.h - takes extents that the process has let go of to disk and out of the page cache, so that a
// limit bounds memory and not only page tables. A thread of its own: a write waits when the device's queue is
// full, and whoever lets go of extents must not. Threads: push() from one thread at a time, any.
#pragma once
#include <pthread.h>

#include "base/core/page_range.h"

namespace spillway {

class WriteBehind {
 public:
  // Remembers an extent. When 1,024 wait already, the kernel's own writeback has to do.
  void push(PageRange extent);

 private:
  static constexpr unsigned kQueued = 1024;
  static constexpr unsigned kBatch = 8;  // 16 MiB on their way: enough to keep a device busy
  static void* run(void* self);
  unsigned take(PageRange* batch);

  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t some_ = PTHREAD_COND_INITIALIZER;
  PageRange queue_[kQueued];
  unsigned first_ = 0, count_ = 0;
  bool running_ = false;
};

}  // namespace spillway

#include "libpreload/backing/write_behind.h"

#include <algorithm>

#include "base/os/stop_threads.h"
#include "base/os/thread.h"
#include "libpreload/large.h"

namespace spillway {

void WriteBehind::push(PageRange extent) {
  pthread_mutex_lock(&mutex_);
  if (!running_) running_ = os::start_thread(run, this);
  if (count_ < kQueued) queue_[(first_ + count_++) % kQueued] = extent;
  pthread_cond_signal(&some_);
  pthread_mutex_unlock(&mutex_);
}

unsigned WriteBehind::take(PageRange* batch) {
  pthread_mutex_lock(&mutex_);
  while (count_ == 0) pthread_cond_wait(&some_, &mutex_);
  const unsigned n = std::min(count_, kBatch);
  for (unsigned i = 0; i < n; ++i) batch[i] = queue_[(first_ + i) % kQueued];
  first_ = (first_ + n) % kQueued;
  count_ -= n;
  pthread_mutex_unlock(&mutex_);
  return n;
}

void* WriteBehind::run(void* self) {
  os::leave_this_thread_running();  // it blocks the signal, and nobody else could be stopped
  for (;;) {
    PageRange batch[kBatch];
    const unsigned n = static_cast<WriteBehind*>(self)->take(batch);
    for (unsigned i = 0; i < n; ++i) large_heap.start_writeback(batch[i]);
    for (unsigned i = 0; i < n; ++i) large_heap.drop_from_cache(batch[i]);
  }
}

}  // namespace spillway

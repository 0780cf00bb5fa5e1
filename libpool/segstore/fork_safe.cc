#include "libpool/segstore/fork_safe.h"

#include <pthread.h>

namespace spillway::segstore {

std::mutex& fork_safe_mutex() {
  // Never destroyed, like the stores of static objects.
  static std::mutex* const made = [] {
    static std::mutex* const forking = new std::mutex;
    (void)pthread_atfork([] { forking->lock(); }, [] { forking->unlock(); }, [] { forking->unlock(); });
    return forking;
  }();
  return *made;
}

}  // namespace spillway::segstore

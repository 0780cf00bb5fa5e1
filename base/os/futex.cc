#include "base/os/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstdio>

#include "base/os/keep_errno.h"
#include "base/os/procfs.h"

namespace spillway::os {

int shared_futex_waits(void** addresses, int most) {
  KeepErrno keep;
  const long self = syscall(SYS_gettid);
  int found = 0;
  ThreadList threads;
  while (const int thread = threads.next()) {
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", thread);
    if (thread == self || found == most || !read_text(path, text, sizeof text)) continue;
    // "number first-argument second-argument ...", or "running"
    long number = 0;
    unsigned long address = 0, operation = 0;
    if (sscanf(text, "%ld %lx %lx", &number, &address, &operation) != 3) continue;
    if (number == SYS_futex && (operation & FUTEX_PRIVATE_FLAG) == 0)
      addresses[found++] = reinterpret_cast<void*>(address);
  }
  return found;
}

void wake_all_shared(void* address) {
  KeepErrno keep;
  syscall(SYS_futex, address, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void wait(const std::atomic<uint32_t>& word, uint32_t value) {
  KeepErrno keep;
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake_one(const std::atomic<uint32_t>& word) {
  KeepErrno keep;
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void wake_all(const std::atomic<uint32_t>& word) {
  KeepErrno keep;
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
}

}  // namespace spillway::os

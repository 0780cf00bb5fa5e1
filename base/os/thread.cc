#include "base/os/thread.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/os/keep_errno.h"
#include "base/os/procfs.h"

namespace spillway::os {
namespace {

// As the kernel has it of the whole process.
constinit std::atomic<bool> asked_for_barrier{false};

// sched_setattr(2) has no wrapper in glibc 2.36, and the kernel's header clashes with <sched.h>.
struct SchedAttributes {
  uint32_t size = sizeof(SchedAttributes);
  uint32_t policy = SCHED_OTHER;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0, deadline_ns = 0, period_ns = 0;
};

}  // namespace

bool start_thread(void* (*body)(void*), void* argument, Urgency urgency) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t real_time;
  const sched_param priority{1};
  pthread_attr_init(&real_time);
  pthread_attr_setinheritsched(&real_time, PTHREAD_EXPLICIT_SCHED);
  pthread_attr_setschedpolicy(&real_time, SCHED_FIFO);
  pthread_attr_setschedparam(&real_time, &priority);
  pthread_t thread;
  bool started = urgency == Urgency::kAtOnce && pthread_create(&thread, &real_time, body, argument) == 0;
  if (!started) started = pthread_create(&thread, nullptr, body, argument) == 0;
  pthread_attr_destroy(&real_time);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (started) {
    pthread_setname_np(thread, "spillway");
    pthread_detach(thread);
  }
  return started;
}

void wake_soon() {
  KeepErrno keep;
  SchedAttributes attributes;
  attributes.runtime_ns = 100'000;  // the least the kernel accepts
  attributes.nice = -10;
  if (syscall(SYS_sched_setattr, 0, &attributes, 0) == 0) return;
  attributes.nice = getpriority(PRIO_PROCESS, 0);
  syscall(SYS_sched_setattr, 0, &attributes, 0);
}

bool run_at_once() {
  KeepErrno keep;
  const sched_param priority{1};
  return sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority) == 0;
}

bool is_only_thread() {
  KeepErrno keep;
  struct stat task;
  return stat("/proc/self/task", &task) == 0 && task.st_nlink == 3;  // itself, "." in it, and one thread
}

bool can_barrier_in_all_threads() {
  KeepErrno keep;
  const bool can = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  asked_for_barrier.store(true, std::memory_order_release);
  return can;
}
bool has_asked_for_barrier() { return asked_for_barrier.load(std::memory_order_acquire); }

bool barrier_in_all_threads() {
  KeepErrno keep;
  return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

int processor_of(uint32_t thread) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/self/task/%u/stat", thread);
  if (!read_text(path, text, sizeof text)) return -1;
  // Field 39; the second is a name in brackets, which may hold anything.
  const char* at = strrchr(text, ')');
  for (int field = 2; at != nullptr && field < 39; ++field) at = strchr(at + 1, ' ');
  return at != nullptr ? atoi(at) : -1;
}

bool run_on(int processor) {
  KeepErrno keep;
  alignas(8) char mask[1024] = {};
  if (processor < 0 || processor >= 8 * static_cast<int>(sizeof mask)) return false;
  auto* words = reinterpret_cast<unsigned long*>(mask);
  constexpr int kBits = 8 * sizeof(unsigned long);
  words[processor / kBits] = 1ul << (processor % kBits);
  return syscall(SYS_sched_setaffinity, 0, sizeof mask, mask) == 0;
}

void Processors::remember() {
  KeepErrno keep;
  bytes_ = static_cast<int>(syscall(SYS_sched_getaffinity, 0, sizeof mask_, mask_));
}

void Processors::run_there() const {
  KeepErrno keep;
  if (bytes_ > 0) syscall(SYS_sched_setaffinity, 0, bytes_, mask_);
}

}  // namespace spillway::os

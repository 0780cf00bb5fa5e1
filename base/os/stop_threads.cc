#include "base/os/stop_threads.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/core/check.h"
#include "base/os/clock.h"
#include "base/os/keep_errno.h"
#include "base/os/procfs.h"

namespace spillway::os {
namespace {

std::atomic<int> stopping = 0;  // the number of the stop that is going on, which its signals carry; 0: none
std::atomic<int> standing = 0;  // threads that wait
std::atomic<int> stopper = 0;   // the process in which somebody does: in a child of a fork it is stale

// Process and thread: in a child of a fork the number may be anybody's.
std::atomic<uint64_t> left_running[12] = {};
uint64_t in_this_process(int thread) {
  return static_cast<uint64_t>(getpid()) << 32 | static_cast<uint32_t>(thread);
}
bool is_left_running(int thread) {
  for (const auto& one : left_running)
    if (one == in_this_process(thread)) return true;
  return false;
}

void stand_still(int, siginfo_t* info, void*) {
  KeepErrno keep;
  const int mine = info->si_value.sival_int;
  // A signal of an earlier stop may come late: whoever sent it no longer counts on this thread, and whoever
  // stops threads now may count on its going on.
  if (info->si_code != SI_QUEUE || stopping.load() != mine) return;
  standing.fetch_add(1);
  while (stopping.load() == mine)
    syscall(SYS_futex, &stopping, FUTEX_WAIT_PRIVATE, mine, nullptr, nullptr, 0);
  standing.fetch_sub(1);
}

bool send(int signal, int thread) {
  siginfo_t info{};
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_int = stopping.load();
  return syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, signal, &info) == 0;
}

// A real-time signal that the program does not use, with our handler; 0: there is none. The handler stays: a
// thread may yet get a signal that was sent when it was blocked.
int stop_signal() {
  static int chosen = 0;
  for (int s = SIGRTMAX - 1; chosen == 0 && s > SIGRTMIN; --s) {
    struct sigaction old {};
    if (sigaction(s, nullptr, &old) != 0 || old.sa_handler != SIG_DFL) continue;
    struct sigaction ours {};
    ours.sa_sigaction = stand_still;
    ours.sa_flags = SA_RESTART | SA_SIGINFO;
    sigfillset(&ours.sa_mask);
    if (sigaction(s, &ours, nullptr) == 0) chosen = s;
  }
  return chosen;
}

struct ThreadState {
  bool blocks_signal = false, sleeps = false;
};

ThreadState state_of(int thread, int signal) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/self/task/%d/status", thread);
  if (!read_text(path, text, sizeof text)) return {};  // it ended
  const char* mask = strstr(text, "SigBlk:");
  const char* state = strstr(text, "State:\t");
  return {mask != nullptr && (strtoull(mask + 7, nullptr, 16) >> (signal - 1) & 1) != 0,
          state != nullptr && state[7] == 'S'};
}

// The threads that were sent the signal.
struct Signalled {
  static constexpr int kMost = 512;
  int threads[kMost];
  int count = 0;

  bool has(int thread) const { return std::find(threads, threads + count, thread) != threads + count; }
};

// Sends the signal to every thread that has not got it yet. False: one blocks it or cannot be sent it, or who
// there is cannot be told (no /proc in a chroot, one of another namespace, a seccomp filter): in a list that
// is one, this thread is.
bool signal_more(int signal, StopThreads::Which which, Signalled& sent) {
  ThreadList threads;
  const int self = static_cast<int>(syscall(SYS_gettid));
  bool is_list = false;
  while (const int thread = threads.next()) {
    is_list |= thread == self;
    if (thread == self || is_left_running(thread) || sent.has(thread)) continue;
    const ThreadState state = state_of(thread, signal);
    if (which == StopThreads::kRunning && state.sleeps) continue;
    if (state.blocks_signal || sent.count == Signalled::kMost) return false;
    if (send(signal, thread))
      sent.threads[sent.count++] = thread;
    else if (errno != ESRCH)
      return false;  // RLIMIT_SIGPENDING is used up, or a filter forbids it: the thread runs on
  }
  return is_list;
}

// Threads that ended before the signal reached them are not waited for.
void forget_ended(Signalled& sent) {
  sent.count = static_cast<int>(std::remove_if(sent.threads, sent.threads + sent.count,
                                               [](int thread) {
                                                 return syscall(SYS_tgkill, getpid(), thread, 0) != 0 &&
                                                        errno == ESRCH;
                                               }) -
                                sent.threads);
}

// The right to stop threads. False: another thread has it.
bool begin() {
  int there = stopper.load();
  if (there == getpid() || !stopper.compare_exchange_strong(there, getpid())) return false;
  static int number = 0;
  number = number % INT32_MAX + 1;
  standing = 0;
  stopping = number;
  return true;
}

void let_go() {
  stopping = 0;
  syscall(SYS_futex, &stopping, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  // The next stop must not count those who are still leaving.
  while (standing.load() != 0) sched_yield();
  stopper = 0;
}

}  // namespace

void leave_this_thread_running() {
  const uint64_t self = in_this_process(static_cast<int>(syscall(SYS_gettid)));
  for (auto& one : left_running) {
    uint64_t there = one;
    const bool is_stale = there >> 32 != self >> 32;  // of this process's parent
    if (is_stale && one.compare_exchange_strong(there, self)) return;
  }
  CHECK(false, "more threads to be left running than there is room for");
}

StopThreads::StopThreads(Which which) {
  KeepErrno keep;
  const int signal = stop_signal();
  if (signal == 0 || !begin()) return;
  Signalled sent;
  // Until a look at the list finds nobody new: threads that run may start others. A thread in an
  // uninterruptible system call (a page being read) stands a little later; after half a second it is not
  // worth waiting for.
  for (int round = 0; round < 500; ++round) {
    const int before = sent.count;
    if (!signal_more(signal, which, sent)) break;
    if (sent.count == before) {
      forget_ended(sent);
      if (standing.load() >= sent.count) {
        stopped_ = true;
        return;
      }
    }
    sleep_us(round < 20 ? 50 : 1000);
  }
  let_go();
}

StopThreads::~StopThreads() {
  if (stopped_) let_go();
}

}  // namespace spillway::os

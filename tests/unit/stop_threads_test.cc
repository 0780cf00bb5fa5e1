// stop_threads_test.cc - every other thread stands still.
#include "base/os/stop_threads.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/os/lock.h"
#include "tests/support/wait.h"
#include "tests/unit/in_child.h"

#include "tests/support/catch.h"

using namespace spillway;

namespace {

// The thread sanitizer has a thread of its own, which blocks all signals: nobody can be stopped there.
#ifdef __SANITIZE_THREAD__
constexpr bool kCanStop = false;
#else
constexpr bool kCanStop = true;
#endif

bool sleeps(pid_t thread) {
  std::ifstream stat("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string text;
  std::getline(stat, text);
  const size_t name_end = text.rfind(") ");
  return name_end != std::string::npos && text[name_end + 2] == 'S';
}

// Threads that count as fast as they can.
class Counters {
 public:
  explicit Counters(int threads, bool block_signals = false) : counts_(static_cast<size_t>(threads)) {
    for (auto& count : counts_)
      threads_.emplace_back([this, &count, block_signals] {
        if (block_signals) {
          sigset_t all;
          sigfillset(&all);
          pthread_sigmask(SIG_SETMASK, &all, nullptr);
        }
        while (!done_) count.fetch_add(1);
      });
    REQUIRE(all_move());
  }
  ~Counters() {
    done_ = true;
    for (auto& t : threads_) t.join();
  }

  std::vector<uint64_t> now() const {
    std::vector<uint64_t> all;
    for (const auto& c : counts_) all.push_back(c.load());
    return all;
  }
  bool all_move() const {
    const auto before = now();
    return test::wait_until([&] {
      const auto after = now();
      for (size_t i = 0; i < before.size(); ++i)
        if (after[i] == before[i]) return false;
      return true;
    });
  }

 private:
  std::atomic<bool> done_ = false;
  std::vector<std::atomic<uint64_t>> counts_;
  std::vector<std::thread> threads_;
};

}  // namespace

TEST_CASE("threads stand still while they are stopped and go on afterwards") {
  if (!kCanStop) return;
  Counters counters(4);
  for (int round = 0; round < 20; ++round) {
    {
      os::StopThreads stop;
      REQUIRE(stop.stopped());
      const auto before = counters.now();
      for (int i = 0; i < 200; ++i) sched_yield();  // with the processor theirs, they would count
      REQUIRE(counters.now() == before);
    }
    REQUIRE(counters.all_move());
  }
}

TEST_CASE("a thread that waits for a lock is stopped, too, and gets the lock afterwards") {
  if (!kCanStop) return;
  os::Lock lock;
  std::atomic<bool> waits = false, got = false;
  lock.lock();
  std::thread thread([&] {
    waits = true;
    os::Locked locked(lock);
    got = true;
  });
  REQUIRE(test::wait_until([&] { return waits.load(); }));
  {
    os::StopThreads stop;
    CHECK(stop.stopped());
    lock.unlock();
    for (int i = 0; i < 200; ++i) sched_yield();
    CHECK_FALSE(got);
  }
  thread.join();
  CHECK(got);
}

TEST_CASE("when one thread blocks all signals nobody is stopped") {
  Counters deaf(1, /*block_signals=*/true);
  Counters counters(3);
  for (int round = 0; round < 5; ++round) {
    os::StopThreads stop;
    CHECK_FALSE(stop.stopped());
    CHECK(counters.all_move());
    CHECK(deaf.all_move());
  }
}

TEST_CASE("only running threads are stopped when that is asked for, and nobody's sleep is cut short") {
  if (!kCanStop) return;
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  std::atomic<pid_t> sleeper_id = 0;
  int result = -2;
  std::thread sleeper([&] {
    sleeper_id = gettid();
    pollfd in{pipe_ends[0], POLLIN, 0};
    result = poll(&in, 1, -1);  // never restarted after a signal
  });
  REQUIRE(test::wait_until([&] { return sleeper_id != 0 && sleeps(sleeper_id); }));
  {
    Counters counters(2);
    for (int round = 0; round < 20; ++round) {
      os::StopThreads stop(os::StopThreads::kRunning);
      REQUIRE(stop.stopped());
      const auto before = counters.now();
      for (int i = 0; i < 200; ++i) sched_yield();
      REQUIRE(counters.now() == before);
    }
  }
  REQUIRE(write(pipe_ends[1], "x", 1) == 1);
  sleeper.join();
  CHECK(result == 1);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST_CASE("two do not stop threads at once: the second finds that it cannot") {
  if (!kCanStop) return;
  os::StopThreads first;
  REQUIRE(first.stopped());
  os::StopThreads second;
  CHECK_FALSE(second.stopped());
}

TEST_CASE("a child of a fork can stop its threads although its parent was stopping its own") {
  if (!kCanStop || !test::kForkIsFine) return;
  os::StopThreads parents;
  REQUIRE(parents.stopped());
  CHECK(test::in_child([] { return os::StopThreads().stopped() ? 0 : 1; }).exit_code == 0);
}

TEST_CASE("a process of one thread is stopped as it is") {
  if (!kCanStop) return;
  // Threads of earlier tests may still be on their way out.
  CHECK(test::wait_until([] { return os::StopThreads().stopped(); }));
}

TEST_CASE("stopping leaves a system call that can be restarted alone") {
  if (!kCanStop) return;
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  std::atomic<bool> waits = false;
  ssize_t result = -2;
  std::thread reader([&] {
    char c;
    waits = true;
    result = read(pipe_ends[0], &c, 1);
  });
  REQUIRE(test::wait_until([&] { return waits.load(); }));
  for (int round = 0; round < 5; ++round) {
    os::StopThreads stop;
    CHECK(stop.stopped());
  }
  REQUIRE(write(pipe_ends[1], "x", 1) == 1);
  reader.join();
  CHECK(result == 1);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST_CASE("where threads cannot be listed or sent a signal, none counts as stopped") {
  if (!test::kForkIsFine) return;
  for (const unsigned call : {SYS_getdents64, SYS_rt_tgsigqueueinfo}) {
    INFO("system call " << call);
    const test::Ended ended = test::in_child([call] {
      std::atomic<bool> done = false;
      std::thread other([&] {
        while (!done) sched_yield();
      });
      sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                              BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
                              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
      const sock_fprog program{4, filter};
      int answer = 2;
      if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
          prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
        answer = os::StopThreads().stopped() ? 1 : 0;
      done = true;
      other.join();
      return answer;
    });
    CHECK(ended.exit_code == 0);
  }
}

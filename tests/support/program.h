// program.h - running a program and seeing everything it did.
//
//   auto got = run({.argv = {"/bin/true"}});
//   auto got = run(preloaded({"SPILLWAY_THRESHOLD=64k"}, {victim("cross_family")}));
//   auto got = run(under_spillway({"--limit", "64M"}, {"sort", "-S", "256M", file}));
//
// Why not pipes: stdin, stdout and stderr are memory files, so that nothing can block on a full pipe, a
// program's output can be read while it runs, and a daemon that keeps the descriptors open does not hold the
// test up. Always: the environment is the caller's without SPILLWAY_*, EXM_*, TMPDIR and LD_PRELOAD (so the
// tests may themselves run under the preload); a program that outlives its timeout is killed with its process
// group and the test fails; every program dies with the runner. Threads: start and wait from one thread
// (PR_SET_PDEATHSIG).
#pragma once
#include <sys/resource.h>
#include <sys/types.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace spillway::test {

class MemoryCap;

struct Command {
  std::vector<std::string> argv{};  // argv[0] is looked up in PATH
  std::vector<std::string> env{};   // "NAME=value" to set, "NAME" to unset
  std::string dir{};                // working directory; empty: the runner's
  std::string input{};              // stdin
  MemoryCap* cap = nullptr;         // the memory cgroup it starts in
  uid_t uid = 0;                    // other than 0: runs as this user and group, without further groups
  std::vector<std::pair<int, rlim_t>> limits{};  // {RLIMIT_NOFILE, 20}: soft and hard
  std::chrono::seconds timeout{300};
};

inline constexpr uid_t kNobody = 65534;

struct Outcome {
  int exit_code = -1;  // -1: ended by a signal
  int signal = 0;      // 0: exited
  std::string out, err;
  size_t max_rss_bytes = 0;  // of the program or the largest of its waited-for children (ru_maxrss)
  double seconds = 0;

  std::string text() const;  // everything above in a few lines, for INFO
};

// A program that runs beside the test. The destructor kills its process group and waits for it.
class Running {
 public:
  explicit Running(const Command& command);
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  pid_t pid() const { return pid_; }
  std::string out() const;  // what it has written so far
  std::string err() const;
  bool ended();  // without waiting
  void kill(int signal) const;
  // Until it ends. Throws when the timeout (counted from the start) passes: the program is killed first.
  Outcome wait();

 private:
  void collect();  // wait4

  pid_t pid_ = -1;
  int pidfd_ = -1, out_ = -1, err_ = -1;
  bool ended_ = false;
  int status_ = 0;
  rusage usage_{};
  std::chrono::steady_clock::time_point start_, deadline_;
  double seconds_ = 0;
};

Outcome run(const Command& command);

// The program with the library preloaded by hand and these settings ("SPILLWAY_LIMIT=64M").
Command preloaded(std::vector<std::string> env, std::vector<std::string> argv);

// `spillway run OPTIONS -- ARGV`.
Command under_spillway(std::vector<std::string> options, std::vector<std::string> argv);

// Processes that outlived the program that started them: the runner adopts them (PR_SET_CHILD_SUBREAPER).
// True when all of them have ended by the deadline.
[[nodiscard]] bool wait_for_descendants(std::chrono::seconds limit = std::chrono::seconds(30));
std::vector<pid_t> descendants();  // still living; zombies are reaped on the way
void kill_descendants();

}  // namespace spillway::test

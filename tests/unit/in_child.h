// in_child.h - running a piece of a test in a forked process: what must end the process, or happens after a
// fork. The child may not use Catch2; it answers with its exit code. Not under the thread sanitizer, which
// does not follow a fork.
#pragma once
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace spillway::test {

#ifdef __SANITIZE_THREAD__
inline constexpr bool kForkIsFine = false;
#else
inline constexpr bool kForkIsFine = true;
#endif

struct Ended {
  int exit_code = -1;  // -1: ended by a signal
  int signal = 0;
  std::string err;  // what it said on stderr, if that was caught
};

inline Ended wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
  }
  if (WIFSIGNALED(status)) return {-1, WTERMSIG(status), {}};
  return {WEXITSTATUS(status), 0, {}};
}

// stderr of this process goes to a memory file while the object lives.
class CaughtStderr {
 public:
  CaughtStderr() : file_(::memfd_create("stderr", MFD_CLOEXEC)), before_(::dup(STDERR_FILENO)) {
    ::dup2(file_, STDERR_FILENO);
  }
  ~CaughtStderr() {
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
    ::close(file_);
  }
  CaughtStderr(const CaughtStderr&) = delete;
  CaughtStderr& operator=(const CaughtStderr&) = delete;

  std::string text() const {
    char buffer[4096];
    const ssize_t n = ::pread(file_, buffer, sizeof buffer, 0);
    return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : std::string();
  }

 private:
  int file_, before_;
};

template <typename Body>
Ended in_child(Body body) {
  CaughtStderr caught;
  const pid_t child = ::fork();
  if (child == 0) {
    for (int s : {SIGABRT, SIGSEGV}) ::signal(s, SIG_DFL);  // Catch2 would report a failure of the test
    ::_exit(body());
  }
  Ended ended = wait_for(child);
  ended.err = caught.text();
  return ended;
}

// The body's CHECK or die() ended the process, in these words.
template <typename Body>
bool dies_saying(const std::string& words, Body body) {
  const Ended ended = in_child([&] {
    body();
    return 0;
  });
  return ended.signal == SIGABRT && ended.err.find(words) != std::string::npos;
}

}  // namespace spillway::test

#include "tests/support/program.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "tests/support/memory_cap.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/wait.h"

extern char** environ;

namespace spillway::test {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what + ": " + ::strerror(errno)); }

// The caller's environment without what would change a program under test, then the command's additions.
std::vector<std::string> environment(const Command& command) {
  auto name_of = [](const std::string& entry) { return entry.substr(0, entry.find('=')); };
  std::vector<std::string> entries;
  for (char** e = environ; *e; ++e) {
    const std::string name = name_of(*e);
    if (name.starts_with("SPILLWAY_") || name.starts_with("EXM_") || name == "TMPDIR" || name == "LD_PRELOAD")
      continue;
    entries.emplace_back(*e);
  }
  for (const std::string& addition : command.env) {
    std::erase_if(entries, [&](const std::string& e) { return name_of(e) == name_of(addition); });
    if (addition.find('=') != std::string::npos) entries.push_back(addition);
  }
  return entries;
}

int memory_file(const char* name, const std::string& text = "") {
  const int fd = ::memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) fail("memfd_create");
  if (!text.empty() && ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    fail("write stdin");
  ::lseek(fd, 0, SEEK_SET);
  return fd;
}

std::string content(int fd) {
  std::string text;
  char buffer[65536];
  for (off_t at = 0;;) {
    const ssize_t n = ::pread(fd, buffer, sizeof buffer, at);
    if (n <= 0) return text;
    text.append(buffer, static_cast<size_t>(n));
    at += n;
  }
}

// Between fork and exec. Returns what failed.
const char* become(const Command& command, int in, int out, int err, const std::string& cgroup) {
  ::setpgid(0, 0);
  if (!cgroup.empty()) {
    const int fd = ::open(cgroup.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0 || ::write(fd, "0", 1) != 1) return "entering the memory cgroup";
  }
  if (::dup2(in, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0) return "dup2";
  ::fcntl(1, F_SETFL, O_APPEND);
  ::fcntl(2, F_SETFL, O_APPEND);
  if (!command.dir.empty() && ::chdir(command.dir.c_str()) != 0) return "chdir";
  for (auto [resource, value] : command.limits) {
    const rlimit limit{value, value};
    if (::setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return "setrlimit";
  }
  if (command.uid != 0) {
    if (::setgroups(0, nullptr) != 0 || ::setgid(command.uid) != 0 || ::setuid(command.uid) != 0)
      return "setuid";
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // after setuid, which clears it
  return nullptr;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> list;
  for (std::string& s : strings) list.push_back(s.data());
  list.push_back(nullptr);
  return list;
}

}  // namespace

Running::Running(const Command& command) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const std::string program = program_path(command.argv.at(0));
  std::vector<std::string> argv = command.argv, env = environment(command);
  const std::vector<char*> argv_list = pointers(argv), env_list = pointers(env);
  const std::string cgroup = command.cap ? command.cap->procs_file() : "";
  const int in = memory_file("stdin", command.input);
  out_ = memory_file("stdout");
  err_ = memory_file("stderr");
  start_ = std::chrono::steady_clock::now();
  deadline_ = start_ + command.timeout;

  pid_ = ::fork();
  if (pid_ < 0) fail("fork");
  if (pid_ == 0) {
    const char* failed = become(command, in, out_, err_, cgroup);
    if (!failed) {
      // Not in PATH: execve makes the errno that a shell would report.
      ::execve(program.empty() ? argv_list[0] : program.c_str(), argv_list.data(), env_list.data());
      failed = "execve";
    }
    ::dprintf(2, "test runner: %s: %s: %s\n", argv_list[0], failed, ::strerror(errno));
    ::_exit(124);
  }
  ::close(in);
  pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd_ < 0) fail("pidfd_open");
}

Running::~Running() {
  if (!ended_) {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    collect();
  }
  for (int fd : {pidfd_, out_, err_}) ::close(fd);
}

std::string Running::out() const { return content(out_); }
std::string Running::err() const { return content(err_); }

void Running::kill(int signal) const {
  if (!ended_) ::kill(pid_, signal);
}

bool Running::ended() {
  if (ended_) return true;
  pollfd ready{pidfd_, POLLIN, 0};
  if (::poll(&ready, 1, 0) == 1) collect();
  return ended_;
}

void Running::collect() {
  while (::wait4(pid_, &status_, 0, &usage_) < 0) {
    if (errno != EINTR) fail("wait4");
  }
  ended_ = true;
  seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

Outcome Running::wait() {
  while (!ended_) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline_ - std::chrono::steady_clock::now());
    pollfd ready{pidfd_, POLLIN, 0};
    const int n = left.count() > 0 ? ::poll(&ready, 1, static_cast<int>(left.count())) : 0;
    if (n < 0 && errno == EINTR) continue;
    if (n == 1) {
      collect();
      continue;
    }
    ::kill(-pid_, SIGKILL);
    collect();
    throw std::runtime_error("the program did not end in time and was killed\nstdout: " + out() +
                             "\nstderr: " + err());
  }
  Outcome outcome;
  if (WIFSIGNALED(status_)) outcome.signal = WTERMSIG(status_);
  if (WIFEXITED(status_)) outcome.exit_code = WEXITSTATUS(status_);
  outcome.out = out();
  outcome.err = err();
  outcome.max_rss_bytes = static_cast<size_t>(usage_.ru_maxrss) * 1024;
  outcome.seconds = seconds_;
  return outcome;
}

std::string Outcome::text() const {
  std::string text = signal ? "ended by signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")"
                            : "exit status " + std::to_string(exit_code);
  text += ", peak " + std::to_string(max_rss_bytes >> 20) + " MiB, " + std::to_string(seconds) + " s\n";
  text += "--- stdout\n" + (out.size() > 4000 ? out.substr(0, 4000) + "..." : out);
  text += "\n--- stderr\n" + (err.size() > 4000 ? err.substr(0, 4000) + "..." : err) + "\n---";
  return text;
}

Outcome run(const Command& command) { return Running(command).wait(); }

Command preloaded(std::vector<std::string> env, std::vector<std::string> argv) {
  env.insert(env.begin(), "LD_PRELOAD=" + preload_lib());
  return {.argv = std::move(argv), .env = std::move(env)};
}

Command under_spillway(std::vector<std::string> options, std::vector<std::string> argv) {
  std::vector<std::string> line = {spillway_bin(), "run"};
  line.insert(line.end(), options.begin(), options.end());
  line.push_back("--");
  line.insert(line.end(), argv.begin(), argv.end());
  return {.argv = std::move(line)};
}

std::vector<pid_t> descendants() {
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
  std::vector<pid_t> pids;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    const std::string list = read_file(task.path().string() + "/children");
    for (const char* at = list.c_str(); *at;) {
      char* end = nullptr;
      const long pid = ::strtol(at, &end, 10);
      if (end == at) break;
      pids.push_back(static_cast<pid_t>(pid));
      at = end;
    }
  }
  return pids;
}

bool wait_for_descendants(std::chrono::seconds limit) {
  return wait_until([] { return descendants().empty(); }, limit);
}

void kill_descendants() {
  // Killing a process hands its children to the runner, so ask until there are none.
  (void)wait_until([] {
    const std::vector<pid_t> pids = descendants();
    for (pid_t pid : pids) ::kill(pid, SIGKILL);
    return pids.empty();
  });
}

}  // namespace spillway::test

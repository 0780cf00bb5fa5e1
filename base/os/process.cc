#include "base/os/process.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "base/core/units.h"
#include "base/os/keep_errno.h"
#include "base/os/procfs.h"
#include "base/os/umask.h"

namespace spillway::os {
namespace {

std::atomic<unsigned> forks{0};
pthread_once_t watch_forks = PTHREAD_ONCE_INIT;

uint64_t hash_text(const char* text, uint64_t hash) {  // FNV-1a
  for (; *text; ++text) hash = (hash ^ static_cast<unsigned char>(*text)) * 1099511628211u;
  return hash;
}

// In the child of the child: nobody of the family is its parent, and it has no terminal.
[[noreturn]] void become_daemon(const char* const* argv, int log) {
  setsid();
  keep_files_private();  // a program's umask may forbid everything to everybody
  const int null = open("/dev/null", O_RDWR);
  if (null >= 0) {
    dup2(null, 0);
    dup2(null, 1);
    dup2(log, 2);
  }
  syscall(SYS_close_range, 3u, ~0u, 0u);  // without it (Linux 5.8) what is open is close-on-exec or stays
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (chdir("/") != 0) _exit(127);
  unsetenv("LD_PRELOAD");  // the daemon's memory is not for spilling
  execv(argv[0], const_cast<char* const*>(argv));
  _exit(127);
}

}  // namespace

uint32_t user_id() { return geteuid(); }

Result<Fd> watch_process(int pid) {
  KeepErrno keep;
  Fd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) return Errno::last();
  return fd;
}

Errno start_daemon(const char* const* argv, int log) {
  KeepErrno keep;
  const pid_t child = fork();
  if (child < 0) return Errno::last();
  if (child == 0) {
    const pid_t grandchild = fork();
    if (grandchild == 0) become_daemon(argv, log);
    _exit(grandchild < 0 ? 1 : 0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return errno == ECHILD ? Errno{} : Errno::last();  // the program reaps by itself
  return status == 0 ? Errno{} : Errno(EAGAIN);
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

uint64_t descriptor_limit() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : ~uint64_t{0};
}

void own_path(char* buffer, uint64_t bytes) {
  KeepErrno keep;
  Dl_info info{};
  buffer[0] = 0;
  if (dladdr(reinterpret_cast<void*>(&own_path), &info) == 0 || info.dli_fname == nullptr) return;
  char full[4096];
  // A program started by a relative name has that name here; its link in /proc is right wherever it is now.
  const char* const name = strchr(info.dli_fname, '/') ? info.dli_fname : "/proc/self/exe";
  snprintf(buffer, bytes, "%s", realpath(name, full) ? full : info.dli_fname);
}

uint64_t host_identity() {
  char text[128];
  uint64_t hash = 14695981039346656037u;
  if (read_text("/etc/machine-id", text, sizeof text)) hash = hash_text(text, hash);
  if (read_text("/proc/sys/kernel/random/boot_id", text, sizeof text)) hash = hash_text(text, hash);
  return hash;
}

uint64_t random_number() {
  KeepErrno keep;
  uint64_t number = 0;
  while (getrandom(&number, sizeof number, 0) != sizeof number) {
  }
  return number;
}

unsigned fork_generation() {
  pthread_once(&watch_forks, [] {
    pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  });
  return forks.load(std::memory_order_relaxed);
}

Resident resident_bytes() {
  char text[256];
  unsigned long long size = 0, resident = 0, shared = 0;
  if (!read_text("/proc/self/statm", text, sizeof text)) return {};
  if (sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3) return {};
  return {resident * kPageBytes, shared * kPageBytes};
}

void process_name(int pid, char* buffer, uint64_t bytes) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/comm", pid);
  if (!read_text(path, buffer, bytes)) buffer[0] = 0;
  buffer[strcspn(buffer, "\n")] = 0;
}

uint64_t clock_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace spillway::os

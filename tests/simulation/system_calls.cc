// system_calls.cc - what the linker puts in the place of system calls of base/os/userfault.cc and file.cc,
// and of the inline functions of clock.h (-Wl,--wrap in the Makefile). Outside of a simulation they are real.
#include "tests/simulation/system_calls.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>

#include <cerrno>
#include <cstdarg>
#include <cstring>

#include "tests/simulation/kernel.h"

using spillway::simulation::Kernel;

extern "C" {

int __real_open(const char* path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, ...);
long __real_syscall(long number, ...);
ssize_t __real_read(int fd, void* data, size_t bytes);
int __real_poll(pollfd* fds, nfds_t count, int timeout_ms);
int __real_close(int fd);
int __real_fcntl(int fd, int command, ...);
int __real_clock_gettime(clockid_t clock, timespec* now);
int __real_nanosleep(const timespec* time, timespec* left);

int __wrap_open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const int mode = va_arg(arguments, int);
  va_end(arguments);
  if (Kernel::is_there() && strcmp(path, "/dev/userfaultfd") == 0) return errno = ENOENT, -1;
  return __real_open(path, flags, mode);
}

long __wrap_syscall(long number, ...) {
  long a[6];
  va_list arguments;
  va_start(arguments, number);
  for (long& argument : a) argument = va_arg(arguments, long);
  va_end(arguments);
  if (Kernel::is_there() && number == SYS_userfaultfd) return Kernel::kUserfault;
  return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// Descriptors of the simulated userfaultfd are one number.
int __wrap_fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  const long argument = va_arg(arguments, long);
  va_end(arguments);
  if (fd == Kernel::kUserfault) return fd;
  return __real_fcntl(fd, command, argument);
}
int __wrap_close(int fd) { return fd == Kernel::kUserfault ? 0 : __real_close(fd); }

int __wrap_ioctl(int fd, unsigned long request, void* argument) {
  if (fd == Kernel::kUserfault) return Kernel::now().control(request, argument);
  return __real_ioctl(fd, request, argument);
}

ssize_t __wrap_read(int fd, void* data, size_t bytes) {
  if (fd == Kernel::kUserfault) return Kernel::now().read_faults(data, bytes);
  return __real_read(fd, data, bytes);
}

int __wrap_poll(pollfd* fds, nfds_t count, int timeout_ms) {
  if (!Kernel::is_there()) return __real_poll(fds, count, timeout_ms);
  Kernel& kernel = Kernel::now();
  const uint64_t deadline_us = kernel.schedule.now_us() + static_cast<uint64_t>(timeout_ms) * 1000;
  const bool any = kernel.schedule.wait_until([&] { return kernel.has_faults(); }, deadline_us);
  fds[0].revents = any ? POLLIN : 0;
  return any ? 1 : 0;
}

ssize_t __wrap_pread(int fd, void* data, size_t bytes, off_t offset) {
  if (!Kernel::is_there()) return __real_pread(fd, data, bytes, offset);
  return Kernel::now().transfer(fd, static_cast<char*>(data), bytes, offset, /*is_write=*/false);
}

ssize_t __wrap_pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  if (!Kernel::is_there()) return __real_pwrite(fd, data, bytes, offset);
  return Kernel::now().transfer(fd, static_cast<char*>(const_cast<void*>(data)), bytes, offset,
                                /*is_write=*/true);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes) {
  if (!Kernel::is_there()) return __real_fallocate(fd, mode, offset, bytes);
  return Kernel::now().change_file(fd, mode, offset, bytes);
}

// A table of descriptors of the pager's own would be one of this program's threads alone.
int __wrap_unshare(int) { return errno = EPERM, -1; }

int __wrap_clock_gettime(clockid_t clock, timespec* now) {
  if (!Kernel::is_there()) return __real_clock_gettime(clock, now);
  const uint64_t us = Kernel::now().schedule.look_at_clock();
  *now = {static_cast<time_t>(us / 1'000'000), static_cast<long>(us % 1'000'000 * 1000)};
  return 0;
}

int __wrap_nanosleep(const timespec* time, timespec* left) {
  if (!Kernel::is_there()) return __real_nanosleep(time, left);
  auto& schedule = Kernel::now().schedule;
  const uint64_t us =
      static_cast<uint64_t>(time->tv_sec) * 1'000'000 + static_cast<uint64_t>(time->tv_nsec) / 1000;
  (void)schedule.wait_until([] { return false; }, schedule.now_us() + us);
  return 0;
}
}

// Preloaded into a program: reads and writes of files below $FAILING_DISK_DIR fail, as the file $FAILING_DISK
// says, which whoever tests maps and changes (tests/pool/failing_disk_test.cc).
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { kWriteError = 1, kShortWrite = 2, kReadError = 4, kSyncError = 8, kSlowSync = 16 };
struct control {
  _Atomic int kinds;    // of those above
  _Atomic int error;    // errno
  _Atomic int one_in;   // calls
  _Atomic int counted;  // calls of a kind that may fail
  _Atomic int failed;   // or were slow
};
static struct control* control;
static const char* directory;

__attribute__((constructor)) static void look_for_control(void) {
  const char* const path = getenv("FAILING_DISK");
  directory = getenv("FAILING_DISK_DIR");
  if (path == NULL || directory == NULL) return;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* const at = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at != MAP_FAILED) control = at;
}

static int strikes(int fd, int kind) {
  if (control == NULL || (control->kinds & kind) == 0) return 0;
  char link[40], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  if (strncmp(path, directory, strlen(directory)) != 0) return 0;
  if (control->counted++ % control->one_in != 0) return 0;
  ++control->failed;
  return 1;
}

static ssize_t write_at(int fd, const void* from, size_t bytes, off_t offset) {
  static ssize_t (*real)(int, const void*, size_t, off_t);
  if (real == NULL) real = (ssize_t(*)(int, const void*, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
  if (strikes(fd, kWriteError)) {
    // Some of it may be there already.
    if (bytes > 1) (void)real(fd, from, bytes / 2, offset);
    errno = control->error;
    return -1;
  }
  if (bytes > 1 && strikes(fd, kShortWrite)) bytes /= 2;
  return real(fd, from, bytes, offset);
}
ssize_t pwrite(int fd, const void* from, size_t bytes, off_t offset) {
  return write_at(fd, from, bytes, offset);
}
ssize_t pwrite64(int fd, const void* from, size_t bytes, off_t offset) {
  return write_at(fd, from, bytes, offset);
}

ssize_t pwritev(int fd, const struct iovec* pieces, int count, off_t offset) {
  static ssize_t (*real)(int, const struct iovec*, int, off_t);
  if (real == NULL) real = (ssize_t(*)(int, const struct iovec*, int, off_t))dlsym(RTLD_NEXT, "pwritev");
  if (strikes(fd, kWriteError)) {
    if (count > 1) (void)real(fd, pieces, count - 1, offset);
    errno = control->error;
    return -1;
  }
  return real(fd, pieces, count > 1 && strikes(fd, kShortWrite) ? count - 1 : count, offset);
}
ssize_t pwritev64(int fd, const struct iovec* pieces, int count, off_t offset) {
  return pwritev(fd, pieces, count, offset);
}

static ssize_t read_at(int fd, void* to, size_t bytes, off_t offset) {
  static ssize_t (*real)(int, void*, size_t, off_t);
  if (real == NULL) real = (ssize_t(*)(int, void*, size_t, off_t))dlsym(RTLD_NEXT, "pread");
  if (!strikes(fd, kReadError)) return real(fd, to, bytes, offset);
  errno = EIO;
  return -1;
}
ssize_t pread(int fd, void* to, size_t bytes, off_t offset) { return read_at(fd, to, bytes, offset); }
ssize_t pread64(int fd, void* to, size_t bytes, off_t offset) { return read_at(fd, to, bytes, offset); }

int fdatasync(int fd) {
  static int (*real)(int);
  if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  if (strikes(fd, kSlowSync)) usleep(20000);
  if (!strikes(fd, kSyncError)) return real(fd);
  errno = EIO;
  return -1;
}

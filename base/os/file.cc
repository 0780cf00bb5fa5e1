#include "base/os/file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/core/units.h"
#include "base/os/keep_errno.h"

namespace spillway::os {
namespace {

thread_local bool own_descriptors = false;

// Descriptor numbers from about 900 (RLIMIT_NOFILE 1024) or half the limit: above what programs number by
// hand (shells use up to 255), below what makes the kernel's table large.
int high_descriptor_floor() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 3;
  return static_cast<int>(std::min<rlim_t>(limit.rlim_cur / 8 * 7, 900));
}

Result<Fd> create_and_unlink(const char* directory) {
  char path[4096];
  const int n = snprintf(path, sizeof path, "%s/spillway-XXXXXX", directory);
  if (n < 0 || static_cast<size_t>(n) >= sizeof path) return Errno(ENAMETOOLONG);
  Fd fd(mkostemp(path, O_CLOEXEC));
  if (!fd.valid()) return Errno::last();
  if (unlink(path) != 0) return Errno::last();
  return fd;
}

Errno write_zeroes(int fd, uint64_t offset, uint64_t bytes) {
  alignas(kPageBytes) static const char zeroes[64 * kKiB] = {};  // direct I/O asks for that
  while (bytes > 0) {
    const uint64_t n = std::min<uint64_t>(bytes, sizeof zeroes);
    if (Errno e = write_all(fd, zeroes, n, offset); !e.ok()) return e;
    offset += n;
    bytes -= n;
  }
  return {};
}

}  // namespace

Fd move_high(Fd fd) {
  if (!fd.valid()) return fd;
  const int high = fcntl(fd.get(), F_DUPFD_CLOEXEC, high_descriptor_floor());
  return high >= 0 ? Fd(high) : std::move(fd);
}

Fd open_append(const char* path) {
  KeepErrno keep;
  return move_high(Fd(open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)));
}

Result<Fd> open_as_only_writer(const char* path) {
  KeepErrno keep;
  // Not blocking: it may be a pipe that nobody reads.
  Fd fd = move_high(Fd(::open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666)));
  if (!fd.valid()) return Errno::last();
  struct stat st {};
  if (fstat(fd.get(), &st) != 0) return Errno::last();
  if (!S_ISREG(st.st_mode)) return Errno(EINVAL);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return Errno(EBUSY);
    // A file system without locks.
    if (errno != ENOSYS && errno != EOPNOTSUPP && errno != ENOLCK) return Errno::last();
  }
  return fd;
}

Errno absolute_path(const char* path, char* absolute, size_t bytes) {
  KeepErrno keep;
  size_t used = 0;
  if (path[0] != '/') {
    if (getcwd(absolute, bytes) == nullptr) return errno == ERANGE ? Errno(ENAMETOOLONG) : Errno::last();
    used = strlen(absolute);
  }
  const int n = snprintf(absolute + used, bytes - used, used == 0 ? "%s" : "/%s", path);
  return n >= 0 && static_cast<size_t>(n) < bytes - used ? Errno{} : Errno(ENAMETOOLONG);
}

Fd duplicate(int fd) {
  KeepErrno keep;
  return Fd(fcntl(fd, F_DUPFD_CLOEXEC, high_descriptor_floor()));
}

Fd open_high(const char* path, int flags) { return move_high(Fd(open(path, flags | O_CLOEXEC))); }

bool use_own_descriptors() {
  KeepErrno keep;
  own_descriptors = unshare(CLONE_FILES) == 0 && syscall(SYS_close_range, 0u, ~0u, 0u) == 0;
  return own_descriptors;
}
void share_own_descriptors() { own_descriptors = true; }
bool has_own_descriptors() { return own_descriptors; }

Result<Fd> fetch_descriptor(int programs) {
  KeepErrno keep;
  const Fd process(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!process.valid()) return Errno::last();
  Fd fd(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), programs, 0)));
  if (!fd.valid()) return Errno::last();
  return fd;
}

void Fd::reset() {
  KeepErrno keep;
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Result<FileIdentity> identify(int fd) {
  KeepErrno keep;
  struct stat st {};
  if (fstat(fd, &st) != 0) return Errno::last();
  return FileIdentity{st.st_dev, st.st_ino};
}

Result<Fd> open_unlinked(const char* directory, bool allow_tmpfile) {
  KeepErrno keep;
  if (allow_tmpfile) {
    Fd fd(open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600));
    if (fd.valid()) return move_high(std::move(fd));
    // EISDIR: a kernel before 3.11; EOPNOTSUPP: NFS, FAT, old overlayfs. Everything else would fail below,
    // too.
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) return Errno::last();
  }
  Result<Fd> fd = create_and_unlink(directory);
  if (!fd) return fd.error();
  return move_high(std::move(*fd));
}

Result<Fd> reopen(int fd) {
  KeepErrno keep;
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  Fd again = open_high(path, O_RDWR);
  if (!again.valid()) return Errno::last();
  return again;
}

Errno set_length(int fd, uint64_t bytes) {
  KeepErrno keep;
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur)
    return Errno(EFBIG);
  return ftruncate(fd, static_cast<off_t>(bytes)) == 0 ? Errno{} : Errno::last();
}

Errno preallocate(int fd, uint64_t offset, uint64_t bytes, bool allow_fallocate) {
  KeepErrno keep;
  while (allow_fallocate) {
    if (fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0) return {};
    if (errno == EINTR) continue;
    // EPERM: a seccomp filter; the files are neither immutable nor sealed.
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EPERM) return Errno::last();
    break;
  }
  return write_zeroes(fd, offset, bytes);
}

Errno zero_range(int fd, uint64_t offset, uint64_t bytes) {
  KeepErrno keep;
  while (fallocate(fd, FALLOC_FL_ZERO_RANGE, static_cast<off_t>(offset), static_cast<off_t>(bytes)) != 0)
    if (errno != EINTR) return Errno::last();
  return {};
}

void start_writeback(int fd, uint64_t offset, uint64_t bytes) {
  KeepErrno keep;
  sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE);
}

void drop_from_cache(int fd, uint64_t offset, uint64_t bytes) {
  KeepErrno keep;
  sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                  SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
}

Errno write_stream(int fd, const char* text, uint64_t bytes) {
  KeepErrno keep;
  while (bytes > 0) {
    const ssize_t n = write(fd, text, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Errno::last();
    text += n;
    bytes -= static_cast<uint64_t>(n);
  }
  return {};
}

Errno write_all(int fd, const void* data, uint64_t bytes, uint64_t offset) {
  KeepErrno keep;
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = pwrite(fd, from, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Errno::last();
    if (n == 0) return Errno(EIO);
    from += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<uint64_t>(n);
  }
  return {};
}

Errno read_all(int fd, void* data, uint64_t bytes, uint64_t offset) {
  KeepErrno keep;
  char* to = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t n = pread(fd, to, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Errno::last();
    if (n == 0) return Errno(EIO);
    to += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<uint64_t>(n);
  }
  return {};
}

void use_direct_io(int fd) {
  KeepErrno keep;
  const int flags = fcntl(fd, F_GETFL);
  if (flags >= 0) (void)fcntl(fd, F_SETFL, flags | O_DIRECT);
}

Errno punch_file(int fd, uint64_t offset, uint64_t bytes) {
  KeepErrno keep;
  while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                   static_cast<off_t>(bytes)) != 0)
    if (errno != EINTR) return Errno::last();
  return {};
}

Errno make_pair(Fd& one, Fd& other) {
  KeepErrno keep;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return Errno::last();
  one = move_high(Fd(ends[0]));
  other = move_high(Fd(ends[1]));
  return {};
}

namespace {

// One byte, and beside it one descriptor.
struct DescriptorMessage {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{nullptr, 0, &data, 1, control, sizeof control, 0};
};

}  // namespace

Errno send_descriptor(int socket, int fd) {
  KeepErrno keep;
  DescriptorMessage message;
  cmsghdr* const item = CMSG_FIRSTHDR(&message.header);
  item->cmsg_level = SOL_SOCKET;
  item->cmsg_type = SCM_RIGHTS;
  item->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(item), &fd, sizeof fd);
  return sendmsg(socket, &message.header, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 ? Errno{} : Errno::last();
}

Result<Fd> receive_descriptor(int socket) {
  KeepErrno keep;
  DescriptorMessage message;
  if (recvmsg(socket, &message.header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != 1) return Errno(EIO);
  const cmsghdr* const item = CMSG_FIRSTHDR(&message.header);
  if (item == nullptr || item->cmsg_type != SCM_RIGHTS) return Errno(EMFILE);
  int fd = -1;
  memcpy(&fd, CMSG_DATA(item), sizeof fd);
  return move_high(Fd(fd));
}

Errno probe_passing_descriptors() {
  Fd one, other;
  if (Errno e = make_pair(one, other); !e.ok()) return e;
  Result<Fd> fetched = fetch_descriptor(other.get());
  if (!fetched) return fetched.error();
  if (Errno e = send_descriptor(fetched->get(), other.get()); !e.ok()) return e;
  Result<Fd> received = receive_descriptor(one.get());
  return received ? Errno{} : received.error();
}

Result<bool> is_in_memory(const char* directory) {
  KeepErrno keep;
  struct statfs fs {};
  if (statfs(directory, &fs) != 0) return Errno::last();
  return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
}

}  // namespace spillway::os

#include "base/os/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "base/core/units.h"
#include "base/os/keep_errno.h"
#include "base/os/limits.h"
#include "base/os/memory.h"
#include "base/os/procfs.h"

namespace spillway::os {
namespace {

Errno make_directories(const char* path) {
  char part[4096];
  const size_t length = strlen(path);
  if (length >= sizeof part) return Errno(ENAMETOOLONG);
  for (size_t i = 1; i <= length; ++i) {
    if (path[i] != '/' && path[i] != '\0') continue;
    memcpy(part, path, i);
    part[i] = '\0';
    if (mkdir(part, 0700) != 0 && errno != EEXIST) return Errno::last();
  }
  return {};
}

int flags_of(OpenFor how) {
  switch (how) {
    case OpenFor::kReading:
      return O_RDONLY;
    case OpenFor::kWriting:
      return O_RDWR;
    case OpenFor::kCreatingNew:
      return O_RDWR | O_CREAT | O_EXCL;
    case OpenFor::kCreating:
      return O_RDWR | O_CREAT;
  }
  return O_RDONLY;
}

Result<PageRange> map(int fd, uint64_t bytes, int protection, int flags) {
  KeepErrno keep;
  const uint64_t whole = round_up(bytes, kPageBytes);
  if (whole >= kExtentBytes) {  // where the page cache has large pages, they can be mapped as such
    Result<PageRange> range = reserve(whole, kExtentBytes);
    if (!range) return range;
    if (mmap(range->base, whole, protection, flags | MAP_FIXED, fd, 0) != MAP_FAILED) return range;
    const Errno e = Errno::last();
    unreserve(*range);
    return e;
  }
  void* at = mmap(nullptr, whole, protection, flags, fd, 0);
  if (at == MAP_FAILED) return Errno::last();
  return PageRange{static_cast<char*>(at), whole};
}

}  // namespace

Result<Fd> open_directory(const char* path, bool create) {
  KeepErrno keep;
  Fd fd(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT && create) {
    if (Errno e = make_directories(path); !e.ok()) return e;
    fd = Fd(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  if (!fd.valid()) return Errno::last();
  return fd;
}

Result<Fd> open_in(int directory, const char* name, OpenFor how, unsigned mode) {
  KeepErrno keep;
  Fd fd(openat(directory, name, flags_of(how) | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK, mode));
  if (!fd.valid()) return Errno::last();
  return fd;
}

Errno rename_in(int directory, const char* from, const char* to) {
  KeepErrno keep;
  return renameat(directory, from, directory, to) == 0 ? Errno{} : Errno::last();
}
Errno unlink_in(int directory, const char* name) {
  KeepErrno keep;
  return unlinkat(directory, name, 0) == 0 ? Errno{} : Errno::last();
}
Errno link_in(int directory, const char* name, int other_directory, const char* other_name) {
  KeepErrno keep;
  return linkat(directory, name, other_directory, other_name, 0) == 0 ? Errno{} : Errno::last();
}

Errno list_names(int directory, void (*each)(void*, const char*), void* context) {
  KeepErrno keep;
  // A descriptor of its own: readdir moves the offset that duplicates share.
  const int own = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (own < 0) return Errno::last();
  DIR* names = fdopendir(own);
  if (names == nullptr) {
    const Errno e = Errno::last();
    close(own);
    return e;
  }
  Errno result;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(names);
    if (entry == nullptr) {
      if (errno != 0) result = Errno::last();
      break;
    }
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) each(context, entry->d_name);
  }
  closedir(names);
  return result;
}

Errno flush_data(int fd) {
  KeepErrno keep;
  while (fdatasync(fd) != 0)
    if (errno != EINTR) return Errno::last();
  return {};
}
Errno flush_all(int fd) {
  KeepErrno keep;
  while (fsync(fd) != 0)
    if (errno != EINTR) return Errno::last();
  return {};
}

Result<FileFacts> facts_of(int fd) {
  KeepErrno keep;
  struct stat st {};
  if (fstat(fd, &st) != 0) return Errno::last();
  return FileFacts{static_cast<uint64_t>(st.st_size),
                   static_cast<uint64_t>(st.st_blocks) * 512,
                   st.st_dev,
                   st.st_ino,
                   S_ISREG(st.st_mode),
                   st.st_uid};
}

bool is_on_network(int fd) {
  KeepErrno keep;
  struct statfs fs {};
  if (fstatfs(fd, &fs) != 0) return false;
  constexpr uint32_t kCifs = 0xFF534D42, kSmb2 = 0xFE534D42, kSmb = 0x517B, kCeph = 0x00C36400;
  const uint32_t type = static_cast<uint32_t>(fs.f_type);
  return type == NFS_SUPER_MAGIC || type == V9FS_MAGIC || type == kCifs || type == kSmb2 || type == kSmb ||
         type == kCeph;
}

uint64_t free_disk_bytes(int fd) {
  KeepErrno keep;
  struct statvfs fs {};
  if (fstatvfs(fd, &fs) != 0) return 0;
  return static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize;
}

Errno allocate_file(int fd, uint64_t offset, uint64_t bytes) {
  KeepErrno keep;
  if (offset + bytes > file_size_limit()) return Errno(EFBIG);  // the kernel would send SIGXFSZ
  while (fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)) != 0) {
    if (errno == EINTR) continue;
    if (errno != EOPNOTSUPP && errno != ENOSYS) return Errno::last();
    return preallocate(fd, offset, bytes, false);
  }
  return {};
}

Errno write_pieces(int fd, const Piece* pieces, int count, uint64_t offset) {
  KeepErrno keep;
  CHECK(count <= 8, "more pieces than a write takes");
  iovec vector[8];
  uint64_t total = 0;
  for (int i = 0; i < count; ++i) {
    vector[i] = {const_cast<void*>(pieces[i].data), pieces[i].bytes};
    total += pieces[i].bytes;
  }
  ssize_t written;
  do {
    written = pwritev(fd, vector, count, static_cast<off_t>(offset));
  } while (written < 0 && errno == EINTR);
  if (written < 0) return Errno::last();
  uint64_t done = static_cast<uint64_t>(written);
  if (done == total) return {};
  // Short: the rest piece by piece.
  for (int i = 0; i < count; ++i) {
    const uint64_t skip = done < pieces[i].bytes ? done : pieces[i].bytes;
    const uint64_t left = pieces[i].bytes - skip;
    if (left > 0) {
      const Errno e = write_all(fd, static_cast<const char*>(pieces[i].data) + skip, left, offset + skip);
      if (!e.ok()) return e;
    }
    done -= skip;
    offset += pieces[i].bytes;
  }
  return {};
}

Result<uint64_t> read_some(int fd, void* to, uint64_t bytes, uint64_t offset) {
  KeepErrno keep;
  uint64_t got = 0;
  while (got < bytes) {
    const ssize_t n = pread(fd, static_cast<char*>(to) + got, bytes - got, static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Errno::last();
    if (n == 0) break;
    got += static_cast<uint64_t>(n);
  }
  return got;
}

uint64_t next_data(int fd, uint64_t from, uint64_t end) {
  KeepErrno keep;
  const off_t at = lseek(fd, static_cast<off_t>(from), SEEK_DATA);
  if (at < 0) return errno == ENXIO ? end : from;
  return static_cast<uint64_t>(at) < end ? static_cast<uint64_t>(at) : end;
}

namespace {

struct flock lock_of(short type, uint64_t at, uint64_t bytes) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(at);
  lock.l_len = static_cast<off_t>(bytes);  // 0: up to the end
  return lock;
}

Errno lock_range(int fd, uint64_t at, uint64_t bytes) {
  KeepErrno keep;
  struct flock lock = lock_of(F_WRLCK, at, bytes);
  if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
  return errno == EACCES ? Errno(EAGAIN) : Errno::last();
}

bool is_range_locked(int fd, uint64_t at, uint64_t bytes) {
  KeepErrno keep;
  struct flock lock = lock_of(F_WRLCK, at, bytes);
  return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

}  // namespace

Errno lock_whole_file(int fd) { return lock_range(fd, 0, 0); }
bool is_file_locked(int fd) { return is_range_locked(fd, 0, 0); }
Errno lock_byte(int fd, uint64_t at) { return lock_range(fd, at, 1); }
bool is_byte_locked(int fd, uint64_t at) { return is_range_locked(fd, at, 1); }
void unlock_byte(int fd, uint64_t at) {
  KeepErrno keep;
  struct flock lock = lock_of(F_UNLCK, at, 1);
  (void)fcntl(fd, F_OFD_SETLK, &lock);
}

Errno random_bytes(void* to, uint64_t bytes) {
  KeepErrno keep;
  ssize_t n;
  do {
    n = getrandom(to, bytes, 0);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(bytes) ? Errno{} : Errno(EIO);
}

void read_boot_id(char (&text)[40]) {
  if (!read_text("/proc/sys/kernel/random/boot_id", text, 37)) text[0] = '\0';
}

uint64_t wall_clock_ms() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

Result<PageRange> map_shared_readable(int fd, uint64_t bytes) {
  return map(fd, bytes, PROT_READ, MAP_SHARED);
}
Result<PageRange> map_shared_writable(int fd, uint64_t bytes) {
  return map(fd, bytes, PROT_READ | PROT_WRITE, MAP_SHARED);
}
Errno map_shared_readable_at(PageRange range, int fd) {
  KeepErrno keep;
  void* at = mmap(range.base, range.bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
  return at == MAP_FAILED ? Errno::last() : Errno{};
}
Result<PageRange> map_private_memory(uint64_t bytes) {
  return map(-1, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
}
Errno map_private_memory_at(PageRange range) {
  KeepErrno keep;
  void* at = mmap(range.base, range.bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  return at == MAP_FAILED ? Errno::last() : Errno{};
}
Errno replace_by_zeroes(PageRange range) {
  KeepErrno keep;
  void* at = mmap(range.base, range.bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                  -1, 0);
  return at == MAP_FAILED ? Errno::last() : Errno{};
}

namespace {

// One page for the whole process, never given back. Children find zeroes in it.
uint32_t* token_page = nullptr;
uint32_t tokens_given = 0;

}  // namespace

uint32_t process_token() {
  KeepErrno keep;
  uint32_t* page = __atomic_load_n(&token_page, __ATOMIC_ACQUIRE);
  if (page == nullptr) {
    void* at = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return 0;
    if (madvise(at, kPageBytes, MADV_WIPEONFORK) != 0 ||
        !__atomic_compare_exchange_n(&token_page, &page, static_cast<uint32_t*>(at), false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
      munmap(at, kPageBytes);
    else
      page = static_cast<uint32_t*>(at);
    if (page == nullptr) return 0;
  }
  uint32_t none = 0;
  const uint32_t fresh = __atomic_add_fetch(&tokens_given, 1, __ATOMIC_RELAXED);
  return __atomic_compare_exchange_n(page, &none, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ? fresh
                                                                                                    : none;
}

bool is_token_of_this_process(uint32_t token) {
  const uint32_t* page = __atomic_load_n(&token_page, __ATOMIC_ACQUIRE);
  return page == nullptr || __atomic_load_n(page, __ATOMIC_RELAXED) == token;
}

void wait_shared(const void* word, uint32_t value, int milliseconds) {
  KeepErrno keep;
  const timespec limit{milliseconds / 1000, milliseconds % 1000 * 1'000'000L};
  syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, nullptr, 0);
}

}  // namespace spillway::os

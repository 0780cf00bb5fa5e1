#include "base/os/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/units.h"
#include "base/os/keep_errno.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace spillway::os {
Result<Fd> make_memfd(const char* name, uint64_t bytes) {
  KeepErrno keep;
  Fd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return Errno::last();
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return Errno::last();
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) return Errno::last();
  return fd;
}

Errno seal_memfd(int fd) {
  KeepErrno keep;
  return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0 ? Errno{} : Errno::last();
}

Errno seal_memfd_for_others(int fd) {
  KeepErrno keep;
  return fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0 ? Errno{} : Errno::last();
}

bool is_sealed(int fd) {
  KeepErrno keep;
  constexpr int kAll = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
  const int seals = fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & kAll) == kAll;
}

bool is_sealed_for_others(int fd) {
  KeepErrno keep;
  constexpr int kLength = F_SEAL_SHRINK | F_SEAL_GROW;
  const int seals = fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & kLength) == kLength && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0;
}

Result<Fd> reopen_read_only(int fd) {
  KeepErrno keep;
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  Fd again(open(path, O_RDONLY | O_CLOEXEC));
  if (!again.valid()) return Errno::last();
  return again;
}

uint64_t length_of(int fd) {
  KeepErrno keep;
  struct stat st {};
  return fstat(fd, &st) == 0 && st.st_size > 0 ? static_cast<uint64_t>(st.st_size) : 0;
}

uint64_t allocated_bytes(int fd) {
  KeepErrno keep;
  struct stat st {};
  return fstat(fd, &st) == 0 ? static_cast<uint64_t>(st.st_blocks) * 512 : 0;
}

void Mapping::reset() {
  KeepErrno keep;
  if (range_.base != nullptr) munmap(range_.base, range_.bytes);
  range_ = {};
}

Result<Mapping> Mapping::read_only(int fd, uint64_t offset, uint64_t bytes, bool ahead) {
  KeepErrno keep;
  const auto map = [&](int file) {
    return mmap(nullptr, bytes, PROT_READ, MAP_SHARED | (ahead ? MAP_POPULATE : 0), file,
                static_cast<off_t>(offset));
  };
  void* base = map(fd);
  if (base == MAP_FAILED && errno == EPERM) {
    // The descriptor could write, and the file is sealed against that (before Linux 6.7), or is about to be.
    Result<Fd> again = reopen_read_only(fd);
    if (!again) return again.error();
    base = map(again->get());
  }
  if (base == MAP_FAILED) return Errno::last();
  Mapping mapping;
  mapping.range_ = {static_cast<char*>(base), bytes};
  return mapping;
}

Result<Mapping> Mapping::read_write(int fd, uint64_t offset, uint64_t bytes, bool ahead) {
  KeepErrno keep;
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (ahead ? MAP_POPULATE : 0), fd,
                          static_cast<off_t>(offset));
  if (base == MAP_FAILED) return Errno::last();
  Mapping mapping;
  mapping.range_ = {static_cast<char*>(base), bytes};
  if (madvise(base, bytes, MADV_DONTFORK) != 0) return Errno::last();
  return mapping;
}

Result<Mapping> Mapping::anonymous(uint64_t bytes) {
  KeepErrno keep;
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return Errno::last();
  Mapping mapping;
  mapping.range_ = {static_cast<char*>(base), bytes};
  return mapping;
}

void Mapping::populate(uint64_t bytes) {
  KeepErrno keep;
  (void)madvise(range_.base, bytes, MADV_POPULATE_WRITE);  // EINVAL before Linux 5.14
}

Errno Mapping::protect(bool writable) {
  KeepErrno keep;
  return mprotect(range_.base, range_.bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ) == 0
             ? Errno{}
             : Errno::last();
}

}  // namespace spillway::os

#include "base/os/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/core/units.h"
#include "base/os/keep_errno.h"

namespace spillway::os {

Errno make_private_directory(const char* path) {
  KeepErrno keep;
  char part[4096];
  const size_t length = strlen(path);
  if (length == 0 || length >= sizeof part) return Errno(ENAMETOOLONG);
  struct stat st {};
  bool anybodys = false;  // everybody may make entries in what `part` lies in, as in /tmp
  for (size_t i = 1; i <= length; ++i) {
    if (path[i] != '/' && path[i] != 0) continue;
    memcpy(part, path, i);
    part[i] = 0;
    if (mkdir(part, 0700) == 0)
      (void)chmod(part, 0700);  // whatever the umask is
    else if (errno != EEXIST)
      return Errno::last();
    if (lstat(part, &st) != 0) return Errno::last();
    // Who owns it could put another in its place, whatever lies in it.
    if (anybodys && st.st_uid != geteuid() && st.st_uid != 0) return Errno(EPERM);
    if (stat(part, &st) != 0) return Errno::last();
    anybodys = (st.st_mode & 02) != 0;
  }
  if (stat(path, &st) != 0) return Errno::last();
  if (!S_ISDIR(st.st_mode)) return Errno(ENOTDIR);
  if (st.st_uid != geteuid() || (st.st_mode & 022) != 0) return Errno(EPERM);
  return {};
}

Result<Fd> open_file(const char* path, Open how) {
  KeepErrno keep;
  int flags = O_RDONLY;
  switch (how) {
    case Open::kRead:
      break;
    case Open::kReadWrite:
      flags = O_RDWR;
      break;
    case Open::kCreate:
      flags = O_RDWR | O_CREAT | O_EXCL;
      break;
    case Open::kReplace:
      flags = O_RDWR | O_CREAT | O_TRUNC;
      break;
    case Open::kAppend:
      flags = O_RDWR | O_CREAT | O_APPEND;
      break;
    case Open::kOwn:
      flags = O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK;  // it may be a pipe that nobody reads
      break;
  }
  Fd fd(open(path, flags | O_CLOEXEC | O_NOCTTY, 0600));
  if (!fd.valid()) return Errno::last();
  struct stat st {};
  if (how == Open::kOwn) {
    if (fstat(fd.get(), &st) != 0) return Errno::last();
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid()) return Errno(EPERM);
    if ((st.st_mode & 0600) != 0600) (void)fchmod(fd.get(), 0600);  // made under an unusual umask
  }
  return fd;
}

Errno rename_file(const char* from, const char* to) {
  KeepErrno keep;
  return rename(from, to) == 0 ? Errno{} : Errno::last();
}

Errno rename_new(const char* from, const char* to) {
  KeepErrno keep;
  if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 1 /* RENAME_NOREPLACE */) == 0) return {};
  if (errno != EINVAL && errno != ENOSYS) return Errno::last();
  // A file system without it.
  if (link(from, to) != 0) return Errno::last();
  return unlink(from) == 0 ? Errno{} : Errno::last();
}

Errno remove_file(const char* path) {
  KeepErrno keep;
  return unlink(path) == 0 || errno == ENOENT ? Errno{} : Errno::last();
}

Errno remove_directory(const char* path) {
  KeepErrno keep;
  return rmdir(path) == 0 || errno == ENOENT ? Errno{} : Errno::last();
}

bool exists(const char* path) {
  KeepErrno keep;
  return access(path, F_OK) == 0;
}

Kind kind_of(const char* path) {
  KeepErrno keep;
  struct stat st {};
  if (lstat(path, &st) != 0) return errno == ENOENT || errno == ENOTDIR ? Kind::kNothing : Kind::kOther;
  return S_ISREG(st.st_mode)    ? Kind::kFile
         : S_ISDIR(st.st_mode)  ? Kind::kDirectory
         : S_ISSOCK(st.st_mode) ? Kind::kSocket
                                : Kind::kOther;
}

Result<FileIdentity> identify_name(const char* path) {
  KeepErrno keep;
  struct stat st {};
  if (lstat(path, &st) != 0) return Errno::last();
  return FileIdentity{st.st_dev, st.st_ino};
}

Errno truncate_file(int fd, uint64_t bytes) {
  KeepErrno keep;
  return ftruncate(fd, static_cast<off_t>(bytes)) == 0 ? Errno{} : Errno::last();
}

Errno sync_data(int fd) {
  KeepErrno keep;
  return fdatasync(fd) == 0 ? Errno{} : Errno::last();
}

Errno sync_directory(const char* path) {
  KeepErrno keep;
  Fd fd(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return Errno::last();
  return fsync(fd.get()) == 0 ? Errno{} : Errno::last();
}

Result<bool> try_lock_file(int fd) {
  KeepErrno keep;
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) return Errno::last();
  }
  return true;
}

Errno list_directory(const char* path, void (*name)(void* context, const char* name), void* context) {
  KeepErrno keep;
  DIR* const directory = opendir(path);
  if (directory == nullptr) return Errno::last();
  errno = 0;
  while (const dirent* entry = readdir(directory)) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) name(context, entry->d_name);
    errno = 0;
  }
  const Errno error = errno != 0 ? Errno::last() : Errno{};
  closedir(directory);
  return error;
}

Result<DiskRoom> disk_room(const char* path) {
  KeepErrno keep;
  struct statvfs fs {};
  if (statvfs(path, &fs) != 0) return Errno::last();
  return DiskRoom{static_cast<uint64_t>(fs.f_blocks) * fs.f_frsize,
                  static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize};
}

void give_back(int fd, uint64_t offset, uint64_t bytes) {
  const uint64_t from = round_up(offset, kPageBytes), to = round_down(offset + bytes, kPageBytes);
  if (from < to) (void)punch_file(fd, from, to - from).ok();
}

}  // namespace spillway::os

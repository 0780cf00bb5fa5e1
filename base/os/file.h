// file.h - descriptors, and region files: unlinked from birth, so that no end of the process leaves one
// behind.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/core/result.h"

namespace spillway::os {

// Owns a descriptor.
class [[nodiscard]] Fd {
 public:
  constexpr Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void reset();
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// The same file on a high descriptor number, close-on-exec, out of the way of programs that count on low
// ones. What came in when that cannot be had.
Fd move_high(Fd fd);
// open(2) to a high number; invalid: it failed.
Fd open_high(const char* path, int flags);

// Which file a descriptor number means. Programs close descriptors that they did not open (daemons close
// all), and the number may then be somebody's precious file: ask before every write, punch or preallocation.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};
Result<FileIdentity> identify(int fd);

// The calling thread gets a table of descriptors of its own, empty: what it opens never takes the number that
// the program's next open(2) counts on. False: not permitted (seccomp), the program's is used.
bool use_own_descriptors();
// In a thread that was started by one with a table of its own, which it shares.
void share_own_descriptors();
// The calling thread's table is not the program's.
bool has_own_descriptors();
// The program's descriptor, in the calling thread's own table. EBADF: it has none; ENOSYS: before Linux 5.6.
Result<Fd> fetch_descriptor(int programs);

// A new file without a name in `directory`, close-on-exec, on a high descriptor number, out of the way of
// programs that count on low ones. O_TMPFILE where the file system has it (`allow_tmpfile`), else created and
// unlinked. EFBIG, ENOSPC, EROFS, ENOENT, EACCES, EMFILE ...
Result<Fd> open_unlinked(const char* directory, bool allow_tmpfile);

// Opens the file once more, for reading and writing, on a high number: the kernel then knows it apart (its
// read-ahead). EACCES: not this user's any more; ENOENT: no /proc.
Result<Fd> reopen(int fd);

// Length of the file; the new part is a hole. EFBIG: more than the file system or RLIMIT_FSIZE permits
// (checked first: the kernel would send SIGXFSZ).
Errno set_length(int fd, uint64_t bytes);

// Disk blocks for [offset, offset + bytes): from now on writing there cannot fail for lack of space.
// Bytes that are in the file stay. `allow_fallocate` false, or a file system without it: writes zeroes, so
// the range must be a hole then.
Errno preallocate(int fd, uint64_t offset, uint64_t bytes, bool allow_fallocate);

// The range reads as zeroes and keeps its disk blocks. EOPNOTSUPP where the file system cannot.
Errno zero_range(int fd, uint64_t offset, uint64_t bytes);

// Starts writing dirty pages of the range to disk and returns. A hint.
void start_writeback(int fd, uint64_t offset, uint64_t bytes);
// Waits for the writes, then drops pages that are not mapped from the page cache. A hint.
void drop_from_cache(int fd, uint64_t offset, uint64_t bytes);

// Opens for appending, creating it; and the same file as `fd` again, on a high number.
Fd open_append(const char* path);
Fd duplicate(int fd);
// For reading and writing, creating it, on a high number, close-on-exec; its text stays. EBUSY: another
// process has it open so. EINVAL: it is no regular file.
Result<Fd> open_as_only_writer(const char* path);
// The same path from the root, without resolving anything. ENAMETOOLONG; ENOENT: the directory is gone.
Errno absolute_path(const char* path, char* absolute, size_t bytes);
// To a terminal or pipe as well; carries on after short writes.
Errno write_stream(int fd, const char* text, uint64_t bytes);

// Copies bytes into the file. Short writes are carried on; the error is the kernel's.
Errno write_all(int fd, const void* data, uint64_t bytes, uint64_t offset);

// Reads bytes of the file; what is beyond its end is an error (EIO).
Errno read_all(int fd, void* data, uint64_t bytes, uint64_t offset);
// Past the page cache from now on, where the file system can.
void use_direct_io(int fd);
// The range becomes a hole: it reads as zeroes and takes no room.
Errno punch_file(int fd, uint64_t offset, uint64_t bytes);

// Between threads with tables of their own: one end of a pair sends descriptors, the other gets its own.
Errno make_pair(Fd& one, Fd& other);
Errno send_descriptor(int socket, int fd);
Result<Fd> receive_descriptor(int socket);
// Whether fetch_descriptor() and these three are permitted (seccomp: EPERM, ENOSYS), by doing it once.
Errno probe_passing_descriptors();

// tmpfs and ramfs: "out of core" there is memory.
Result<bool> is_in_memory(const char* directory);

}  // namespace spillway::os

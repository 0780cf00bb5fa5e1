// locking_fd.h - a file whose locks are this process's alone.
//
// Locks of open file descriptions are a forked child's as well, and would outlive the process for as long as
// the child does: with the parent dead or the store closed, nobody could write. So a child closes these files
// before fork() returns in it. Threads: as a file descriptor.
#pragma once
#include "base/os/file.h"

namespace spillway::segstore {

class LockingFd {
 public:
  LockingFd() = default;
  explicit LockingFd(os::Fd fd);
  LockingFd(LockingFd&& other) noexcept : fd_(std::move(other.fd_)) {}
  LockingFd& operator=(LockingFd&& other) noexcept;
  ~LockingFd() { reset(); }

  int get() const { return fd_.get(); }
  void reset();  // in a child: it is closed already

 private:
  os::Fd fd_;
};

}  // namespace spillway::segstore

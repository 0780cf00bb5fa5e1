// keep_errno.h - what runs inside free() must leave errno as it found it (POSIX.1-2024, and every libc's
// habit).
#pragma once
#include <cerrno>

namespace spillway {

class [[nodiscard]] KeepErrno {
 public:
  KeepErrno() : saved_(errno) {}
  ~KeepErrno() { errno = saved_; }
  KeepErrno(const KeepErrno&) = delete;
  KeepErrno& operator=(const KeepErrno&) = delete;

 private:
  int saved_;
};

}  // namespace spillway

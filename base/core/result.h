// result.h - failures of the world as values: Errno (what the kernel said) and Result<T> (a value or that).
// Nothing here allocates or throws; both are used inside malloc.
#pragma once
#include <cerrno>
#include <utility>

#include "base/core/check.h"

namespace spillway {

// An errno value that travelled by return; 0 is success.
class [[nodiscard]] Errno {
 public:
  constexpr Errno() = default;
  constexpr explicit Errno(int code) : code_(code) {}
  static Errno last() { return Errno(errno); }

  constexpr bool ok() const { return code_ == 0; }
  constexpr int code() const { return code_; }
  constexpr bool operator==(int code) const { return code_ == code; }

 private:
  int code_ = 0;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: reads as the value
  Result(Errno error) : error_(error) {
    CHECK(!error.ok(), "a Result that failed without a reason");
  }  // NOLINT

  explicit operator bool() const { return error_.ok(); }
  Errno error() const { return error_; }
  T& operator*() {
    CHECK(error_.ok(), "the value of a Result that failed");
    return value_;
  }
  T* operator->() { return &**this; }

 private:
  T value_{};
  Errno error_;
};

}  // namespace spillway

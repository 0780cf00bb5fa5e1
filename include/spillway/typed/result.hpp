// result.hpp - what can go wrong with a typed blob, as a value.
//
// Reading foreign bytes fails often and by design, so views answer with result<T>: a value, or an error of
// four words that names the reason and the position in the blob. Nothing here allocates until somebody asks
// for the message. Builders, whose failures are the world's (a full disk) or the caller's, throw `failure`,
// which carries the same error.
#pragma once
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace spillway::typed {

enum class errc : std::uint8_t {
  ok,
  truncated,       // the bytes end before what they announce
  bad_magic,       // no typed blob at all, or one whose build never finished
  foreign_endian,  // written by a machine of the other byte order
  newer_version,   // needs a reader newer than this one
  out_of_range,    // an offset or a count leads out of the blob
  misaligned,      // an offset, or the memory itself, is not a multiple of 8
  forward,         // a reference that does not point backward: the only way to build a cycle
  too_deep,        // deeper than the format, or the caller's budget, allows
  too_much,        // the caller's budget of visits or of expanded bytes is used up
  bad_tag,         // an unknown kind, code, or one that does not belong here
  bad_utf8,
  unsorted,       // an index, a set, or a directory out of order
  contradiction,  // two parts of the blob say different things
  bad_checksum,
  bad_value,      // a value outside its own domain: a digit above 9, a date in the year 20000
  absent,         // the field was never set
  null_value,     // the field was set to null
  read_only,      // this view may not write
  shared_memory,  // somebody else can still write this memory, so nothing about it can be proven
  wrong_type,     // the value is there and is of another type
  no_such,        // no such key, index or field
  incompatible,   // the reader's type cannot be read from what the writer stored
  unsupported,    // a codec that this program was built without
  value_range,    // the value does not fit the type it should be stored in
  duplicate,      // a key twice, where the policy forbids it
  no_space,       // the buffer is full
  io,             // the operating system refused; sys_errno says why
};

constexpr const char* name_of(errc code) {
  constexpr const char* kNames[] = {"ok",
                                    "truncated",
                                    "bad magic",
                                    "foreign endianness",
                                    "newer version",
                                    "out of range",
                                    "misaligned",
                                    "forward reference",
                                    "too deep",
                                    "too much",
                                    "bad tag",
                                    "bad UTF-8",
                                    "unsorted",
                                    "contradiction",
                                    "bad checksum",
                                    "bad value",
                                    "absent",
                                    "null",
                                    "read-only",
                                    "shared memory",
                                    "wrong type",
                                    "no such",
                                    "incompatible",
                                    "unsupported",
                                    "value range",
                                    "duplicate",
                                    "no space",
                                    "input/output"};
  return kNames[static_cast<std::size_t>(code)];
}

// `what` and `subject` are string literals or names that live as long as the program.
struct error {
  errc code = errc::ok;
  int sys_errno = 0;
  std::uint64_t position = 0;     // in bytes from the blob's first; 0 when no place is to blame
  const char* what = "";          // what was expected
  const char* subject = nullptr;  // the field or file it was about

  std::string message() const {
    std::string text = name_of(code);
    if (subject) text += std::string(": ") + subject;
    // With a colon it says whose expectation it was, and all of it.
    if (what && *what) text += std::string(std::strchr(what, ':') ? ": " : ": expected ") + what;
    if (position) text += " (at byte " + std::to_string(position) + ")";
    return text;
  }
};

class failure : public std::runtime_error {
 public:
  explicit failure(const error& e) : std::runtime_error(e.message()), error_(e) {
    error_.subject = nullptr;  // its text is in what(); the name itself may not outlive us
  }
  failure(errc code, const std::string& text, int sys_errno = 0) : std::runtime_error(text) {
    error_.code = code, error_.sys_errno = sys_errno;
  }
  errc code() const { return error_.code; }
  const error& cause() const { return error_; }

 private:
  error error_;
};

// Out of line, and by value: a result whose address nobody takes lives in registers, and reading a field
// through one costs no stores.
[[noreturn, gnu::noinline, gnu::cold]] inline void raise(errc code, int sys_errno, std::uint64_t position,
                                                         const char* what, const char* subject) {
  throw failure(error{code, sys_errno, position, what, subject});
}
[[noreturn]] inline void fail(errc code, const std::string& text) { throw failure(code, text); }

template <class T>
class [[nodiscard]] result {
 public:
  result(T value) : value_(std::move(value)) {}  // NOLINT: reads as the value
  result(const error& e) : error_(e) {}          // NOLINT: or as what went wrong
  result(errc code, const char* what, std::uint64_t position = 0)
      : error_{code, 0, position, what, nullptr} {}

  explicit operator bool() const { return error_.code == errc::ok; }
  bool ok() const { return error_.code == errc::ok; }
  errc code() const { return error_.code; }
  const typed::error& error() const { return error_; }

  // The value; throws `failure` when there is none.
  [[gnu::always_inline]] const T& value() const& { return check(), value_; }
  T& value() & { return check(), value_; }
  [[gnu::always_inline]] T value() && {
    return check(), std::move(value_);
  }  // by value: a range-for may keep it
  const T& operator*() const& { return value(); }
  T& operator*() & { return value(); }
  T operator*() && { return std::move(*this).value(); }
  const T* operator->() const { return &value(); }
  [[gnu::always_inline]] T* operator->() { return &value(); }
  template <class U>
  T value_or(U&& other) const& {
    return ok() ? value_ : static_cast<T>(std::forward<U>(other));
  }

 private:
  void check() const {
    if (!ok()) [[unlikely]]
      raise(error_.code, error_.sys_errno, error_.position, error_.what, error_.subject);
  }
  T value_{};
  typed::error error_;
};

// Success, or why not.
class [[nodiscard]] status {
 public:
  status() = default;
  status(const error& e) : error_(e) {}  // NOLINT
  status(errc code, const char* what, std::uint64_t position = 0)
      : error_{code, 0, position, what, nullptr} {}
  explicit operator bool() const { return error_.code == errc::ok; }
  bool ok() const { return error_.code == errc::ok; }
  errc code() const { return error_.code; }
  const typed::error& error() const { return error_; }
  void value() const {
    if (!ok()) [[unlikely]]
      raise(error_.code, error_.sys_errno, error_.position, error_.what, error_.subject);
  }

 private:
  typed::error error_;
};

}  // namespace spillway::typed

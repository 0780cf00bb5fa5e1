// os_file.hpp - the few calls to the operating system that writing and mapping need, each checked, each
// retried on EINTR.
#pragma once
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "spillway/typed/result.hpp"

namespace spillway::typed::detail {

[[noreturn]] inline void fail_io(const std::string& doing, int error = errno) {
  throw failure(error == ENOSPC || error == EDQUOT ? errc::no_space : errc::io,
                doing + ": " + std::strerror(error), error);
}

class fd {
 public:
  fd() = default;
  explicit fd(int number) : number_(number) {}
  fd(fd&& o) noexcept : number_(std::exchange(o.number_, -1)) {}
  fd& operator=(fd&& o) noexcept {
    if (this != &o) reset(), number_ = std::exchange(o.number_, -1);
    return *this;
  }
  ~fd() { reset(); }
  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  int release() { return std::exchange(number_, -1); }  // the caller's to close
  int close() {  // 0, or what close() said: the last chance to hear of a failed write
    const int got = number_ < 0 ? 0 : ::close(number_);
    number_ = -1;
    return got;
  }

 private:
  void reset() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
  }
  int number_ = -1;
};

inline void write_at(int file, const void* data, std::size_t bytes, std::uint64_t at,
                     const std::string& name) {
  const char* p = static_cast<const char*>(data);
  while (bytes) {
    const ssize_t wrote = ::pwrite(file, p, bytes, static_cast<off_t>(at));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) fail_io("writing " + name, wrote ? errno : EIO);
    p += wrote, at += static_cast<std::uint64_t>(wrote), bytes -= static_cast<std::size_t>(wrote);
  }
}

inline void read_at(int file, void* data, std::size_t bytes, std::uint64_t at, const std::string& name) {
  char* p = static_cast<char*>(data);
  while (bytes) {
    const ssize_t got = ::pread(file, p, bytes, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail_io("reading back " + name, got ? errno : EIO);
    p += got, at += static_cast<std::uint64_t>(got), bytes -= static_cast<std::size_t>(got);
  }
}

// Memory of containers that are read at random places: what is large gets huge pages where the system has
// them, because otherwise every access misses the translation cache as well.
template <class T>
struct huge_page_allocator {
  using value_type = T;
  static constexpr std::size_t kHugePage = 2 << 20;

  T* allocate(std::size_t n) {
    const std::size_t bytes = n * sizeof(T);
    if (bytes < kHugePage) return std::allocator<T>().allocate(n);
    void* p = ::operator new(bytes, std::align_val_t(kHugePage));
    ::madvise(p, bytes, MADV_HUGEPAGE);  // a wish: refused, the memory is as good
    return static_cast<T*>(p);
  }
  void deallocate(T* p, std::size_t n) {
    if (n * sizeof(T) < kHugePage) return std::allocator<T>().deallocate(p, n);
    ::operator delete(p, std::align_val_t(kHugePage));
  }
  bool operator==(const huge_page_allocator&) const = default;
};

// Where temporary files go when nobody says: TMPDIR, or a directory that is on a disk.
inline std::string default_scratch() {
  const char* named = std::getenv("TMPDIR");
  return named && *named ? named : "/var/tmp";
}

// A file without a name, gone with its descriptor.
inline fd scratch_file(const std::string& directory) {
#ifdef O_TMPFILE
  fd unnamed(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (unnamed) return unnamed;
#endif
  std::string path = directory + "/spillway-typed-XXXXXX";
  fd named(::mkostemp(path.data(), O_CLOEXEC));
  if (!named) fail_io("making a scratch file in " + directory);
  ::unlink(path.c_str());
  return named;
}

}  // namespace spillway::typed::detail

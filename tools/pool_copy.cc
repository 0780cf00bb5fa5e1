// pool_copy.cc - `spillway get` and `put`: bytes between objects and files, pipes and terminals, in little
// memory however many there are. Always: a file that get makes is all of the object, or it is not there.
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <spillway/pool.hpp>

#include "tools/failure.h"
#include "tools/new_file.h"
#include "tools/pool_verbs.h"
#include "tools/pool_view.h"

namespace spillway::tools {
namespace {

constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kLetGoBytes = 16 << 20;  // this much of an object that was written stays in our memory

// On a terminal, how far a long copy is. Every tenth of a second at most.
class Progress {
 public:
  Progress(const char* what, uint64_t total) : what_(what), total_(total), shown_(isatty(2)) {}
  void at(uint64_t bytes) {
    const auto now = std::chrono::steady_clock::now();
    if (!shown_ || now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    drawn_ = true;
    if (total_ == 0) {
      fmt::print(stderr, "\r{} {}  ", what_, size_text(bytes));
      return;
    }
    const int filled = static_cast<int>(30 * bytes / total_);
    fmt::print(stderr, "\r{} [{:<30}] {} of {}  ", what_, std::string(static_cast<size_t>(filled), '#'),
               size_text(bytes), size_text(total_));
  }
  ~Progress() {
    if (drawn_) fmt::print(stderr, "\r\033[K");
  }

 private:
  const char* what_;
  uint64_t total_;
  bool shown_, drawn_ = false;
  std::chrono::steady_clock::time_point last_{};
};

[[noreturn]] void fail(const std::string& what, int error) {
  throw Failure(1, what + ": " + strerror(error));
}

// Until `bytes` are there or the file ends.
size_t read_some(int in, char* to, size_t bytes, const std::string& from) {
  size_t at = 0;
  while (at < bytes) {
    const ssize_t n = ::read(in, to + at, std::min(kPieceBytes, bytes - at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(from, errno);
    if (n == 0) break;
    at += static_cast<size_t>(n);
  }
  return at;
}

void write_all(int out, const char* data, size_t bytes, const std::string& to) {
  while (bytes > 0) {
    const ssize_t n = ::write(out, data, std::min(kPieceBytes, bytes));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EFAULT) throw Failure(1, "the object's file became shorter while it was read");
    if (n < 0) fail(to, errno);
    data += n;
    bytes -= static_cast<size_t>(n);
  }
}

// ---- put

// Bytes on disk, of which it is not known yet how many they are. Without a name: they go with this program.
class Spool {
 public:
  Spool() {
    const char* const named = ::getenv("TMPDIR");
    folder_ = named != nullptr && *named ? named : "/var/tmp";
    file_ = OpenFile(::open(folder_.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
    if (file_.fd() >= 0) return;
    std::string name = folder_ + "/spillway-put-XXXXXX";
    file_ = OpenFile(::mkostemp(name.data(), O_CLOEXEC));
    if (file_.fd() < 0) fail(what(), errno);
    ::unlink(name.c_str());
  }
  void add(const char* data, size_t bytes) {
    write_all(file_.fd(), data, bytes, what());
    bytes_ += bytes;
  }
  // From the beginning, to be read.
  int rewound() {
    ::lseek(file_.fd(), 0, SEEK_SET);
    return file_.fd();
  }
  uint64_t bytes() const { return bytes_; }
  std::string what() const { return folder_ + " (keeps the input until its length is known; $TMPDIR)"; }

 private:
  std::string folder_;
  OpenFile file_;
  uint64_t bytes_ = 0;
};

// Fills the builder, or as much of it as there is.
size_t fill(Builder& builder, int in, const std::string& from) {
  const std::span<char> to = builder.as<char>();
  Progress progress("put", to.size());
  size_t at = 0, let_go = 0;
  while (at < to.size()) {
    const size_t n = read_some(in, to.data() + at, std::min(kPieceBytes, to.size() - at), from);
    if (n == 0) break;
    progress.at(at += n);
    // Memory of an object is shared (pool.h): what is written is there without us, too.
    if (at - let_go >= kLetGoBytes) {
      constexpr uintptr_t kPage = 4096;
      const uintptr_t begin = (reinterpret_cast<uintptr_t>(to.data()) + let_go + kPage - 1) & ~(kPage - 1);
      const uintptr_t end = reinterpret_cast<uintptr_t>(to.data() + at) & ~(kPage - 1);
      ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
      let_go = at;
    }
  }
  return at;
}

void put_spooled(Pool& pool, const SetOptions& options, Spool& spool, int in, const std::string& from) {
  std::string piece(kPieceBytes, '\0');
  Progress progress("put", 0);
  while (const size_t n = read_some(in, piece.data(), piece.size(), from)) {
    spool.add(piece.data(), n);
    progress.at(spool.bytes());
  }
  Builder builder = pool.create(spool.bytes(), options);
  if (fill(builder, spool.rewound(), spool.what()) < spool.bytes())
    throw Failure(1, spool.what() + ": what was written is not there any more");
  (void)std::move(builder).seal();
}

}  // namespace

int get(const Arguments& a) {
  Pool pool = connect(a);
  GetOptions options;
  options.timeout = Milliseconds(static_cast<int64_t>(a.wait_s * 1000));
  const bool named = !a.file.empty() && a.file != "-";
  const Pin pin = pool.get(a.name, options);
  std::optional<NewFile> file;
  if (named)
    file.emplace(a.file, a.force, 1);
  else if (isatty(1) && pin.text().find('\0') != std::string_view::npos)
    throw Failure(1, "the object is binary, and this is a terminal: name a file or redirect");
  Progress progress("get", pin.size());
  for (size_t at = 0; at < pin.size();) {
    const size_t n = std::min(kPieceBytes, pin.size() - at);
    write_all(named ? file->fd() : 1, pin.text().data() + at, n, named ? a.file : "standard output");
    progress.at(at += n);
  }
  if (named) file->complete();
  return 0;
}

int put(const Arguments& a) {
  const bool named = !a.file.empty() && a.file != "-";
  const std::string from = named ? a.file : "standard input";
  const OpenFile file(named ? ::open(a.file.c_str(), O_RDONLY | O_CLOEXEC) : 0);
  const int in = file.fd();
  if (in < 0) fail(from, errno);
  struct stat st {};
  if (::fstat(in, &st) != 0) fail(from, errno);
  if (S_ISDIR(st.st_mode)) throw Failure(1, from + " is a directory");
  Pool pool = connect(a);
  const SetOptions options = put_options(a);
  // What a file says of its length may be nothing (/proc) or no longer true.
  const off_t here = S_ISREG(st.st_mode) ? std::max<off_t>(0, ::lseek(in, 0, SEEK_CUR)) : 0;
  if (S_ISREG(st.st_mode) && st.st_size > here) {
    const size_t bytes = static_cast<size_t>(st.st_size - here);
    Builder builder = pool.create(bytes, options);
    if (fill(builder, in, from) < bytes) throw Failure(1, from + " became shorter while it was read");
    char more = 0;
    if (read_some(in, &more, 1, from) == 0) {
      (void)std::move(builder).seal();
      return 0;
    }
    // It grows: from the start, to its end.
    if (::lseek(in, here, SEEK_SET) < 0) fail(from, errno);
  }
  std::string first(kPieceBytes, '\0');
  first.resize(read_some(in, first.data(), first.size(), from));
  if (first.size() < kPieceBytes) {
    (void)pool.set(first, options);
    return 0;
  }
  Spool spool;
  spool.add(first.data(), first.size());
  put_spooled(pool, options, spool, in, from);
  return 0;
}

}  // namespace spillway::tools

// sink.hpp - where a builder's bytes go: memory that grows, memory that somebody gave, or a file that appears
// at once.
//
// Positions count from the blob's first byte. A sink only ever appends, except for truncate() (a rollback)
// and patch() (the header, last of all). Errors are thrown as `failure`: no_space, io. file_sink writes
// beside the destination and renames at commit(): a build that is killed leaves no file under the final name,
// and readers of an older file keep it. The temporary is unnamed where the file system can do that.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "spillway/typed/os_file.hpp"

namespace spillway::typed {

class sink {
 public:
  virtual ~sink() = default;
  std::uint64_t position() const { return position_; }
  virtual void append(const void* data, std::size_t bytes) = 0;
  virtual void read(std::uint64_t at, void* data, std::size_t bytes) = 0;
  virtual void patch(std::uint64_t at, const void* data, std::size_t bytes) = 0;
  virtual void truncate(std::uint64_t position) = 0;
  virtual void commit() = 0;  // readers see all of it, and it is durable where that means something
  // What was appended so far, as memory; valid until the next append.
  virtual const std::byte* window() = 0;

  void pad(std::size_t bytes) {
    static constexpr char kZeros[64] = {};
    for (; bytes; bytes -= std::min<std::size_t>(bytes, 64)) append(kZeros, std::min<std::size_t>(bytes, 64));
  }

 protected:
  std::uint64_t position_ = 0;
};

// Memory of its own.
class memory_sink final : public sink {
 public:
  void append(const void* data, std::size_t bytes) override {
    if (bytes == 0) return;
    const auto* p = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), p, p + bytes);
    position_ += bytes;
  }
  void read(std::uint64_t at, void* data, std::size_t bytes) override {
    std::memcpy(data, bytes_.data() + at, bytes);
  }
  void patch(std::uint64_t at, const void* data, std::size_t bytes) override {
    std::memcpy(bytes_.data() + at, data, bytes);
  }
  void truncate(std::uint64_t position) override { bytes_.resize(position), position_ = position; }
  void commit() override {}
  const std::byte* window() override { return bytes_.data(); }

  const std::vector<std::byte>& data() const { return bytes_; }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;  // operator new aligns to 16
};

// Memory that is given and does not grow: a pool object, a memfd, an anonymous mapping. Full: no_space.
class span_sink final : public sink {
 public:
  explicit span_sink(std::span<std::byte> memory) : memory_(memory) {
    if (reinterpret_cast<std::uintptr_t>(memory.data()) % 8)
      fail(errc::misaligned, "building into memory: expected an address that is a multiple of 8");
  }
  void append(const void* data, std::size_t bytes) override {
    if (bytes > memory_.size() - position_)
      fail(errc::no_space,
           "building into memory: the buffer of " + std::to_string(memory_.size()) + " bytes is full");
    if (bytes) std::memcpy(memory_.data() + position_, data, bytes);
    position_ += bytes;
  }
  void read(std::uint64_t at, void* data, std::size_t bytes) override {
    std::memcpy(data, memory_.data() + at, bytes);
  }
  void patch(std::uint64_t at, const void* data, std::size_t bytes) override {
    std::memcpy(memory_.data() + at, data, bytes);
  }
  void truncate(std::uint64_t position) override { position_ = position; }
  void commit() override {}
  const std::byte* window() override { return memory_.data(); }

 private:
  std::span<std::byte> memory_;
};

// A file. The last megabytes are still in memory; everything else is read back by pread when it must be.
class file_sink final : public sink {
 public:
  // The blob becomes the file `path`, at commit and at once.
  explicit file_sink(std::string path, mode_t mode = 0644) : path_(std::move(path)), mode_(mode) {
    const std::size_t slash = path_.rfind('/');
    directory_ = slash == std::string::npos ? "." : slash == 0 ? "/" : path_.substr(0, slash);
#ifdef O_TMPFILE
    file_ = detail::fd(::open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, mode));
#endif
    if (!file_) open_named();
  }
  // The blob goes into an open file at `offset`, which the caller chose; commit() makes it durable unless it
  // is only scratch.
  file_sink(int file, std::uint64_t offset, bool durable = true)
      : borrowed_(file), durable_(durable), offset_(offset), path_("file") {
    if (offset % 64) fail(errc::misaligned, "building at an offset: expected a multiple of 64");
  }
  ~file_sink() override {
    unmap();
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }

  void append(const void* data, std::size_t bytes) override {
    if (tail_.size() + bytes > kTail && !tail_.empty()) flush();
    if (bytes > kTail) {
      detail::write_at(number(), data, bytes, offset_ + position_, path_);
      position_ += bytes, flushed_ = position_;
      return;
    }
    const auto* p = static_cast<const char*>(data);
    tail_.insert(tail_.end(), p, p + bytes);
    position_ += bytes;
  }
  void read(std::uint64_t at, void* data, std::size_t bytes) override {
    char* p = static_cast<char*>(data);
    if (at < flushed_) {
      const std::size_t from_file = std::min<std::uint64_t>(bytes, flushed_ - at);
      detail::read_at(number(), p, from_file, offset_ + at, path_);
      p += from_file, at += from_file, bytes -= from_file;
    }
    if (bytes) std::memcpy(p, tail_.data() + (at - flushed_), bytes);
  }
  void patch(std::uint64_t at, const void* data, std::size_t bytes) override {
    flush();
    // The header says that all the rest is there, after a power cut, too. (A file of our own has no name
    // until all of it is.)
    if (borrowed_ >= 0) make_durable();
    detail::write_at(number(), data, bytes, offset_ + at, path_);
  }
  void truncate(std::uint64_t position) override {
    if (position >= flushed_)
      tail_.resize(position - flushed_);
    else
      tail_.clear(), flushed_ = position;
    position_ = position;
  }
  void commit() override {
    flush();
    if (borrowed_ >= 0) return make_durable();
    if (::ftruncate(number(), static_cast<off_t>(position_)) != 0) detail::fail_io("sizing " + path_);
    if (::fsync(number()) != 0) detail::fail_io("flushing " + path_);
    if (temporary_.empty()) link_unnamed();
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) detail::fail_io("renaming to " + path_);
    temporary_.clear();
    if (file_.close() != 0) detail::fail_io("closing " + path_);
    // The name itself is durable only when the directory is.
    detail::fd directory(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory && ::fsync(directory.get()) != 0 && errno != EINVAL)
      detail::fail_io("flushing " + directory_);
  }

  const std::byte* window() override {
    flush();
    if (mapped_bytes_ < position_) {
      unmap();
      const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)), skip = offset_ % page;
      void* at = ::mmap(nullptr, skip + position_, PROT_READ, MAP_SHARED, number(),
                        static_cast<off_t>(offset_ - skip));
      if (at == MAP_FAILED) detail::fail_io("mapping " + path_);
      mapping_ = at, mapping_skip_ = skip, mapped_bytes_ = position_;
    }
    return static_cast<const std::byte*>(mapping_) + mapping_skip_;
  }

 private:
  static constexpr std::size_t kTail = 4 << 20;

  void unmap() {
    if (mapping_) ::munmap(mapping_, mapping_skip_ + mapped_bytes_);
    mapping_ = nullptr, mapped_bytes_ = 0;
  }

  // What cannot be flushed (a pipe, a device) needs none.
  void make_durable() {
    if (durable_ && ::fsync(number()) != 0 && errno != EINVAL && errno != EROFS)
      detail::fail_io("flushing " + path_);
  }

  int number() const { return borrowed_ >= 0 ? borrowed_ : file_.get(); }
  void flush() {
    if (!tail_.empty()) detail::write_at(number(), tail_.data(), tail_.size(), offset_ + flushed_, path_);
    tail_.clear();
    flushed_ = position_;
  }
  std::string temporary_name() const {
    static std::atomic<unsigned> serial{0};
    return path_ + ".building-" + std::to_string(::getpid()) + "-" + std::to_string(serial++);
  }
  // Another name when a build that was killed left one of this process number behind, as in containers.
  template <class Make>
  bool make_named(Make&& make) {
    do {
      temporary_ = temporary_name();
      if (make(temporary_.c_str())) return true;
    } while (errno == EEXIST);
    const int error = errno;
    temporary_.clear();
    errno = error;
    return false;
  }
  void open_named() {
    const auto create = [&](const char* name) {
      file_ = detail::fd(::open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode_));
      return static_cast<bool>(file_);
    };
    if (!make_named(create)) detail::fail_io("creating " + path_);
  }
  // An unnamed file gets a name of its own first: linkat() cannot replace, rename() can.
  void link_unnamed() {
    const std::string self = "/proc/self/fd/" + std::to_string(file_.get());
    const auto link = [&](const char* name) {
      return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0;
    };
    if (!make_named(link)) detail::fail_io("naming " + path_);
  }

  detail::fd file_;
  int borrowed_ = -1;
  bool durable_ = true;
  std::uint64_t offset_ = 0;
  std::string path_, directory_, temporary_;
  mode_t mode_ = 0644;
  std::vector<char> tail_;
  std::uint64_t flushed_ = 0;
  void* mapping_ = nullptr;
  std::uint64_t mapping_skip_ = 0, mapped_bytes_ = 0;
};

}  // namespace spillway::typed

// new_file.h - what a command writes to a file that the user names: all of it is there, or nothing is.
#pragma once
#include <unistd.h>

#include <string>
#include <utility>

namespace spillway::tools {

class OpenFile {
 public:
  explicit OpenFile(int fd = -1) : fd_(fd) {}
  ~OpenFile() {
    if (fd_ > 2) ::close(fd_);
  }
  OpenFile(OpenFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OpenFile& operator=(OpenFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int fd() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// A file that has its name when it is complete: made beside the one it replaces, without a name where the
// file system can do that. What stands in the way is a Failure with the status given.
class NewFile {
 public:
  NewFile(const std::string& path, bool replace, int failure_status);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  int fd() const { return file_.fd(); }
  void complete();

 private:
  [[noreturn]] void fail(const std::string& path, int error) const;

  std::string path_, beside_;
  bool replace_, named_ = false, has_beside_ = false;
  const int failure_status_;
  OpenFile file_;
};

}  // namespace spillway::tools

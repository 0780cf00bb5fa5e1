#include "tools/new_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <random>

#include "tools/failure.h"

namespace spillway::tools {
namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

void NewFile::fail(const std::string& path, int error) const {
  throw Failure(failure_status_, path + ": " + strerror(error));
}

NewFile::NewFile(const std::string& path, bool replace, int failure_status)
    : path_(path), replace_(replace), failure_status_(failure_status) {
  struct stat old {};
  char real[4096];
  if (::stat(path.c_str(), &old) == 0) {
    if (S_ISDIR(old.st_mode)) throw Failure(failure_status_, path + " is a directory; name a file in it");
    if (!replace) throw Failure(failure_status_, path + " exists; --force overwrites it");
    if (!S_ISREG(old.st_mode)) {  // a device or a pipe stays what it is
      file_ = OpenFile(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
      if (file_.fd() < 0) fail(path, errno);
      named_ = true;
      return;
    }
    if (::realpath(path.c_str(), real) != nullptr) path_ = real;  // a link goes on to lead there
  }
  beside_ = fmt::format("{}.{:08x}.tmp", path_, std::random_device()());
  file_ = OpenFile(::open(folder_of(path_).c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666));
  if (file_.fd() < 0) {
    file_ = OpenFile(::open(beside_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file_.fd() < 0) fail(path, errno);
    has_beside_ = true;
  }
  if (old.st_ino != 0) {
    (void)!::fchown(file_.fd(), old.st_uid, old.st_gid);  // as far as that is permitted
    (void)!::fchmod(file_.fd(), old.st_mode & 07777);
  }
}

NewFile::~NewFile() {
  if (has_beside_) ::unlink(beside_.c_str());
}

void NewFile::complete() {
  if (named_) {
    if (::close(file_.release()) != 0) fail(path_, errno);
    return;
  }
  const std::string self = fmt::format("/proc/self/fd/{}", file_.fd());
  const auto link_as = [&](const std::string& name) {
    return has_beside_ ? ::link(beside_.c_str(), name.c_str())
                       : ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW);
  };
  if (!replace_) {
    if (link_as(path_) != 0)
      throw Failure(failure_status_, errno == EEXIST ? path_ + " exists; --force overwrites it"
                                                     : path_ + ": " + strerror(errno));
  } else {
    if (!has_beside_ && link_as(beside_) != 0) fail(path_, errno);
    has_beside_ = true;
    if (::rename(beside_.c_str(), path_.c_str()) != 0) fail(path_, errno);
    has_beside_ = false;
  }
  if (::close(file_.release()) != 0) fail(path_, errno);
}

}  // namespace spillway::tools

// socket_file.h - the name of the daemon's socket, which is removed as long as it means that socket and no
// other: somebody may have put a file or another daemon's socket in its place.
#pragma once
#include <optional>
#include <string>

#include "base/os/folder.h"

namespace spillway::pool {

class SocketFile {
 public:
  SocketFile() = default;
  // What was just made there.
  explicit SocketFile(std::string path) : path_(std::move(path)) {
    if (Result<os::FileIdentity> made = os::identify_name(path_.c_str())) identity_ = *made;
  }
  const std::string& path() const { return path_; }  // "": there is none
  void remove() {
    if (!identity_) return;
    Result<os::FileIdentity> now = os::identify_name(path_.c_str());
    if (now && *now == *identity_) (void)os::remove_file(path_.c_str()).ok();
    identity_.reset();
  }

 private:
  std::string path_;
  std::optional<os::FileIdentity> identity_;
};

}  // namespace spillway::pool

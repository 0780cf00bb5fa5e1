#include "libpool/wire/socket_path.h"

#include <stdlib.h>

#include "base/os/process.h"

namespace spillway::wire {

bool socket_is_named() {
  const char* const path = getenv("SPILLWAY_SOCKET");
  return path != nullptr && *path;
}

std::string default_socket_path() {
  if (socket_is_named()) return getenv("SPILLWAY_SOCKET");
  if (const char* folder = getenv("XDG_RUNTIME_DIR"); folder != nullptr && *folder == '/')
    return std::string(folder) + "/spillway/pool.sock";
  return "/tmp/spillway-" + std::to_string(os::user_id()) + "/pool.sock";
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace spillway::wire

// start.cc - a program that finds no daemon starts one; several that do so at once get the same.
#include <stdlib.h>

#include <cstring>

#include "base/os/folder.h"
#include "base/os/process.h"
#include "libpool/client/client.h"
#include "libpool/wire/socket_path.h"

namespace spillway::client {
namespace {

// What an installed tree and a build tree look like from the library or program this code is in.
std::string find_daemon(const Options& options, std::string& tried) {
  std::vector<std::string> candidates;
  if (!options.daemon.empty()) {
    candidates.push_back(options.daemon);
  } else if (const char* named = getenv("SPILLWAY_DAEMON"); named != nullptr && *named) {
    candidates.push_back(named);
  } else {
    char self[4096];
    os::own_path(self, sizeof self);
    const std::string folder = wire::folder_of(self);
    for (const char* beside : {"/spillwayd", "/../bin/spillwayd", "/../../bin/spillwayd"})
      candidates.push_back(folder + beside);
    std::string path = getenv("PATH") ? getenv("PATH") : "/usr/local/bin:/usr/bin";
    for (size_t at = 0; at <= path.size();) {
      const size_t end = std::min(path.find(':', at), path.size());
      if (end > at) candidates.push_back(path.substr(at, end - at) + "/spillwayd");
      at = end + 1;
    }
  }
  for (const std::string& candidate : candidates) {
    if (os::exists(candidate.c_str())) return candidate;
    tried += (tried.empty() ? "" : ", ") + candidate;
  }
  return "";
}

}  // namespace

Failure start_daemon(const Options& options) {
  std::string tried;
  const std::string daemon = find_daemon(options, tried);
  if (daemon.empty())
    return {SPILLWAY_UNAVAILABLE, "no daemon listens at " + options.socket +
                                      ", and there is no spillwayd to start (tried " + tried + ")"};
  const std::string folder = wire::folder_of(options.socket);
  if (Errno e = os::make_private_directory(folder.c_str()); !e.ok())
    return {SPILLWAY_UNAVAILABLE,
            folder + ": " + (e == EPERM ? "other users own it or may write to it" : strerror(e.code()))};
  const char* const argv[] = {daemon.c_str(),
                              "--socket",
                              options.socket.c_str(),
                              getenv("SPILLWAY_POOL_IDLE_EXIT") ? nullptr : "--idle-exit",
                              "600",
                              nullptr};
  if (Errno e = os::start_daemon(argv, (options.socket + ".log").c_str()); !e.ok())
    return {SPILLWAY_UNAVAILABLE, daemon + ": " + strerror(e.code())};
  return {};
}

}  // namespace spillway::client

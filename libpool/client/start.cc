// start.cc - a program that finds no daemon starts one; several that do so at once get the same.
#include <stdlib.h>

#include <cstring>

#include "base/os/folder.h"
#include "base/os/memfd.h"
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

// What a daemon says before it listens, and after, when nobody looks. A file of that name that is somebody
// else's stays as it is.
Result<os::Fd> open_log(const std::string& path) {
  constexpr std::string_view kFirstWord = "spillwayd: ";
  Result<os::Fd> opened = os::open_file(path.c_str(), os::Open::kOwn);
  if (!opened) return opened.error() == ELOOP ? Errno(EPERM) : opened.error();
  os::Fd log = os::move_high(std::move(*opened));
  char begin[kFirstWord.size()];
  if (os::length_of(log.get()) == 0) {
    constexpr std::string_view kFirstLine = "spillwayd: log of a daemon that a program started\n";
    if (Errno e = os::write_all(log.get(), kFirstLine.data(), kFirstLine.size(), 0); !e.ok()) return e;
  } else if (!os::read_all(log.get(), begin, sizeof begin, 0).ok() ||
             std::string_view(begin, sizeof begin) != kFirstWord) {
    return Errno(EPERM);
  }
  return log;
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
  const char* const argv[] = {daemon.c_str(),        "--socket", options.socket.c_str(),
                              "--started-by-client", "1",        nullptr};
  const std::string log_path = options.socket + ".log";
  Result<os::Fd> log = open_log(log_path);
  if (!log)
    return {SPILLWAY_UNAVAILABLE,
            log_path + ": " +
                (log.error() == EPERM ? "it is there and no log of spillwayd's; it stays as it is"
                                      : strerror(log.error().code()))};
  if (Errno e = os::start_daemon(argv, log->get()); !e.ok())
    return {SPILLWAY_UNAVAILABLE, daemon + ": " + strerror(e.code())};
  return {};
}

}  // namespace spillway::client

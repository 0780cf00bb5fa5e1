#include "libpreload/backing/directory.h"

#include <cstdio>
#include <cstring>

#include "base/os/limits.h"
#include "libpreload/settings.h"

namespace spillway {

constinit Directory region_directory;

Result<os::Fd> Directory::try_directory(const char* directory) {
  if (strlen(directory) >= kPathBytes) return Errno(ENAMETOOLONG);
  return os::open_unlinked(directory, !settings.masked.tmpfile);
}

Result<os::Fd> Directory::choose() {
  constexpr const char* kCandidates[] = {"/var/tmp", "/tmp"};
  const char* wanted = settings.directory;
  Errno reason(ENOENT);

  if (wanted != nullptr) {
    if (Result<os::Fd> fd = try_directory(wanted)) {
      auto in_memory = os::is_in_memory(wanted);
      if (in_memory && *in_memory)
        settings.warn("%s=%s is in memory (tmpfs), so nothing leaves memory; name a directory on a disk",
                      settings.directory_name, wanted);
      snprintf(path_, sizeof path_, "%s", wanted);
      return fd;
    } else {
      reason = fd.error();
    }
  }
  // Out of descriptors is out of descriptors everywhere.
  if (reason == EMFILE || reason == ENFILE) return reason;

  for (const bool accept_memory : {false, true}) {
    for (const char* candidate : kCandidates) {
      auto in_memory = os::is_in_memory(candidate);
      if (!in_memory || (*in_memory && !accept_memory)) continue;
      Result<os::Fd> fd = try_directory(candidate);
      if (!fd) {
        if (wanted == nullptr) reason = fd.error();
        continue;
      }
      if (wanted != nullptr)
        settings.warn("%s=%s: %s; expected a directory this user can write to; using %s%s",
                      settings.directory_name, wanted, strerror(reason.code()), candidate,
                      *in_memory ? ", which is in memory (tmpfs)" : "");
      else if (*in_memory)
        settings.warn(
            "%s is in memory (tmpfs), so nothing leaves memory; set SPILLWAY_DIR to a directory on a disk",
            candidate);
      snprintf(path_, sizeof path_, "%s", candidate);
      return fd;
    }
  }
  return reason;
}

Result<os::Fd> Directory::open_file() {
  if (path_[0] == '\0') return choose();
  return try_directory(path_);
}

Errno Directory::change(const char* directory) {
  if (Result<os::Fd> fd = try_directory(directory); !fd) return fd.error();
  snprintf(path_, sizeof path_, "%s", directory);
  return {};
}

const char* Directory::path() {
  if (path_[0] == '\0')
    if (Result<os::Fd> fd = choose(); !fd)
      return settings.directory != nullptr ? settings.directory : "/var/tmp";
  return path_;
}

}  // namespace spillway

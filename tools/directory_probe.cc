#include "tools/directory_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tools/host_probe.h"
#include "tools/settings.h"

namespace fs = std::filesystem;

namespace spillway::tools {
namespace {

constexpr off_t kLibraryFileBytes = off_t{64} << 30;  // one sparse file holds many blocks
constexpr off_t kTrialBytes = 64 << 10;

int error_unless(bool done) { return done ? 0 : errno; }

// A file without a name; -1 and errno.
int create_unlinked(const std::string& directory) {
  std::string name = directory + "/spillway-XXXXXX";
  const int fd = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd >= 0) ::unlink(name.c_str());
  return fd;
}

void try_files(Directory& directory) {
  const int unnamed = ::open(directory.path.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
  directory.tmpfile_error = is_masked("tmpfile") ? EOPNOTSUPP : error_unless(unnamed >= 0);
  const int fd = unnamed >= 0 ? unnamed : create_unlinked(directory.path);
  directory.create_error = error_unless(fd >= 0);
  if (fd < 0) return;

  // A length past RLIMIT_FSIZE sends SIGXFSZ as well, and that is not what is asked here: the doctor reads
  // the limit.
  ::signal(SIGXFSZ, SIG_IGN);
  directory.length_error = error_unless(::ftruncate(fd, kLibraryFileBytes) == 0);
  directory.fallocate_error =
      is_masked("fallocate") ? EOPNOTSUPP : error_unless(::fallocate(fd, 0, 0, kTrialBytes) == 0);
  constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  directory.punch_error =
      is_masked("punch") ? EOPNOTSUPP : error_unless(::fallocate(fd, kPunch, 0, kTrialBytes) == 0);
  ::close(fd);
}

// Blanks in /proc/self/mountinfo are written as \040.
std::string unescaped(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>(::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

bool is_below(const std::string& path, const std::string& mount_point) {
  return mount_point == "/" || path == mount_point || path.starts_with(mount_point + "/");
}

// Lines such as "36 35 98:0 /root /mount/point rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue".
void find_mount(Directory& directory) {
  std::error_code ignored;
  const std::string path = fs::canonical(directory.path, ignored).string();
  size_t longest = 0;
  std::ifstream file("/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string skipped, mount_point, options, word, file_system, source, super_options;
    fields >> skipped >> skipped >> skipped >> skipped >> mount_point >> options;
    while (fields >> word && word != "-") {
    }
    fields >> file_system >> source >> super_options;
    mount_point = unescaped(mount_point);
    // The last of equally long ones: it is mounted over the others.
    if (!is_below(path, mount_point) || mount_point.size() < longest) continue;
    longest = mount_point.size();
    directory.file_system = file_system;
    directory.source = unescaped(source);
    directory.mount_point = mount_point;
    directory.options = options + "," + super_options;
  }
}

// btrfs and overlayfs number their files with a device that is none: then the mount's source is asked.
dev_t device_of(const Directory& directory) {
  struct stat status;
  if (::stat(directory.path.c_str(), &status) != 0) return 0;
  if (major(status.st_dev) != 0) return status.st_dev;
  struct stat source;
  if (::stat(directory.source.c_str(), &source) == 0 && S_ISBLK(source.st_mode)) return source.st_rdev;
  return status.st_dev;
}

void find_device(Directory& directory) {
  const dev_t device = device_of(directory);
  const std::string number = fmt::format("{}:{}", major(device), minor(device));
  const std::string block = "/sys/dev/block/" + number;
  // A partition has no queue of its own, its disk has; a network mount has a bdi only.
  for (const std::string& queue : {block + "/queue", block + "/../queue"}) {
    std::error_code error;
    const std::string resolved = fs::canonical(queue, error).string();
    if (error) continue;
    directory.disk = fs::path(resolved).parent_path().filename().string();
    directory.read_ahead_file = "/sys/block/" + directory.disk + "/queue/read_ahead_kb";
    directory.rotational = read_number(resolved + "/rotational") == 1;
    break;
  }
  if (directory.read_ahead_file.empty())
    directory.read_ahead_file = "/sys/class/bdi/" + number + "/read_ahead_kb";
  directory.read_ahead_kib = read_number(directory.read_ahead_file);
}

Directory examine(const std::string& path, const std::string& chosen_by) {
  Directory directory;
  directory.path = path;
  directory.chosen_by = chosen_by;
  try_files(directory);
  struct statfs kind;
  if (::statfs(path.c_str(), &kind) == 0)
    directory.in_memory = kind.f_type == TMPFS_MAGIC || kind.f_type == RAMFS_MAGIC;
  struct statvfs space;
  if (::statvfs(path.c_str(), &space) == 0)
    directory.free_bytes = uint64_t{::geteuid() == 0 ? space.f_bfree : space.f_bavail} * space.f_frsize;
  find_mount(directory);
  find_device(directory);
  return directory;
}

}  // namespace

Directory choose_directory(const std::string& option) {
  std::string wanted = option, asked_by = "--dir";
  for (const char* variable : {"SPILLWAY_DIR", "TMPDIR"}) {
    if (!wanted.empty()) break;
    wanted = environment_variable(variable);
    asked_by = variable;
  }
  Directory chosen, passed_over;
  if (!wanted.empty()) {
    passed_over = examine(wanted, asked_by);
    if (passed_over.create_error == 0) return passed_over;
  }
  for (const char* candidate : {"/var/tmp", "/tmp"}) {
    Directory directory = examine(candidate, "the default");
    const bool usable = directory.create_error == 0;
    const bool better = chosen.path.empty() || (usable && chosen.create_error != 0) ||
                        (usable && chosen.in_memory && !directory.in_memory);
    if (better) chosen = std::move(directory);
  }
  chosen.passed_over = passed_over.path;
  chosen.passed_over_for = passed_over.chosen_by;
  chosen.passed_over_error = passed_over.create_error;
  return chosen;
}

}  // namespace spillway::tools

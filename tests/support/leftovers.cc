#include "tests/support/leftovers.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "tests/support/loop_disk.h"
#include "tests/support/memory_cap.h"
#include "tests/support/program.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/wait.h"

namespace fs = std::filesystem;

namespace spillway::test {
namespace {

bool is_below(const std::string& path, const std::string& dir) { return path.starts_with(dir + "/"); }

std::string names_in(const std::string& dir) {
  std::string names;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(dir, ignored))
    names += entry.path().string() + "\n";
  return names;
}

}  // namespace

std::vector<std::string> open_files_below(const std::string& dir) {
  std::vector<std::string> found;
  std::error_code ignored;  // processes come and go while we look
  for (const auto& process : fs::directory_iterator("/proc", ignored)) {
    const std::string pid = process.path().filename().string();
    if (!std::all_of(pid.begin(), pid.end(), [](char c) { return c >= '0' && c <= '9'; })) continue;
    for (const auto& fd : fs::directory_iterator(process.path() / "fd", ignored)) {
      const std::string target = fs::read_symlink(fd.path(), ignored).string();
      if (is_below(target, dir)) found.push_back(pid + ": " + target);
    }
    std::istringstream maps(read_file(process.path().string() + "/maps"));
    for (std::string line; std::getline(maps, line);) {
      const size_t at = line.find('/');
      if (at != std::string::npos && is_below(line.substr(at), dir))
        found.push_back(pid + ": " + line.substr(at));
    }
  }
  return found;
}

std::string leftovers(const std::string& dir) {
  std::string left;
  (void)wait_until([&] {
    left = names_in(dir);
    for (const std::string& file : open_files_below(dir)) left += "open: " + file + "\n";
    for (pid_t pid : descendants()) left += "process " + std::to_string(pid) + "\n";
    return left.empty();
  });
  return left;
}

void remove_stale_leftovers() {
  remove_stale_memory_caps();
  remove_stale_loop_disks();
  std::error_code ignored;
  for (const char* base : {"/var/tmp", "/dev/shm"}) {
    for (const auto& entry : fs::directory_iterator(base, ignored)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with("spillway-test-")) continue;
      const pid_t owner = static_cast<pid_t>(std::atoi(name.c_str() + 14));
      if (owner > 0 && ::kill(owner, 0) != 0 && errno == ESRCH) fs::remove_all(entry.path(), ignored);
    }
  }
}

}  // namespace spillway::test

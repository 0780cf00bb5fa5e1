#include "tests/support/memory_cap.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "tests/support/needs.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/wait.h"

namespace fs = std::filesystem;

namespace spillway::test {
namespace {

constexpr const char* kPrefix = "spillway-test-";

struct Hierarchy {
  std::string dir;  // empty: none
  bool v2 = false;
};

Hierarchy hierarchy() {
  if (::access("/sys/fs/cgroup/memory/memory.limit_in_bytes", W_OK) == 0)
    return {"/sys/fs/cgroup/memory", false};
  for (const char* root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    const std::string controllers = read_file(std::string(root) + "/cgroup.controllers");
    if (controllers.find("memory") == std::string::npos) continue;
    std::ofstream(std::string(root) + "/cgroup.subtree_control") << "+memory";
    if (read_file(std::string(root) + "/cgroup.subtree_control").find("memory") != std::string::npos)
      return {root, true};
  }
  return {};
}

bool write_value(const std::string& path, const std::string& value) {
  std::ofstream out(path);
  out << value << std::flush;
  return out.good();
}

std::vector<pid_t> processes_in(const std::string& dir) {
  std::istringstream list(read_file(dir + "/cgroup.procs"));
  std::vector<pid_t> pids;
  for (pid_t pid; list >> pid;) pids.push_back(pid);
  return pids;
}

void remove_group(const std::string& dir) {
  (void)wait_until([&] {
    for (pid_t pid : processes_in(dir)) ::kill(pid, SIGKILL);
    return ::rmdir(dir.c_str()) == 0 || errno == ENOENT;
  });
}

// "key value" lines, as in memory.events.
size_t value_of(const std::string& text, const std::string& key) {
  std::istringstream in(text);
  std::string name;
  for (size_t value; in >> name >> value;) {
    if (name == key) return value;
  }
  return 0;
}

}  // namespace

bool MemoryCap::possible() {
  if (!needs_root()) return false;
  if (!hierarchy().dir.empty()) return true;
  skip("needs a memory cgroup hierarchy that can be written");
  return false;
}

MemoryCap::MemoryCap(size_t bytes) : bytes_(bytes) {
  static int count = 0;
  const Hierarchy h = hierarchy();
  v2_ = h.v2;
  dir_ = h.dir + "/" + kPrefix + std::to_string(::getpid()) + "-" + std::to_string(count++);
  if (h.dir.empty() || ::mkdir(dir_.c_str(), 0755) != 0)
    throw std::runtime_error("mkdir " + dir_ + ": " + ::strerror(errno));
  const std::string value = std::to_string(bytes);
  if (!write_value(dir_ + (v2_ ? "/memory.max" : "/memory.limit_in_bytes"), value)) {
    ::rmdir(dir_.c_str());
    throw std::runtime_error("cannot limit " + dir_);
  }
  // Without swap accounting in the kernel these files do not exist; then there is nothing to forbid here.
  write_value(dir_ + (v2_ ? "/memory.swap.max" : "/memory.memsw.limit_in_bytes"), v2_ ? "0" : value);
}

MemoryCap::~MemoryCap() { remove_group(dir_); }

size_t MemoryCap::peak_bytes() const {
  const std::string text = read_file(dir_ + (v2_ ? "/memory.peak" : "/memory.max_usage_in_bytes"));
  return text.empty() ? 0 : std::stoull(text);
}

size_t MemoryCap::oom_kills() const {
  return value_of(read_file(dir_ + (v2_ ? "/memory.events" : "/memory.oom_control")), "oom_kill");
}

std::vector<pid_t> MemoryCap::processes() const { return processes_in(dir_); }

void remove_stale_memory_caps() {
  std::error_code ignored;
  const Hierarchy h = hierarchy();
  if (h.dir.empty()) return;
  for (const auto& entry : fs::directory_iterator(h.dir, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const pid_t owner = static_cast<pid_t>(::atoi(name.c_str() + ::strlen(kPrefix)));
    if (owner > 0 && ::kill(owner, 0) != 0 && errno == ESRCH) remove_group(entry.path().string());
  }
}

}  // namespace spillway::test

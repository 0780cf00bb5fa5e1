// memory_cap.h - a memory cgroup of a test's own: programs started in it may use so much memory and no more.
//
// cgroup v1 (memory.limit_in_bytes) and v2 (memory.max) alike; page cache of the program's files counts too,
// and swap does not help. Needs root: ask MemoryCap::possible() first. The destructor kills what still runs
// in the group and removes it; a group left by a killed runner is removed by the next one (leftovers.h).
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include <sys/types.h>

namespace spillway::test {

class MemoryCap {
 public:
  explicit MemoryCap(size_t bytes);
  ~MemoryCap();
  MemoryCap(const MemoryCap&) = delete;
  MemoryCap& operator=(const MemoryCap&) = delete;

  static bool possible();  // false: says SKIPPED and why

  std::string procs_file() const { return dir_ + "/cgroup.procs"; }
  size_t bytes() const { return bytes_; }
  size_t peak_bytes() const;  // the most that was in use, page cache included
  size_t oom_kills() const;
  std::vector<pid_t> processes() const;

 private:
  size_t bytes_;
  std::string dir_;
  bool v2_ = false;
};

// Removes the cgroups of runners that no longer live.
void remove_stale_memory_caps();

}  // namespace spillway::test

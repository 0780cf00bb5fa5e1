#include "base/os/limits.h"

#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/core/units.h"
#include "base/os/file.h"
#include "base/os/procfs.h"

namespace spillway::os {
namespace {

uint64_t limit_of(__rlimit_resource resource) {
  rlimit limit{};
  return getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur : UINT64_MAX;
}

// The number in a file, or "no limit" when it is "max", not a number, or not there.
uint64_t limit_in(const char* path) {
  char text[64];
  if (!read_text(path, text, sizeof text)) return UINT64_MAX;
  char* end = nullptr;
  const unsigned long long n = strtoull(text, &end, 10);
  return end == text ? UINT64_MAX : n;
}

// The least of `file` in root/group and all groups above it.
uint64_t least_up_the_tree(const char* root, char* group, const char* file) {
  uint64_t least = UINT64_MAX;
  for (;;) {
    char path[1024];
    const int n = snprintf(path, sizeof path, "%s%s/%s", root, group, file);
    if (n > 0 && static_cast<size_t>(n) < sizeof path) least = std::min(least, limit_in(path));
    char* slash = strrchr(group, '/');
    if (slash == nullptr) return least;
    *slash = '\0';
  }
}

// /proc/self/cgroup has lines "4:memory:/group" (v1) and "0::/group" (v2).
uint64_t cgroup_limit() {
  char text[4096];
  if (!read_text("/proc/self/cgroup", text, sizeof text)) return UINT64_MAX;
  uint64_t least = UINT64_MAX;
  char* rest = nullptr;
  for (char* line = strtok_r(text, "\n", &rest); line != nullptr; line = strtok_r(nullptr, "\n", &rest)) {
    char* controllers = strchr(line, ':');
    char* group = controllers != nullptr ? strchr(controllers + 1, ':') : nullptr;
    if (group == nullptr) continue;
    *group++ = '\0';
    if (strcmp(group, "/") == 0) *group = '\0';
    if (controllers[1] == '\0')
      least = std::min(least, least_up_the_tree("/sys/fs/cgroup", group, "memory.max"));
    else if (strcmp(controllers + 1, "memory") == 0)
      least = std::min(least, least_up_the_tree("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
  }
  return least;
}

}  // namespace

uint64_t file_size_limit() { return limit_of(RLIMIT_FSIZE); }
uint64_t address_space_limit() { return limit_of(RLIMIT_AS); }

uint64_t machine_memory_bytes() { return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * kPageBytes; }
uint64_t memory_limit_bytes() { return std::min(machine_memory_bytes(), cgroup_limit()); }

uint64_t chunk_of_address_space(uint64_t needed) {
  const uint64_t limit = address_space_limit();
  const uint64_t wanted = limit == UINT64_MAX ? 64 * kGiB : round_down(limit / 16, kExtentBytes);
  return std::max(wanted, needed);
}

uint64_t read_ahead_bytes(int fd) {
  constexpr uint64_t kDefault = 128 * kKiB;
  auto file = identify(fd);
  if (!file) return kDefault;
  // A partition has no queue of its own, its disk has.
  for (const char* queue : {"queue", "../queue"}) {
    char path[128];
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s/read_ahead_kb", major(file->device),
             minor(file->device), queue);
    if (const uint64_t kib = limit_in(path); kib != UINT64_MAX)
      return std::max<uint64_t>(kib * kKiB, kPageBytes);
  }
  return kDefault;
}

}  // namespace spillway::os

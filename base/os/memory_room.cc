#include "base/os/memory_room.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/core/units.h"
#include "base/os/keep_errno.h"
#include "base/os/procfs.h"

namespace spillway::os {
namespace {

constexpr size_t kMostText = 8192;

// All of a small file, again.
bool read_again(const Fd& fd, char* text, size_t bytes) {
  KeepErrno keep;
  const ssize_t n = fd.valid() ? pread(fd.get(), text, bytes - 1, 0) : -1;
  text[std::max<ssize_t>(n, 0)] = '\0';
  return n > 0;
}

// "max", or nothing there: no limit.
uint64_t number_in(const Fd& fd) {
  char text[64];
  if (!read_again(fd, text, sizeof text)) return UINT64_MAX;
  char* end = nullptr;
  const unsigned long long n = strtoull(text, &end, 10);
  return end == text ? UINT64_MAX : n;
}

}  // namespace

void MemoryRoom::add_group(const char* directory, bool is_v2) {
  if (group_count_ == kMostGroups) return;
  const auto open = [&](const char* file) {
    char path[1024];
    const int n = snprintf(path, sizeof path, "%s/%s", directory, file);
    return n > 0 && static_cast<size_t>(n) < sizeof path ? open_high(path, O_RDONLY) : Fd();
  };
  Group group;
  group.is_v2 = is_v2;
  group.limit = open(is_v2 ? "memory.max" : "memory.limit_in_bytes");
  if (is_v2) group.high = open("memory.high");
  // Who may not see the limit, or has none, saves the rest. A limit that is set later is not seen.
  const uint64_t machine = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * kPageBytes;
  if (std::min(number_in(group.limit), number_in(group.high)) >= machine) return;
  group.usage = open(is_v2 ? "memory.current" : "memory.usage_in_bytes");
  group.statistics = open("memory.stat");
  if (group.usage.valid() && group.statistics.valid()) groups_[group_count_++] = std::move(group);
}

void MemoryRoom::open() {
  meminfo_ = open_high("/proc/meminfo", O_RDONLY);
  // Lines "4:memory:/group" (v1) and "0::/group" (v2).
  char text[4096];
  if (!read_text("/proc/self/cgroup", text, sizeof text)) return;
  char* rest = nullptr;
  for (char* line = strtok_r(text, "\n", &rest); line != nullptr; line = strtok_r(nullptr, "\n", &rest)) {
    char* controllers = strchr(line, ':');
    char* group = controllers != nullptr ? strchr(controllers + 1, ':') : nullptr;
    if (group == nullptr) continue;
    *group++ = '\0';
    const bool is_v2 = controllers[1] == '\0';
    if (!is_v2 && strcmp(controllers + 1, "memory") != 0) continue;
    // Within a container the path may be the host's: what is not there is skipped, and the root is looked at.
    for (char* end = group + strlen(group);;) {
      *end = '\0';
      char directory[1024];
      snprintf(directory, sizeof directory, "%s%s", is_v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory",
               strcmp(group, "/") == 0 ? "" : group);
      add_group(directory, is_v2);
      end = strrchr(group, '/');
      if (end == nullptr) break;
    }
  }
}

void MemoryRoom::forget() {
  (void)meminfo_.release();
  for (; group_count_ > 0; --group_count_) {
    Group& group = groups_[group_count_ - 1];
    for (Fd* fd : {&group.limit, &group.high, &group.usage, &group.statistics}) (void)fd->release();
  }
}

int64_t MemoryRoom::left_in(const Group& group) {
  char text[kMostText];
  const uint64_t limit = std::min(number_in(group.limit), number_in(group.high));
  const uint64_t usage = number_in(group.usage);
  if (limit == UINT64_MAX || usage == UINT64_MAX || !read_again(group.statistics, text, sizeof text))
    return INT64_MAX;
  const auto number = [&](const char* key) { return field(text, key); };
  // Shared memory is in the page cache, and cannot be dropped.
  const uint64_t cache = group.is_v2 ? number("file ") : number("total_cache ");
  const uint64_t shared = group.is_v2 ? number("shmem ") : number("total_shmem ");
  const uint64_t reclaimable = cache - std::min(cache, shared) + number("slab_reclaimable ");
  const uint64_t reserve =
      std::max(limit / kReserveShare, std::min(limit / kLargestReserveShare, kReserveBytes));
  const auto usable = static_cast<int64_t>(limit - reserve);
  return usable - static_cast<int64_t>(usage - std::min(usage, reclaimable));
}

int64_t MemoryRoom::left() const {
  int64_t least = INT64_MAX;
  char text[kMostText];
  if (read_again(meminfo_, text, sizeof text))
    if (const uint64_t kib = field(text, "MemAvailable:"); kib != 0)
      least = static_cast<int64_t>(kib * kKiB - kib * kKiB / kReserveShare);
  for (int i = 0; i < group_count_; ++i) least = std::min(least, left_in(groups_[i]));
  return least;
}

}  // namespace spillway::os

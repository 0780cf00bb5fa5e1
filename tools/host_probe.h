// host_probe.h - facts about this host, tried rather than looked up where that is possible.
//
// Facts only: what they cost and what mends them is the doctor's to say (doctor.h). SPILLWAY_MASK hides
// features here as it does in the library, so that a host without them can be shown anywhere.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace spillway::tools {

// First line of a file of /proc or /sys, "" when it cannot be read.
std::string read_line(const std::string& path);
std::optional<uint64_t> read_number(const std::string& path);
// "key: 123 kB" of /proc/meminfo, in bytes.
std::optional<uint64_t> meminfo_bytes(const std::string& key);

// The chosen word of a list such as "always [madvise] never".
std::string chosen_word(const std::string& list);

struct MemoryLimit {
  uint64_t bytes = 0;
  std::string file;  // the limit is written there
};
// The least limit of the process's memory cgroup and the groups above it, v1 or v2. nullopt: none.
std::optional<MemoryLimit> cgroup_memory_limit();

struct Userfaultfd {
  int error = 0;                // 0: faults of the kernel are served as well (full mode)
  bool user_mode_only = false;  // only faults of the program's own code
  bool has_move = false;        // UFFDIO_MOVE, kernel 6.8
};
Userfaultfd probe_userfaultfd();

// Sampling of major faults with their addresses, of one's own process: 0, or an errno.
int probe_perf_events();

}  // namespace spillway::tools

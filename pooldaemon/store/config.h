// config.h - the settings of a pool: names, meaning, units, defaults, in one table, for flags, environment,
// TOML file and `spillway pool config` alike.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "pooldaemon/store/disk.h"
#include "pooldaemon/store/policy.h"

namespace spillway::pool {

struct Config {
  static constexpr uint64_t kNone = ~uint64_t{0};
  uint64_t memory_limit = 0;  // bytes; 0 at first: half of what there is
  uint64_t total_limit = kNone;
  unsigned recycle = 25;  // percent of memory_limit
  uint64_t disk_limit = ~uint64_t{0};
  uint64_t disk_least_free = uint64_t{256} << 20;
  uint64_t client_limit = ~uint64_t{0};
  std::vector<DirectoryOption> directories;
  PolicyKind policy = PolicyKind::kLru;
  unsigned high_watermark = 100, low_watermark = 100;  // percent of memory_limit
  uint64_t max_object = ~uint64_t{0};
  std::string filters;
  uint64_t programs_limit = 0;  // 0: 80 % of the machine's memory
  unsigned io_threads = 2;
  uint64_t orphan_grace_s = 600;
  uint64_t idle_exit_s = 0;  // 0: never
  unsigned metrics_port = 0;
  bool system_wide = false;
  std::vector<std::string> stores;  // segment stores to write for others
};

struct Setting {
  const char* name;   // "memory_limit"; the flag is --memory-limit, the variable SPILLWAY_POOL_MEMORY_LIMIT
  const char* value;  // what it is, for help
  const char* help;
  bool while_running;
  std::string (*set)(Config& config, const std::string& text);  // what is wrong, or nothing
  std::string (*get)(const Config& config);
};
const std::vector<Setting>& settings();
const Setting* find_setting(const std::string& name);
// What no single setting can say.
std::string check(const Config& config);

}  // namespace spillway::pool

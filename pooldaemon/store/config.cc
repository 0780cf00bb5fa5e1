#include "pooldaemon/store/config.h"

#include <fmt/format.h>

#include <charconv>

#include "base/os/limits.h"
#include "libpool/format/filters.h"
#include "pooldaemon/store/own_memory.h"
#include "spillway/size.hpp"

namespace spillway::pool {
namespace {

std::string set_bytes(uint64_t& to, const std::string& text, bool percent_of_memory = false) {
  const auto bytes =
      percent_of_memory ? parse_size_or_percent(text, os::memory_limit_bytes()) : parse_size(text);
  if (text == "none" && !percent_of_memory) {
    to = ~uint64_t{0};
    return "";
  }
  if (!bytes || *bytes == 0)
    return fmt::format("{}: expected {}{}", text, kSizeForms,
                       percent_of_memory ? ", or a percentage of the memory" : ", or none");
  to = *bytes;
  return "";
}

template <typename T>
std::string set_number(T& to, const std::string& text, uint64_t least, uint64_t most, const char* unit) {
  uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < least || n > most)
    return fmt::format("{}: expected a whole number of {} from {} to {}", text, unit, least, most);
  to = static_cast<T>(n);
  return "";
}

std::string set_directories(Config& c, const std::string& text) {
  std::vector<DirectoryOption> directories;
  size_t at = 0;
  while (at <= text.size()) {
    size_t end = std::min(text.find(',', at), text.size());
    DirectoryOption option;
    option.path = text.substr(at, end - at);
    if (const size_t equals = option.path.rfind('='); equals != std::string::npos) {
      if (std::string why = set_bytes(option.limit_bytes, option.path.substr(equals + 1)); !why.empty())
        return why;
      option.path.resize(equals);
    }
    while (option.path.size() > 1 && option.path.back() == '/') option.path.pop_back();
    if (option.path.empty() || option.path[0] != '/')
      return fmt::format(
          "{}: expected absolute paths, each with =SIZE where it has a limit of its own, joined by commas",
          text);
    for (const DirectoryOption& other : directories)
      if (other.path == option.path) return fmt::format("{} is named twice", option.path);
    directories.push_back(option);
    at = end + 1;
  }
  c.directories = std::move(directories);
  return "";
}

std::string bytes_text(uint64_t bytes) { return bytes == ~uint64_t{0} ? "none" : fmt::format("{}", bytes); }

std::string directories_text(const Config& c) {
  std::string text;
  for (const DirectoryOption& d : c.directories) {
    if (!text.empty()) text += ",";
    text += d.path;
    if (d.limit_bytes != ~uint64_t{0}) text += fmt::format("={}", d.limit_bytes);
  }
  return text;
}

std::string set_stores(Config& c, const std::string& text) {
  std::vector<std::string> stores;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    stores.push_back(text.substr(at, end - at));
    if (stores.back().empty() || stores.back()[0] != '/')
      return fmt::format("expected paths that begin with /, separated by commas, not '{}'", text);
    at = end + 1;
  }
  c.stores = std::move(stores);
  return "";
}

}  // namespace

const std::vector<Setting>& settings() {
  using C = Config;
  using S = const std::string&;
  static const std::vector<Setting> all = {
      {"memory_limit", "SIZE|PERCENT",
       "Bytes that objects in memory may take together (default: half of the machine's, or of the control "
       "group's)",
       true, [](C& c, S t) { return set_bytes(c.memory_limit, t, true); },
       [](const C& c) { return bytes_text(c.memory_limit); }},
      {"total_limit", "SIZE|PERCENT",
       "Bytes that the daemon itself, its buffers and the objects in memory may take together: objects get "
       "what "
       "the daemon\n      leaves, and never more than memory_limit; at least 60M with two io_threads "
       "(default: none)",
       true,
       [](C& c, S t) {
         return t == "none" ? set_bytes(c.total_limit, t) : set_bytes(c.total_limit, t, true);
       },
       [](const C& c) { return bytes_text(c.total_limit); }},
      {"recycle", "PERCENT",
       "Of memory_limit: how much memory of erased objects is kept for a while for the next ones of the same "
       "program, which\n      saves making it anew; 0: each object's memory is sealed for good, also against "
       "its own maker (default: 25)",
       true, [](C& c, S t) { return set_number(c.recycle, t, 0, 100, "percent"); },
       [](const C& c) { return std::to_string(c.recycle); }},
      {"disk_limit", "SIZE",
       "Bytes that spilled objects may take on disk together, small ones at least 512K (default: none)", true,
       [](C& c, S t) { return set_bytes(c.disk_limit, t); },
       [](const C& c) { return bytes_text(c.disk_limit); }},
      {"disk_least_free", "SIZE",
       "Bytes of each spill directory's file system that are left to others (default: 256M)", true,
       [](C& c, S t) {
         return t == "0" ? (c.disk_least_free = 0, std::string()) : set_bytes(c.disk_least_free, t);
       },
       [](const C& c) { return bytes_text(c.disk_least_free); }},
      {"spill_dirs", "DIR[=SIZE],...",
       "Where to spill, each with a limit of its own if need be; one holds the manifest "
       "(default: /var/tmp/spillway-UID/pool)",
       false, set_directories, directories_text},
      {"policy", "NAME",
       "Who leaves memory first: lru, mru (for loops over more than memory), scan-resistant (default: lru)",
       true,
       [](C& c, S t) {
         const auto kind = parse_policy(t);
         if (!kind) return t + ": expected lru, mru or scan-resistant";
         c.policy = *kind;
         return std::string();
       },
       [](const C& c) { return std::string(policy_name(c.policy)); }},
      {"high_watermark", "PERCENT",
       "Of memory_limit: from here on objects are spilled before their room is asked for; 100: only when it "
       "is "
       "(default: 100). Lower: less waiting for room, more writing",
       true, [](C& c, S t) { return set_number(c.high_watermark, t, 1, 100, "percent"); },
       [](const C& c) { return std::to_string(c.high_watermark); }},
      {"low_watermark", "PERCENT", "Of memory_limit: where that stops (default: 100)", true,
       [](C& c, S t) { return set_number(c.low_watermark, t, 1, 100, "percent"); },
       [](const C& c) { return std::to_string(c.low_watermark); }},
      {"client_limit", "SIZE",
       "Bytes that the living objects made by one session may have together (default: none)", true,
       [](C& c, S t) { return set_bytes(c.client_limit, t); },
       [](const C& c) { return bytes_text(c.client_limit); }},
      {"max_object", "SIZE", "Bytes of the largest object that is accepted (default: none)", true,
       [](C& c, S t) { return set_bytes(c.max_object, t); },
       [](const C& c) { return bytes_text(c.max_object); }},
      {"filters", "NAMES",
       "What spilled objects go through unless they say otherwise: lz4, zstd, checksum, joined by commas "
       "(default: none). "
       "Compressing costs processor time at each spill and load",
       true,
       [](C& c, S t) {
         for (const std::string& name : format::split_filters(t))
           if (!format::is_builtin_filter(name) && name != "none")
             return name + ": expected lz4, zstd, checksum or none, joined by commas";
         c.filters = t == "none" ? "" : t;
         return std::string();
       },
       [](const C& c) { return c.filters.empty() ? std::string("none") : c.filters; }},
      {"programs_limit", "SIZE|PERCENT",
       "Bytes of large blocks that programs under `spillway run` may keep in memory together once they "
       "spill, the pool's\n      objects included; each takes its share (default: 80% of the machine's "
       "memory)",
       true, [](C& c, S t) { return set_bytes(c.programs_limit, t, true); },
       [](const C& c) { return c.programs_limit == 0 ? std::string("80%") : bytes_text(c.programs_limit); }},
      {"io_threads", "N", "Threads that read and write files (default: 2)", false,
       [](C& c, S t) { return set_number(c.io_threads, t, 1, 64, "threads"); },
       [](const C& c) { return std::to_string(c.io_threads); }},
      {"orphan_grace", "SECONDS",
       "After a restart: how long objects without a name wait for a client that refers to them (default: "
       "600)",
       false, [](C& c, S t) { return set_number(c.orphan_grace_s, t, 0, 1u << 30, "seconds"); },
       [](const C& c) { return std::to_string(c.orphan_grace_s); }},
      {"idle_exit", "SECONDS",
       "End when no client was connected for so long; objects with names are written first. 0: never "
       "(default: 0; a daemon "
       "that a client started: 600)",
       true, [](C& c, S t) { return set_number(c.idle_exit_s, t, 0, 1u << 30, "seconds"); },
       [](const C& c) { return std::to_string(c.idle_exit_s); }},
      {"metrics_port", "PORT",
       "Serve /metrics for Prometheus on this port of 127.0.0.1; 0: do not (default: 0)", false,
       [](C& c, S t) { return set_number(c.metrics_port, t, 0, 65535, "port"); },
       [](const C& c) { return std::to_string(c.metrics_port); }},
      {"system_wide", "0|1",
       "Let other users connect; what they may read and erase is up to each object's mode (default: 0)",
       false, [](C& c, S t) { return set_number(c.system_wide, t, 0, 1, "(0 or 1)"); },
       [](const C& c) { return std::string(c.system_wide ? "1" : "0"); }},
      {"stores", "DIR[,DIR...]",
       "Segment stores (see spillway store) to write for the programs that open them shared (default: none)",
       false, [](C& c, S t) { return set_stores(c, t); },
       [](const C& c) { return fmt::format("{}", fmt::join(c.stores, ",")); }},
  };
  return all;
}

const Setting* find_setting(const std::string& name) {
  for (const Setting& setting : settings())
    if (name == setting.name) return &setting;
  return nullptr;
}

std::string check(const Config& config) {
  if (config.low_watermark > config.high_watermark)
    return fmt::format("low_watermark {} is above high_watermark {}", config.low_watermark,
                       config.high_watermark);
  if (config.total_limit < OwnMemory::kBaseBytes + (config.io_threads + 4) * OwnMemory::kEachThreadBytes)
    return fmt::format("total_limit {}: expected at least {} with {} io_threads", config.total_limit,
                       OwnMemory::kBaseBytes + (config.io_threads + 4) * OwnMemory::kEachThreadBytes,
                       config.io_threads);
  return "";
}

}  // namespace spillway::pool

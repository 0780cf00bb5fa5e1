#include "libpreload/settings.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/os/fatal.h"
#include "base/os/limits.h"
#include "spillway/size.hpp"

namespace spillway {

constinit Settings settings;

namespace {

// A variable that is set and not empty.
struct Variable {
  const char* name = nullptr;
  const char* value = nullptr;
  explicit operator bool() const { return value != nullptr; }
};

// Ours wins over the name that exm or the system gave it.
Variable variable(const char* ours, const char* other = nullptr) {
  for (const char* name : {ours, other})
    if (const char* value = name != nullptr ? getenv(name) : nullptr; value != nullptr && *value != '\0')
      return {name, value};
  return {};
}

bool is_true(Variable v) { return v && strcmp(v.value, "0") != 0; }

// True if `list` has `word` between commas.
bool has_word(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (size_detail::trim(list.substr(0, comma)) == word) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

}  // namespace

void Settings::warn(const char* format, ...) const {
  if (quiet) return;
  char text[900];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  os::say("%s", text);
}

const char* Settings::Path::keep(const char* value) {
  snprintf(text, sizeof text, "%s", value);
  return text;
}

// Below a page, a block would take more than it holds: 2 MiB of address space, and minutes for what takes
// milliseconds.
void Settings::set_threshold(uint64_t bytes) {
  bytes = std::max(bytes, kPageBytes);
  threshold_bytes = bytes;
  if (!looks_at_all_) plain_below_bytes = bytes;
  cached_below_bytes = std::min(cacheable_below_bytes_, plain_below_bytes);
}

void Settings::look_at_all() {
  looks_at_all_ = true;
  plain_below_bytes = cached_below_bytes = 0;
}

void Settings::use_thread_cache(uint64_t below_bytes) {
  knows_thread_cache = true;
  cacheable_below_bytes_ = below_bytes;
  cached_below_bytes = std::min(below_bytes, plain_below_bytes);
}

void Settings::read_environment() {
  quiet = is_true(variable("SPILLWAY_QUIET"));

  if (Variable v = variable("SPILLWAY_THRESHOLD", "EXM_THRESHOLD")) {
    const auto bytes = parse_size(v.value);
    if (bytes && *bytes > 0)
      set_threshold(*bytes);
    else
      warn("%s=%s is not a threshold; expected %s; using 4M", v.name, v.value, kSizeForms);
  }
  if (Variable v = variable("SPILLWAY_LIMIT")) {
    const auto bytes = parse_size_or_percent(v.value, os::memory_limit_bytes());
    if (bytes && *bytes > 0)
      limit_bytes = *bytes;
    else
      warn("%s=%s is not a limit; expected %s, or a percentage such as 50%%; using none", v.name, v.value,
           kSizeForms);
  }
  if (Variable v = variable("SPILLWAY_WEIGHT")) {
    char* end = nullptr;
    const long wanted = strtol(v.value, &end, 10);
    if (end == v.value || *end != '\0' || wanted < 1 || wanted > 10'000)
      warn("%s=%s is not a weight; expected 1 to 10000; using 100", v.name, v.value);
    else
      weight = static_cast<uint32_t>(wanted);
  }
  if (Variable v = variable("SPILLWAY_MINIMUM")) {
    if (const auto bytes = parse_size(v.value))
      minimum_bytes = *bytes;
    else
      warn("%s=%s is not a size; expected %s; using 16M", v.name, v.value, kSizeForms);
  }
  if (Variable v = variable("SPILLWAY_BACKING")) {
    if (strcmp(v.value, "auto") == 0)
      backing = BackingChoice::kAuto;
    else if (strcmp(v.value, "managed") == 0)
      backing = BackingChoice::kManaged;
    else if (strcmp(v.value, "file") == 0)
      backing = BackingChoice::kFile;
    else if (strcmp(v.value, "plain") == 0)
      backing = BackingChoice::kPlain;
    else
      warn("%s=%s is not a backing; expected auto, managed, file or plain; using auto", v.name, v.value);
  }
  if (Variable v = variable("SPILLWAY_CHILD_COW", "EXM_CHILD_COW")) {
    char* end = nullptr;
    const long mode = strtol(v.value, &end, 10);
    if (end == v.value || *end != '\0' || mode > 2)
      warn("%s=%s is not a fork mode; expected 0 (shared), 1 (snapshot) or 2 (duplicate); using 1", v.name,
           v.value);
    else
      fork_mode = static_cast<ForkMode>(mode < 0 ? 0 : mode);
  }
  spills_small = is_true(variable("SPILLWAY_HEAP"));
  captures_mappings = is_true(variable("SPILLWAY_MMAP"));
  if (Variable v = variable("SPILLWAY_COMPRESS")) {
    compresses = strcmp(v.value, "auto") == 0;
    if (!compresses && strcmp(v.value, "off") != 0)
      warn("%s=%s is no way to compress; expected auto or off; using off", v.name, v.value);
  }
  if (Variable v = variable("SPILLWAY_STATS"); is_true(v)) {
    stats = true;
    stats_file = strcmp(v.value, "1") == 0 ? nullptr : stats_path_.keep(v.value);
  }
  if (Variable v = variable("SPILLWAY_TRACE")) trace_file = trace_path_.keep(v.value);
  if (Variable v = variable("SPILLWAY_DIR", "TMPDIR")) {
    directory = directory_path_.keep(v.value);
    directory_name = v.name;
  }
  if (Variable v = variable("SPILLWAY_MASK")) {
    masked.tmpfile = has_word(v.value, "tmpfile");
    masked.fallocate = has_word(v.value, "fallocate");
    masked.punch = has_word(v.value, "punch");
    masked.perf = has_word(v.value, "perf");
    masked.uffd = has_word(v.value, "uffd");
    masked.uring = has_word(v.value, "uring");
    masked.move = has_word(v.value, "move");
    masked.poison = has_word(v.value, "poison");
  }
}

}  // namespace spillway

#include "tools/settings.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "spillway/size.hpp"
#include "spillway/trace_format.h"
#include "tools/failure.h"

namespace fs = std::filesystem;

namespace spillway::tools {
namespace {

using Normalised = std::optional<std::string>;

constexpr std::array<std::string_view, 8> kMaskable = {"fallocate", "move",    "perf", "poison",
                                                       "punch",     "tmpfile", "uffd", "uring"};

Normalised size(const std::string& value) {
  const auto bytes = parse_size(value);
  return bytes && *bytes > 0 ? Normalised(std::to_string(*bytes)) : std::nullopt;
}

// A percentage stays one: what it is a percentage of depends on the cgroup the program is started in.
Normalised size_or_percent(const std::string& value) {
  if (value.find('%') == std::string::npos) return size(value);
  return parse_size_or_percent(value, 100) ? Normalised(value) : std::nullopt;
}

Normalised directory(const std::string& value) { return absolute_path(value); }

Normalised backing(const std::string& value) {
  const bool known = value == "auto" || value == "managed" || value == "file" || value == "plain";
  return known ? Normalised(value) : std::nullopt;
}

// Asked now, because afterwards the library could only be silent: the report is written when the program
// ends.
bool can_append(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) == 0)
    return !S_ISDIR(status.st_mode) && ::access(path.c_str(), W_OK) == 0;
  return ::access(fs::path(path).parent_path().c_str(), W_OK | X_OK) == 0;
}

bool is_empty_or_trace(const std::string& path) {
  char magic[sizeof kTraceMagic];
  std::ifstream file(path, std::ios::binary);
  file.read(magic, sizeof magic);
  const auto n = static_cast<size_t>(file.gcount());
  return n == 0 || (n == sizeof magic && std::equal(magic, magic + n, kTraceMagic));
}

Normalised stats(const std::string& value) {
  if (value == "0" || value == "1") return value;
  const std::string path = absolute_path(value);
  return can_append(path) ? Normalised(path) : std::nullopt;
}

// A file that is neither empty nor a trace is somebody's.
Normalised trace(const std::string& value) {
  const std::string path = absolute_path(value);
  std::error_code unknown;
  const fs::file_status status = fs::status(path, unknown);
  if (fs::exists(status) && (!fs::is_regular_file(status) || !is_empty_or_trace(path))) return std::nullopt;
  return can_append(path) ? Normalised(path) : std::nullopt;
}

Normalised flag(const std::string& value) {
  return value == "0" || value == "1" ? Normalised(value) : std::nullopt;
}

Normalised compress(const std::string& value) {
  return value == "auto" || value == "off" ? Normalised(value) : std::nullopt;
}

Normalised child_cow(const std::string& value) {
  constexpr std::array<std::string_view, 3> kNames = {"shared", "snapshot", "duplicate"};
  for (size_t mode = 0; mode < kNames.size(); ++mode)
    if (value == kNames[mode] || value == std::to_string(mode)) return std::to_string(mode);
  return std::nullopt;
}

Normalised mask(const std::string& value) {
  for (size_t at = 0; at <= value.size();) {
    const size_t end = std::min(value.find(',', at), value.size());
    const std::string_view feature = std::string_view(value).substr(at, end - at);
    if (std::find(kMaskable.begin(), kMaskable.end(), feature) == kMaskable.end()) return std::nullopt;
    at = end + 1;
  }
  return value;
}

Normalised weight(const std::string& value) {
  const bool digits =
      !value.empty() && value.size() <= 5 && value.find_first_not_of("0123456789") == value.npos;
  return digits && std::stoi(value) >= 1 && std::stoi(value) <= 10'000 ? Normalised(value) : std::nullopt;
}

constexpr Setting kSettings[] = {
    {.option = "threshold",
     .placeholder = "SIZE",
     .help = "Allocations of at least SIZE can spill (default 4M)",
     .variable = "SPILLWAY_THRESHOLD",
     .exm_variable = "EXM_THRESHOLD",
     .forms = kSizeForms,
     .normalise = size},
    {.option = "limit",
     .placeholder = "SIZE|PERCENT",
     .help = "Keep the resident part of spillable memory below this\n(default: no limit)",
     .variable = "SPILLWAY_LIMIT",
     .forms = "a size such as 4096, 64k, 64M, 1.5G, 64MiB or 0x100000, or a percentage of memory such as 50%",
     .normalise = size_or_percent},
    {.option = "weight",
     .placeholder = "N",
     .help = "Share of the memory that programs have together where a\npool's daemon runs, against others' "
             "(default 100)",
     .variable = "SPILLWAY_WEIGHT",
     .forms = "1 to 10000",
     .normalise = weight},
    {.option = "minimum",
     .placeholder = "SIZE",
     .help = "What of that memory this program gets in any case\n(default 16M)",
     .variable = "SPILLWAY_MINIMUM",
     .forms = kSizeForms,
     .normalise = size},
    {.option = "dir",
     .placeholder = "DIR",
     .help = "Directory of the spill files (default: $TMPDIR, or else the\nfirst of /var/tmp, /tmp on a real "
             "disk)",
     .variable = "SPILLWAY_DIR",
     .forms = "a directory",
     .normalise = directory},
    {.option = "backing",
     .placeholder = "auto|managed|file|plain",
     .help = "What holds spillable memory: managed memory (userfaultfd), a\nfile, or plain memory that does "
             "not spill (default auto: the\nbest that is permitted)",
     .variable = "SPILLWAY_BACKING",
     .forms = "auto, managed, file or plain",
     .normalise = backing},
    {.option = "mmap",
     .help =
         "Anonymous mappings of the program's own, from the threshold on,\nare spillable, too: for programs "
         "with an allocator of their own",
     .variable = "SPILLWAY_MMAP",
     .forms = "1 or 0",
     .normalise = flag},
    {.option = "heap",
     .help =
         "Allocations below the threshold can spill, too: for data in\nmany small blocks (managed backing)",
     .variable = "SPILLWAY_HEAP",
     .forms = "1 or 0",
     .normalise = flag},
    {.option = "compress",
     .placeholder = "auto|off",
     .help = "Keep what compresses well in memory, compressed, instead of\nwriting it to disk (managed "
             "backing; default off)",
     .variable = "SPILLWAY_COMPRESS",
     .forms = "auto or off",
     .normalise = compress},
    {.option = "stats",
     .placeholder = "FILE",
     .help = "Report at the end of every process, on stderr or appended\nto FILE",
     .variable = "SPILLWAY_STATS",
     .forms = "1 for stderr, or a file that can be written in a directory that exists",
     .normalise = stats,
     .value_is_optional = true},
    {.option = "trace",
     .placeholder = "FILE",
     .help = "Write what the pager does to FILE, for `spillway trace`\n(managed backing)",
     .variable = "SPILLWAY_TRACE",
     .forms =
         "a file that can be written in a directory that exists; one that is there must be empty or a trace",
     .normalise = trace},
    {.option = "quiet",
     .help = "No warnings from the library",
     .variable = "SPILLWAY_QUIET",
     .forms = "1 or 0",
     .normalise = flag},
    {.option = "child-cow",
     .placeholder = "0|1|2",
     .help =
         "What a forked child does with the large blocks it inherits:\n0 (shared) writes into its parent's, "
         "1 (snapshot, default)\nsees them as they were at the fork, 2 (duplicate) copies them",
     .variable = "SPILLWAY_CHILD_COW",
     .exm_variable = "EXM_CHILD_COW",
     .forms = "0 (shared), 1 (snapshot) or 2 (duplicate)",
     .normalise = child_cow},
    {.variable = "SPILLWAY_MASK",
     .forms = "a comma-separated list of fallocate, move, perf, poison, punch, tmpfile, uffd, uring",
     .normalise = mask},
};

std::string normalised(const Setting& setting, const std::string& source, const std::string& value) {
  const Normalised result = value.empty() ? std::nullopt : setting.normalise(value);
  if (!result)
    throw Failure(kCannotStart,
                  fmt::format("{}: '{}' is not accepted; expected {}", source, value, setting.forms));
  return *result;
}

}  // namespace

std::span<const Setting> settings() { return kSettings; }

std::map<std::string, std::string> environment_for(const OptionValues& options) {
  std::map<std::string, std::string> variables;
  for (const Setting& setting : kSettings) {
    if (const auto given = setting.option ? options.find(setting.option) : options.end();
        given != options.end()) {
      variables[setting.variable] = normalised(setting, std::string("--") + setting.option, given->second);
      continue;
    }
    if (const std::string value = environment_variable(setting.variable); !value.empty()) {
      variables[setting.variable] = normalised(setting, setting.variable, value);
      continue;
    }
    // It stays exm's variable: were it turned into ours, ours would win over what the program sets for an
    // `exm` of its own.
    if (!setting.exm_variable) continue;
    if (const std::string value = environment_variable(setting.exm_variable); !value.empty())
      variables[setting.exm_variable] = normalised(setting, setting.exm_variable, value);
  }
  return variables;
}

std::string absolute_path(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (error)
    throw Failure(kCannotStart, fmt::format("'{}' is relative, and the current directory is not there: {}",
                                            path, error.message()));
  return absolute.string();
}

std::string environment_variable(const char* name) {
  const char* value = ::getenv(name);
  return value ? value : "";
}

bool is_masked(const char* feature) {
  return ("," + environment_variable("SPILLWAY_MASK") + ",").find("," + std::string(feature) + ",") !=
         std::string::npos;
}

}  // namespace spillway::tools

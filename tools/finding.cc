#include "tools/finding.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>

namespace spillway::tools {

Finding ok(std::string name, std::string value) {
  return {std::move(name), Finding::Status::kOk, std::move(value), "", ""};
}

std::string human_size(uint64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double number = static_cast<double>(bytes);
  size_t unit = 0;
  for (; number >= 1024 && unit + 1 < kUnits.size(); ++unit) number /= 1024;
  const bool whole = unit == 0 || number >= 10 || number == static_cast<double>(static_cast<int>(number));
  return fmt::format("{:.{}f} {}", number, whole ? 0 : 1, kUnits[unit]);
}

std::string as_root(const std::string& command) { return (::geteuid() == 0 ? "" : "sudo ") + command; }

std::string set_sysctl(const std::string& assignment) { return as_root("sysctl -w " + assignment); }

std::string write_to(const std::string& file, const std::string& text) {
  return fmt::format("echo {} | {}", text, as_root("tee " + file));
}

}  // namespace spillway::tools

#include "pooldaemon/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>

#include "base/os/clock.h"

namespace spillway::pool {

void log_line(const std::string& text) {
  const auto now = std::chrono::system_clock::now();
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  fmt::print(stderr, "spillwayd: {:%FT%T}.{:03}Z {}\n",
             fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms, text);
}

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      result += '\\', result += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      result += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    else
      result += c;
  }
  return result + '"';
}

void SeldomLine::say(const std::string& values) {
  constexpr uint64_t kBetweenMs = 1000;
  const uint64_t now = os::monotonic_ms();
  if (said_ms_ != 0 && now - said_ms_ < kBetweenMs) {
    ++left_out_;
    return;
  }
  said_ms_ = now;
  log_line(fmt::format("{} {}{}", event_, values,
                       left_out_ > 0 ? fmt::format(" also_so_since_the_last={}", left_out_) : ""));
  left_out_ = 0;
}

}  // namespace spillway::pool

// log.h - what the daemon says on stderr: one line for each event, `spillwayd: TIME event key=value ...`,
// values with spaces in quotes. Threads: the loop's.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace spillway::pool {

void log_line(const std::string& text);
// A value with spaces, quotes or control characters, so that it stays one value on one line.
std::string quoted(std::string_view text);

// An event that may come thousands of times a second: at most one line a second, which says how many it
// stands for.
class SeldomLine {
 public:
  explicit SeldomLine(const char* event) : event_(event) {}
  void say(const std::string& values);

 private:
  const char* event_;
  uint64_t said_ms_ = 0, left_out_ = 0;
};

}  // namespace spillway::pool

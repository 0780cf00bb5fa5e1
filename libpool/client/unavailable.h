// unavailable.h - how it is told that the daemon cannot be reached, and how long it may take to say that it
// lives.
#pragma once
#include <fmt/format.h>

#include <algorithm>

#include "libpool/client/client.h"

namespace spillway::client {

inline constexpr const char* kWentAway = "went away";
inline constexpr const char* kNoAnswer = "does not answer";
inline constexpr uint64_t kGraceMs = 200;
inline constexpr uint64_t kHelloMs = 30'000;

inline Failure unavailable(const std::string& socket, const char* what) {
  return {SPILLWAY_UNAVAILABLE, "the daemon at " + socket + " " + what};
}
inline Failure no_answer(const std::string& socket, const Deadline& deadline) {
  if (!deadline.has_end()) return unavailable(socket, kNoAnswer);
  return {SPILLWAY_TIMED_OUT, fmt::format("the daemon at {} did not answer within {} ms, nor does it now",
                                          socket, deadline.timeout_ms())};
}
// For the answers that a daemon has at once.
inline int hello_ms(const Deadline& deadline) {
  return static_cast<int>(std::min(kHelloMs, deadline.has_end() ? deadline.left_ms() + kGraceMs : kHelloMs));
}

}  // namespace spillway::client

// wait.h - waiting for a condition, never for time.
//
// A test that must see something happen in another process asks again and again until it is so; the deadline
// only turns a hang into a failure, so it may be generous.
#pragma once
#include <poll.h>

#include <chrono>

namespace spillway::test {

// True as soon as `condition()` is; false when it still is not after `limit`.
template <typename Condition>
[[nodiscard]] bool wait_until(Condition&& condition,
                              std::chrono::milliseconds limit = std::chrono::seconds(20)) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::poll(nullptr, 0, 2);  // 2 ms between two looks: a look at /proc costs about 0.1 ms
  }
  return true;
}

}  // namespace spillway::test

// timers.h - what is to happen at a time, unless it is cancelled. Milliseconds of os::monotonic_ms(). One
// thread.
#pragma once
#include <cstdint>
#include <functional>
#include <map>

namespace spillway::pool {

class Timers {
 public:
  using Id = std::pair<uint64_t, uint64_t>;

  Id add(uint64_t at_ms, std::function<void()> call) {
    const Id id{at_ms + 1, ++last_};  // the clock rounds down, and nothing may end too early
    calls_.emplace(id, std::move(call));
    return id;
  }
  void cancel(Id id) { calls_.erase(id); }
  // UINT64_MAX: nothing is waiting.
  uint64_t next_ms() const { return calls_.empty() ? UINT64_MAX : calls_.begin()->first.first; }
  void run(uint64_t now_ms) {
    while (!calls_.empty() && calls_.begin()->first.first <= now_ms) {
      auto call = std::move(calls_.begin()->second);
      calls_.erase(calls_.begin());
      call();
    }
  }

 private:
  std::map<Id, std::function<void()>> calls_;
  uint64_t last_ = 0;
};

}  // namespace spillway::pool

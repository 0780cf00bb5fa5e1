// main returns while other threads still allocate and free: the process ends quietly with its own status.
#include <atomic>
#include <thread>

#include "tests/victims/victim.h"

using namespace victim;

int main() {
  static std::atomic<int> running{0};
  for (int t = 0; t < 4; ++t) {
    std::thread([t] {
      Random random{static_cast<uint64_t>(t) + 1};
      running.fetch_add(1);
      for (;;) {
        const size_t bytes = random.below(2) ? 1 + random.below(5000) : 5 * MiB + random.below(MiB);
        auto* p = static_cast<char*>(malloc(bytes));
        if (!p) continue;
        p[0] = p[bytes - 1] = 1;
        free(p);
      }
    }).detach();
  }
  while (running.load() < 4) std::this_thread::yield();
  return done();
}

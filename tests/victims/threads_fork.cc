// Several threads fork at the same time, each child allocates, writes to what it inherited and ends.
#include <thread>
#include <vector>

#include "tests/victims/pair.h"

using namespace victim;

int main() {
  constexpr size_t kThreads = 6, kForks = 12, kBytes = 5 * MiB;
  static char* blocks[kThreads];
  for (size_t t = 0; t < kThreads; ++t) {
    blocks[t] = must_malloc(kBytes);
    fill(blocks[t], kBytes, t);
  }
  std::vector<std::thread> pool;
  for (size_t t = 0; t < kThreads; ++t) {
    pool.emplace_back([t] {
      for (size_t i = 0; i < kForks; ++i) {
        const pid_t pid = fork();
        EXPECT(pid >= 0, "fork: %s", strerror(errno));
        if (pid == 0) {
          for (size_t k = 0; k < kThreads; ++k) {
            if (k == t || i % 4 == 0) EXPECT_FILLED(blocks[k], kBytes, k, "a child's inherited block");
          }
          memset(blocks[t], 1, kBytes);
          free(blocks[(t + 1) % kThreads]);
          char* p = must_malloc(kBytes);
          memset(p, 2, kBytes);
          free(p);
          _exit(0);
        }
        expect_good_end(pid, "a child");
        EXPECT_FILLED(blocks[t], kBytes, t, "the parent's block");
      }
    });
  }
  for (std::thread& thread : pool) thread.join();
  for (size_t t = 0; t < kThreads; ++t) {
    EXPECT_FILLED(blocks[t], kBytes, t, "at the end");
    free(blocks[t]);
  }
  return done();
}

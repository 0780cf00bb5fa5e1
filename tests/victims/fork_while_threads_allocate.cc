// The main thread forks again and again while eight threads allocate, resize, write and free: no child
// deadlocks, every child can allocate, and sees a block that nobody touches as it was. argv[1]: how many
// forks.
#include <atomic>
#include <thread>
#include <vector>

#include "tests/victims/pair.h"

using namespace victim;

int main(int argc, char** argv) {
  const size_t forks = size_argument(argc, argv, 1, 15);
  constexpr size_t kStable = 12 * MiB;
  char* stable = must_malloc(kStable);
  fill(stable, kStable, 1);
  std::atomic<bool> stop{false};
  std::atomic<size_t> operations{0};
  std::vector<std::thread> pool;
  for (size_t t = 0; t < 8; ++t) {
    pool.emplace_back([&, t] {
      Random random{t + 1};
      char* own[4] = {};
      size_t sizes[4] = {};
      while (!stop.load(std::memory_order_relaxed)) {
        const size_t i = random.below(4);
        const size_t bytes = random.below(3) ? 8 + random.below(100000) : 4 * MiB + random.below(2 * MiB);
        const size_t kept = sizes[i] < 512 ? sizes[i] / 8 * 8 : 512;
        if (own[i]) EXPECT_FILLED(own[i], kept, t, "a thread's block");
        own[i] = static_cast<char*>(random.below(2) ? realloc(own[i], bytes) : (free(own[i]), malloc(bytes)));
        EXPECT(own[i], "no memory in a thread: %s", strerror(errno));
        fill(own[i], bytes, t);
        sizes[i] = bytes;
        operations.fetch_add(1, std::memory_order_relaxed);
      }
      for (size_t i = 0; i < 4; ++i) {
        EXPECT_FILLED(own[i], sizes[i], t, "a thread's last block");
        free(own[i]);
      }
    });
  }
  for (size_t i = 0; i < forks; ++i) {
    // The threads must be at it between two forks, or there would be nothing to meet.
    const size_t target = operations.load() + 8;
    while (operations.load() < target) std::this_thread::yield();
    const pid_t pid = fork();
    EXPECT(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
      EXPECT_FILLED(stable, kStable, 1, "the stable block in a child");
      for (size_t bytes : {size_t{30}, size_t{50000}, size_t{5 * MiB}}) {
        char* p = must_malloc(bytes);
        fill(p, bytes, 2);
        p = static_cast<char*>(realloc(p, 2 * bytes));
        EXPECT(p, "realloc in a child: %s", strerror(errno));
        EXPECT_FILLED(p, bytes / 8 * 8, 2, "a child's own block");
        free(p);
      }
      stable = static_cast<char*>(realloc(stable, 2 * kStable));
      EXPECT(stable, "realloc of an inherited block: %s", strerror(errno));
      EXPECT_FILLED(stable, kStable, 1, "the inherited block, resized");
      memset(stable, 9, kStable);
      free(stable);
      _exit(0);
    }
    expect_good_end(pid, "a child");
  }
  stop.store(true);
  for (std::thread& thread : pool) thread.join();
  EXPECT_FILLED(stable, kStable, 1, "the stable block in the parent");
  free(stable);
  return done();
}

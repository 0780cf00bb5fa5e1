// Many threads that touch one extent which is not in memory: all go on, all see the right bytes, and the disk
// is read about as much as for one thread, not once for each.
#include <atomic>
#include <thread>
#include <vector>

#include "tests/victims/spilled.h"

using namespace victim;

namespace {

constexpr size_t kBytes = 64 * MiB, kExtent = 2 * MiB;

size_t bytes_read_from_disk() {
  FILE* f = fopen("/proc/self/io", "re");
  char line[128];
  size_t n = 0;
  while (f && fgets(line, sizeof line, f)) sscanf(line, "read_bytes: %zu", &n);
  if (f) fclose(f);
  return n;
}

// What the disk gave while `threads` read the same extent at once.
size_t cost(char* block, size_t threads) {
  send_out(block, kBytes);
  const size_t before = bytes_read_from_disk();
  std::atomic<size_t> at_the_line{0};
  std::vector<std::thread> pool;
  for (size_t t = 0; t < threads; ++t) {
    pool.emplace_back([&] {
      at_the_line.fetch_add(1);
      while (at_the_line.load() < threads) std::this_thread::yield();
      const size_t first = 10 * kExtent;
      for (size_t i = 0; i < kExtent / 8; ++i) {
        const uint64_t word = reinterpret_cast<uint64_t*>(block + first)[i];
        EXPECT(word == pattern(6, first / 8 + i), "word %zu of the extent is wrong", i);
      }
    });
  }
  for (std::thread& thread : pool) thread.join();
  return bytes_read_from_disk() - before;
}

}  // namespace

int main() {
  char* block = spilled_block(kBytes, 6);
  const size_t one = cost(block, 1), many = cost(block, 16);
  EXPECT(many <= 2 * one + 4 * MiB, "16 threads read %zu KiB from disk, one read %zu KiB", many / KiB,
         one / KiB);
  EXPECT_FILLED(block, kBytes, 6, "the whole block");
  free(block);
  return done();
}

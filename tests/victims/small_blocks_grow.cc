// small_blocks_grow LARGE SMALL SIZE [PAUSE_MS]: a large block of LARGE bytes is filled, then blocks of SIZE
// bytes, SMALL in all, as fast as it goes; every second one is freed and, after the pause (in which an
// allocator may give the memory back), allocated again. Then everything is read.
#include <time.h>

#include <vector>

#include "tests/victims/victim.h"

using namespace victim;

int main(int argc, char** argv) {
  const size_t large = size_argument(argc, argv, 1, 64 * MiB);
  const size_t small = size_argument(argc, argv, 2, 64 * MiB);
  const size_t size = size_argument(argc, argv, 3, KiB);
  const long pause_ms = argc > 4 ? atol(argv[4]) : 0;
  char* block = must_malloc(large);
  fill(block, large, 0);
  std::vector<char*> blocks(small / size);
  const auto make = [&](size_t b) {
    blocks[b] = must_malloc(size);
    fill(blocks[b], size, b + 1);
  };
  for (size_t b = 0; b < blocks.size(); ++b) make(b);
  for (size_t b = 0; b < blocks.size(); b += 2) free(blocks[b]);
  const timespec pause{pause_ms / 1000, pause_ms % 1000 * 1'000'000};
  nanosleep(&pause, nullptr);
  for (size_t b = 0; b < blocks.size(); b += 2) make(b);
  EXPECT_FILLED(block, large, 0, "the large block");
  for (size_t b = 0; b < blocks.size(); ++b) EXPECT_FILLED(blocks[b], size, b + 1, "a small block");
  return done();
}

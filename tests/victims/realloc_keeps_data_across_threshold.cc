// realloc keeps the first min(old, new) bytes, in both directions across the threshold, step by step and in
// leaps.
#include "tests/victims/victim.h"

using namespace victim;

int main() {
  const size_t t = threshold();
  const size_t sizes[] = {
      100,   t - 1, t,  t + 1,    4 * t,   t / 2,    8 * t + 5,    16,      t + 2 * MiB, 2 * t, 2 * t - 1,  t,
      t - 1, t,     10, 20 * MiB, 6 * MiB, 12 * MiB, 24 * MiB + 3, 5 * MiB, 3,           t,     9 * MiB + 1};
  size_t bytes = 1;
  char* p = must_malloc(bytes);
  fill(p, bytes, 1);
  for (size_t next : sizes) {
    p = static_cast<char*>(realloc(p, next));
    EXPECT(p, "realloc from %zu to %zu: %s", bytes, next, strerror(errno));
    const size_t kept = (bytes < next ? bytes : next) / 8 * 8;
    EXPECT_FILLED(p, kept, 1, "realloc");
    bytes = next;
    fill(p, bytes, 1);
  }
  print_checksum("last", p, bytes);
  free(p);

  // Many blocks at once, resized in turn, each with its own data.
  constexpr size_t kBlocks = 12;
  char* blocks[kBlocks] = {};
  size_t lengths[kBlocks] = {};
  Random random{7};
  for (int step = 0; step < 200; ++step) {
    const size_t i = random.below(kBlocks);
    const size_t next =
        random.below(4) == 0 ? 1 + random.below(1000) : 1 + random.below(2 * t < 8 * MiB ? 8 * MiB : 2 * t);
    blocks[i] = static_cast<char*>(realloc(blocks[i], next));
    EXPECT(blocks[i], "realloc to %zu: %s", next, strerror(errno));
    EXPECT_FILLED(blocks[i], (lengths[i] < next ? lengths[i] : next) / 8 * 8, i, "one of many");
    fill(blocks[i], next, i);
    lengths[i] = next;
  }
  for (size_t i = 0; i < kBlocks; ++i) {
    if (lengths[i]) print_checksum("block", blocks[i], lengths[i]);
    free(blocks[i]);
  }
  return done();
}

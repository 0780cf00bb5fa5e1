// Blocks of every function of the family live side by side, small ones between large ones; nobody writes into
// another.
#include "tests/victims/makers.h"

using namespace victim;

int main() {
  constexpr size_t kBlocks = 400;
  const size_t t = threshold();
  static char* blocks[kBlocks];
  static size_t sizes[kBlocks];
  Random random{42};
  uint64_t total = 0;
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < kBlocks; ++i) {
      const size_t large = t >= MiB ? t + random.below(64 * KiB) : t + random.below(MiB);
      sizes[i] = i % 16 == 0 ? large : 1 + random.below(20000);
      const Maker& maker = kMakers[random.below(sizeof kMakers / sizeof *kMakers)];
      blocks[i] = static_cast<char*>(maker.make(size_t{16} << random.below(9), sizes[i]));
      EXPECT(blocks[i], "%s(%zu): %s", maker.name, sizes[i], strerror(errno));
      fill(blocks[i], sizes[i], i);
    }
    for (size_t i = 0; i < kBlocks; ++i) EXPECT_FILLED(blocks[i], sizes[i], i, "block");
    // Every other one goes before the rest is checked again.
    for (size_t i = 0; i < kBlocks; i += 2) free(blocks[i]);
    for (size_t i = 1; i < kBlocks; i += 2) {
      EXPECT_FILLED(blocks[i], sizes[i], i, "block beside a freed one");
      total += i;
      free(blocks[i]);
    }
  }
  printf("blocks checked %lu\n", static_cast<unsigned long>(total));
  return done();
}

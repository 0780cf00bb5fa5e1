// Memory that had blocks of one size gets blocks of another, again and again, while blocks are freed as soon
// as they were allocated. What an allocator remembers of the blocks before must not be taken for these. argv:
// rounds.
#include <vector>

#include "tests/victims/victim.h"

using namespace victim;

int main(int argc, char** argv) {
  const size_t rounds = size_argument(argc, argv, 1, 40);
  constexpr size_t kSizes[] = {16,  32,  48,  64,  80,  96,   112,  128, 160,
                               192, 224, 256, 320, 512, 1024, 2048, 4096};
  Random random{1};
  std::vector<void*> blocks;
  for (size_t round = 0; round < rounds; ++round) {
    for (size_t bytes : kSizes) {
      const size_t count = 2 * MiB / bytes;
      for (size_t i = 0; i < count; ++i) {
        blocks.push_back(must_malloc(bytes));
        if (random.below(3) == 0) free(must_malloc(bytes));
        if (random.below(8) != 0) continue;
        free(blocks.back());
        blocks.pop_back();
      }
      for (void* block : blocks) free(block);
      blocks.clear();
    }
  }
  return done();
}

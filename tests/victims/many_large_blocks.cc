// A hundred thousand live blocks at the threshold: the process stays far from vm.max_map_count, each block
// keeps its own data, and memory comes back when they are freed. argv[1]: bytes of a block.
#include "tests/victims/victim.h"

using namespace victim;

namespace {

size_t mappings() {
  FILE* f = fopen("/proc/self/maps", "re");
  size_t lines = 0;
  for (int c; (c = getc(f)) != EOF;) lines += c == '\n';
  fclose(f);
  return lines;
}

}  // namespace

int main(int argc, char** argv) {
  constexpr size_t kBlocks = 100000;
  const size_t bytes = size_argument(argc, argv, 1, 64 * KiB);
  static char* blocks[kBlocks];
  for (size_t i = 0; i < kBlocks; ++i) {
    blocks[i] = static_cast<char*>(malloc(bytes));
    EXPECT(blocks[i], "block %zu: %s (%zu mappings)", i, strerror(errno), mappings());
    memcpy(blocks[i], &i, sizeof i);
    memcpy(blocks[i] + bytes - sizeof i, &i, sizeof i);
  }
  const size_t resident = resident_bytes(), maps = mappings();
  EXPECT(maps < 60000, "%zu mappings", maps);
  for (size_t i = 0; i < kBlocks; ++i) {
    size_t first, last;
    memcpy(&first, blocks[i], sizeof first);
    memcpy(&last, blocks[i] + bytes - sizeof last, sizeof last);
    EXPECT(first == i && last == i, "block %zu holds %zu and %zu", i, first, last);
  }
  // Holes first: freeing every other block must not split more mappings than there may be.
  for (size_t i = 0; i < kBlocks; i += 2) free(blocks[i]);
  for (size_t i = 1; i < kBlocks; i += 2) {
    size_t first;
    memcpy(&first, blocks[i], sizeof first);
    EXPECT(first == i, "block %zu holds %zu beside a freed one", i, first);
  }
  EXPECT(mappings() < 60000, "%zu mappings with every other block freed", mappings());
  for (size_t i = 1; i < kBlocks; i += 2) free(blocks[i]);
  EXPECT(resident_bytes() < resident / 2, "%zu of %zu MiB stay resident", resident_bytes() / MiB,
         resident / MiB);
  EXPECT(mappings() < 10000, "%zu mappings after all was freed", mappings());
  return done();
}

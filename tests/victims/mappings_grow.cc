// mappings_grow LARGE OWN STEP: a large block of LARGE bytes is filled, then mappings of the program's own of
// STEP bytes, OWN in all, as fast as it goes. Then everything is read. One more takes the place of part of
// the block.
#include <sys/mman.h>

#include <vector>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

char* must_map(void* at, size_t bytes, int flags) {
  void* p = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  EXPECT(p != MAP_FAILED, "mmap(%zu): %s", bytes, strerror(errno));
  return static_cast<char*>(p);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t large = size_argument(argc, argv, 1, 64 * MiB), own = size_argument(argc, argv, 2, 32 * MiB);
  const size_t step = size_argument(argc, argv, 3, MiB);
  char* block = must_malloc(large);
  fill(block, large, 0);
  std::vector<char*> mappings;
  for (size_t i = 0; i < own / step; ++i) {
    mappings.push_back(must_map(nullptr, step, 0));
    fill(mappings.back(), step, i + 1);
  }
  EXPECT_FILLED(block, large, 0, "the block");
  for (size_t i = 0; i < mappings.size(); ++i) {
    EXPECT_FILLED(mappings[i], step, i + 1, "a mapping");
    EXPECT(munmap(mappings[i], step) == 0, "munmap: %s", strerror(errno));
  }
  // Page-aligned, within the block.
  constexpr size_t kPage = 4096;
  const size_t first = large / 2 / kPage * kPage;
  char* part = block + (kPage - reinterpret_cast<uintptr_t>(block) % kPage) % kPage + first;
  EXPECT(mmap(part, kPage, PROT_READ, MAP_PRIVATE | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EBADF,
         "a mapping of no file: %s", strerror(errno));
  EXPECT_FILLED(block, large, 0, "the block after a mapping that failed");
  EXPECT(must_map(part, 3 * MiB, MAP_FIXED) == part, "not where it should be");
  EXPECT(all_zero(part, 3 * MiB), "old bytes in a new mapping");
  fill(part, 3 * MiB, 77);
  EXPECT_FILLED(block, static_cast<size_t>(part - block), 0, "the block before the mapping");
  EXPECT_FILLED(part, 3 * MiB, 77, "a mapping in place of part of a block");
  free(block);
  block = must_malloc(large);
  fill(block, large, 5);
  EXPECT_FILLED(block, large, 5, "the next block");
  return done();
}

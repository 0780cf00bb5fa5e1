// malloc_trim answers 0 or 1, breaks nothing, and what was freed before is not resident after it.
#include <malloc.h>

#include "tests/victims/victim.h"

using namespace victim;

int main() {
  char* kept = must_malloc(8 * MiB);
  fill(kept, 8 * MiB, 9);
  const size_t before = resident_bytes();
  char* blocks[8];
  for (char*& p : blocks) {
    p = must_malloc(32 * MiB);
    memset(p, 1, 32 * MiB);
  }
  EXPECT(resident_bytes() > before + 100 * MiB, "the blocks are not resident");
  for (char* p : blocks) free(p);
  const int answer = malloc_trim(0);
  EXPECT(answer == 0 || answer == 1, "malloc_trim gave %d", answer);
  const size_t after = resident_bytes();
  EXPECT(after < before + 16 * MiB, "%zu MiB are still resident after malloc_trim", (after - before) / MiB);
  EXPECT_FILLED(kept, 8 * MiB, 9, "a living block");
  free(kept);
  return done();
}

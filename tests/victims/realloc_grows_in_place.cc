// A large block that grows a little at a time moves now and then at most, and one that shrinks does not move.
#include "tests/victims/victim.h"

using namespace victim;

int main() {
  char* p = must_malloc(8 * MiB);
  fill(p, 8 * MiB, 3);
  unsigned moves = 0;
  for (size_t bytes = 8 * MiB; bytes <= 40 * MiB; bytes += 256 * KiB) {
    char* const old = hidden(p);
    p = static_cast<char*>(realloc(p, bytes));
    EXPECT(p, "realloc to %zu: %s", bytes, strerror(errno));
    moves += p != old;
  }
  EXPECT_FILLED(p, 8 * MiB, 3, "after growing");
  EXPECT(moves <= 8, "128 small steps moved the block %u times", moves);
  char* const before = hidden(p);
  p = static_cast<char*>(realloc(p, 20 * MiB));
  EXPECT(p == before, "shrinking moved the block");
  EXPECT_FILLED(p, 8 * MiB, 3, "after shrinking");
  free(p);
  return done();
}

// After a fork the parent and the child each rewrite a block that is larger than the memory they may have.
// What they write must be able to leave memory like what was written before the fork. argv: child | parent |
// both, bytes.
#include "tests/victims/pair.h"

using namespace victim;

int main(int argc, char** argv) {
  EXPECT(argc > 1, "usage: writes_after_fork WHO BYTES");
  const bool child_writes = strcmp(argv[1], "parent") != 0, parent_writes = strcmp(argv[1], "child") != 0;
  const size_t bytes = size_argument(argc, argv, 2, 128 * MiB);
  char* block = must_malloc(bytes);
  fill(block, bytes, 1);
  const pid_t pid = must_fork();
  if (pid == 0) {
    EXPECT_FILLED(block, bytes, 1, "the child at its birth");
    if (child_writes) {
      for (uint64_t round = 2; round < 4; ++round) {
        fill(block, bytes, round);
        EXPECT_FILLED(block, bytes, round, "the child after its writes");
      }
    }
    free(block);
    // And a block of its own.
    block = must_malloc(bytes);
    fill(block, bytes, 9);
    EXPECT_FILLED(block, bytes, 9, "the child's own block");
    free(block);
    _exit(0);
  }
  if (parent_writes) {
    fill(block, bytes, 5);
    EXPECT_FILLED(block, bytes, 5, "the parent after its writes");
  }
  expect_good_end(pid, "the child");
  EXPECT_FILLED(block, bytes, parent_writes ? 5 : 1, "the parent at the end");
  free(block);
  return done();
}

// Twenty children of one parent, all alive at once, read the whole inherited block and write to a part of it;
// memory use is that of one block, not of twenty. The test runs this under a cap that is a small multiple of
// the block. argv: children, bytes of the block, bytes that each child writes.
#include <vector>

#include "tests/victims/pair.h"

using namespace victim;

int main(int argc, char** argv) {
  const size_t children = size_argument(argc, argv, 1, 20), bytes = size_argument(argc, argv, 2, 64 * MiB);
  const size_t written = size_argument(argc, argv, 3, MiB);
  char* block = must_malloc(bytes);
  fill(block, bytes, 1);
  std::vector<pid_t> pids;
  std::vector<Turns> turns(children);
  for (size_t i = 0; i < children; ++i) {
    const pid_t pid = must_fork();
    if (pid == 0) {
      turns[i].i_am_child();
      EXPECT_FILLED(block, bytes, 1, "a child's inherited block");
      char* own = block + (i * written) % (bytes - written + 1) / 4096 * 4096;
      memset(own, static_cast<int>(i), written);
      turns[i].tell_parent();
      turns[i].wait_for_parent();  // all children live until all have read and written
      for (size_t k = 0; k < written; ++k) EXPECT(own[k] == static_cast<char>(i), "a child's own writes");
      _exit(0);
    }
    turns[i].i_am_parent();
    pids.push_back(pid);
  }
  for (Turns& t : turns) t.wait_for_child();
  for (Turns& t : turns) t.tell_child();
  for (pid_t pid : pids) expect_good_end(pid, "a child");
  EXPECT_FILLED(block, bytes, 1, "the parent's block");
  free(block);
  return done();
}

// _Fork is fork without the handlers of pthread_atfork. Its child may only do little, but what parent and
// child write is their own all the same.
#include "tests/victims/pair.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 8 * MiB;
  char* block = spilled_block(kBytes, 1);
  Turns turns;
  const pid_t pid = _Fork();
  EXPECT(pid >= 0, "_Fork: %s", strerror(errno));
  if (pid == 0) {
    turns.i_am_child();
    turns.wait_for_parent();
    EXPECT_FILLED(block, kBytes, 1, "the child after the parent's writes");
    fill(block, kBytes, 3);
    turns.tell_parent();
    turns.wait_for_parent();
    EXPECT_FILLED(block, kBytes, 3, "the child at its end");
    _exit(0);
  }
  turns.i_am_parent();
  fill(block, kBytes, 2);
  turns.tell_child();
  turns.wait_for_child();
  EXPECT_FILLED(block, kBytes, 2, "the parent after the child's writes");
  turns.tell_child();
  expect_good_end(pid, "the child");
  free(block);
  return done();
}

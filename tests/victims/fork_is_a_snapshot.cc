// A fork is a snapshot both ways: the child never sees what the parent writes later, nor the parent what the
// child writes; a grandchild sees what its parent wrote before it was born, and nobody else's. argv[1]:
// resident | spilled: where the data are at the moment of the fork.
#include "tests/victims/pair.h"

using namespace victim;

namespace {

constexpr uint64_t kBefore = 10, kParent = 20, kChild = 30, kGrandchild = 40;

void grandchild(Heap& heap, Turns& turns) {
  turns.i_am_child();
  turns.wait_for_parent();  // which has written meanwhile
  heap.expect(kChild, "the grandchild at its birth");
  heap.write(kGrandchild);
  heap.expect(kGrandchild, "the grandchild after its own writes");
  turns.tell_parent();
  turns.wait_for_parent();
  heap.expect(kGrandchild, "the grandchild after the others went on");
  heap.free_all();
  _exit(0);
}

void child(Heap& heap, Turns& turns, bool spilled) {
  turns.i_am_child();
  turns.wait_for_parent();  // which has written meanwhile
  heap.expect(kBefore, "the child at its birth");
  heap.write(kChild);
  if (spilled) heap.send_out();
  heap.expect(kChild, "the child after its own writes");
  Turns own_turns;
  const pid_t pid = must_fork();
  if (pid == 0) grandchild(heap, own_turns);
  own_turns.i_am_parent();
  heap.write(kChild + 5);
  own_turns.tell_child();
  own_turns.wait_for_child();
  heap.expect(kChild + 5, "the child after the grandchild's writes");
  turns.tell_parent();
  turns.wait_for_parent();
  heap.expect(kChild + 5, "the child after the parent went on");
  own_turns.tell_child();
  expect_good_end(pid, "the grandchild");
  heap.free_all();
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const bool spilled = argc > 1 && strcmp(argv[1], "spilled") == 0;
  Heap heap;
  heap.make(kBefore);
  if (spilled) heap.send_out();
  Turns turns;
  const pid_t pid = must_fork();
  if (pid == 0) child(heap, turns, spilled);
  turns.i_am_parent();
  heap.write(kParent);
  if (spilled) heap.send_out();
  turns.tell_child();
  turns.wait_for_child();
  heap.expect(kParent, "the parent after the child's and grandchild's writes");
  heap.write(kParent + 100);
  turns.tell_child();
  expect_good_end(pid, "the child");
  heap.expect(kParent + 100, "the parent after all is over");
  for (size_t i = 0; i < Heap::kCount; ++i) print_checksum("block", heap.blocks[i], heap.sizes[i]);
  heap.free_all();
  return done();
}

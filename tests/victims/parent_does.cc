// A parent does something drastic after a fork; the child's data are as they were, and the child goes on with
// them. argv[1]: what the parent does. The last word is the child's: `ok` on stdout, maybe long after the
// parent is gone.
#include "tests/victims/pair.h"

using namespace victim;

namespace {

void child(Heap& heap, Turns& turns, bool parent_dies) {
  turns.i_am_child();
  if (parent_dies) {
    char token;
    // The pipe ends when the parent does.
    EXPECT(!turns.wait_for_parent_end(&token), "the parent spoke instead of ending");
  } else {
    turns.wait_for_parent();
  }
  heap.expect(1, "the child after what the parent did");
  for (size_t i = 0; i < Heap::kCount; ++i) {
    heap.blocks[i] = static_cast<char*>(realloc(heap.blocks[i], 2 * heap.sizes[i]));
    EXPECT(heap.blocks[i], "realloc in the child: %s", strerror(errno));
    EXPECT_FILLED(heap.blocks[i], heap.sizes[i] / 8 * 8, 1 + i, "the child's grown block");
  }
  heap.free_all();
  heap.make(60);
  heap.expect(60, "the child's new heap");
  heap.free_all();
  done();
  fflush(stdout);
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc > 1, "usage: parent_does WHAT");
  const auto is = [&](const char* name) { return strcmp(argv[1], name) == 0; };
  const bool dies = is("exits") || is("_exits") || is("aborts") || is("is-killed") || is("executes");
  Heap heap;
  heap.make(1);
  heap.send_out();
  Turns turns;
  const pid_t pid = must_fork();
  if (pid == 0) child(heap, turns, dies);
  turns.i_am_parent();
  if (is("frees")) {
    heap.free_all();
  } else if (is("frees-and-allocates")) {
    for (int round = 0; round < 3; ++round) {
      heap.free_all();
      heap.make(70);
    }
    heap.expect(70, "the parent's new heap");
    heap.free_all();
  } else if (is("grows")) {
    for (size_t i = 0; i < Heap::kCount; ++i) {
      heap.blocks[i] = static_cast<char*>(realloc(heap.blocks[i], 3 * heap.sizes[i]));
      EXPECT(heap.blocks[i], "realloc: %s", strerror(errno));
      memset(heap.blocks[i], 5, 3 * heap.sizes[i]);
    }
    heap.free_all();
  } else if (is("shrinks")) {
    for (size_t i = 0; i < Heap::kCount; ++i) {
      heap.blocks[i] = static_cast<char*>(realloc(heap.blocks[i], heap.sizes[i] / 100 + 1));
      EXPECT(heap.blocks[i], "realloc: %s", strerror(errno));
      memset(heap.blocks[i], 5, heap.sizes[i] / 100 + 1);
    }
    heap.free_all();
  } else if (is("writes")) {
    heap.write(80);
    heap.expect(80, "the parent's writes");
    heap.free_all();
  } else if (is("exits")) {
    exit(0);
  } else if (is("_exits")) {
    _exit(0);
  } else if (is("aborts")) {
    abort();
  } else if (is("is-killed")) {
    kill(getpid(), SIGKILL);
  } else if (is("executes")) {
    fcntl(turns.parents_end(), F_SETFD, FD_CLOEXEC);
    execl("/bin/true", "true", nullptr);
  } else {
    complain("the parent cannot do this: %s", argv[1]);
  }
  turns.tell_child();
  expect_good_end(pid, "the child");
  return 0;
}

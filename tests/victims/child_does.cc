// A child does something drastic with what it inherited; the parent's data, and what the parent does with
// them next, are as if there had been no child. argv[1]: what the child does; argv[2] spilled: the data are
// out at the fork.
#include <sys/uio.h>

#include <cstdlib>

#include "tests/victims/pair.h"

using namespace victim;

namespace {

void realloc_all(Heap& heap, size_t (*next)(size_t)) {
  for (size_t i = 0; i < Heap::kCount; ++i) {
    const size_t bytes = next(heap.sizes[i]);
    auto* p = static_cast<char*>(realloc(heap.blocks[i], bytes));
    EXPECT(p, "realloc to %zu in the child: %s", bytes, strerror(errno));
    EXPECT_FILLED(p, (bytes < heap.sizes[i] ? bytes : heap.sizes[i]) / 8 * 8, 1 + i,
                  "the child's resized block");
    memset(p, 0xEE, bytes);
    heap.blocks[i] = p;
  }
}

// Does it and ends; returns only when there is no such thing.
void act(const char* what, Heap& heap, char* other) {
  const auto is = [&](const char* name) { return strcmp(what, name) == 0; };
  if (is("grows")) return realloc_all(heap, [](size_t n) { return 3 * n + MiB; }), _exit(0);
  if (is("shrinks")) return realloc_all(heap, [](size_t n) { return n / 2 + 1; }), _exit(0);
  if (is("shrinks-to-small")) return realloc_all(heap, [](size_t n) { return n / 1000 + 1; }), _exit(0);
  if (is("ends-at-once")) exit(0);
  if (is("frees")) return heap.free_all(), _exit(0);
  if (is("frees-and-allocates")) {  // what it freed may come back to it, and must not be the parent's
    for (int round = 0; round < 3; ++round) {
      heap.free_all();
      heap.make(500);
      heap.expect(500, "the child's new heap");
    }
    _exit(0);
  }
  if (is("copies")) {
    const size_t n = heap.sizes[5];
    memset(heap.blocks[5], 0x33, n);
    memcpy(other, heap.blocks[5], n);  // a whole block onto a whole block
    memmove(heap.blocks[4], heap.blocks[5] + 5, heap.sizes[4]);
    _exit(0);
  }
  if (is("writes")) return heap.write(999), heap.expect(999, "the child's writes"), _exit(0);
  if (is("reads-into")) {  // the kernel writes for it
    const int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    EXPECT(read(fd, heap.blocks[5], heap.sizes[5]) > 0, "read: %s", strerror(errno));
    EXPECT(all_zero(heap.blocks[5], heap.sizes[5]), "what the child read into its block is not there");
    _exit(0);
  }
  heap.write(77);
  if (is("exits")) exit(0);
  if (is("exits-quickly")) quick_exit(0);
  if (is("_exits")) _exit(0);
  if (is("aborts")) abort();
  if (is("is-killed")) kill(getpid(), SIGKILL);
  if (is("executes")) execl("/bin/true", "true", nullptr);
  if (is("forks-and-ends")) {
    if (fork() == 0) {
      heap.free_all();
      _exit(0);
    }
    wait(nullptr);
    heap.free_all();
    exit(0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc > 1, "usage: child_does WHAT [spilled]");
  const bool spilled = argc > 2 && strcmp(argv[2], "spilled") == 0;
  Heap heap;
  heap.make(1);
  char* other = must_malloc(heap.sizes[5]);
  fill(other, heap.sizes[5], 50);
  for (int round = 0; round < 2; ++round) {
    if (spilled) heap.send_out();
    const pid_t pid = must_fork();
    if (pid == 0) {
      heap.expect(1, "the child at its birth");
      act(argv[1], heap, other);
      complain("the child cannot do this: %s", argv[1]);
    }
    int status = -1;
    EXPECT(waitpid(pid, &status, 0) == pid, "waitpid: %s", strerror(errno));
    if (strcmp(argv[1], "aborts") == 0) {
      EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status 0x%x", status);
    } else if (strcmp(argv[1], "is-killed") == 0) {
      EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status 0x%x", status);
    } else {
      EXPECT(status == 0, "the child ended with status 0x%x", status);
    }
    heap.expect(1, "the parent after the child");
    EXPECT_FILLED(other, heap.sizes[5], 50, "the parent's other block");
  }

  // What the parent does next works on its own data: grow, fork again, shrink, free.
  for (size_t i = 0; i < Heap::kCount; ++i) {
    heap.blocks[i] = static_cast<char*>(realloc(heap.blocks[i], 2 * heap.sizes[i]));
    EXPECT(heap.blocks[i], "realloc in the parent: %s", strerror(errno));
    EXPECT_FILLED(heap.blocks[i], heap.sizes[i] / 8 * 8, 1 + i, "the parent's grown block");
    memset(heap.blocks[i] + heap.sizes[i], 0x44, heap.sizes[i]);
    fill(heap.blocks[i], heap.sizes[i], 1 + i);
  }
  const pid_t pid = must_fork();
  if (pid == 0) {
    heap.expect(1, "a second child");
    EXPECT(heap.blocks[5][2 * heap.sizes[5] - 1] == 0x44, "a second child's grown part");
    _exit(0);
  }
  expect_good_end(pid, "the second child");
  for (size_t i = 0; i < Heap::kCount; ++i) {
    heap.blocks[i] = static_cast<char*>(realloc(heap.blocks[i], heap.sizes[i]));
    EXPECT(heap.blocks[i], "shrinking in the parent: %s", strerror(errno));
    print_checksum("block", heap.blocks[i], heap.sizes[i]);
  }
  heap.expect(1, "the parent at the end");
  free(other);
  heap.free_all();
  return done();
}

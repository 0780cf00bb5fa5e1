// A server that starts as root, allocates, and then gives up what it had: it changes its directory, its root,
// its umask and its user, and goes on allocating. argv[1]: an empty directory to be locked up in.
#include <grp.h>
#include <sys/stat.h>

#include "tests/victims/pair.h"

using namespace victim;

int main(int argc, char** argv) {
  EXPECT(argc > 1, "usage: drops_everything DIRECTORY");
  Heap heap;
  heap.make(1);
  umask(0777);
  EXPECT(chdir(argv[1]) == 0 && chroot(argv[1]) == 0 && chdir("/") == 0, "chroot: %s", strerror(errno));
  EXPECT(setgroups(0, nullptr) == 0 && setgid(65534) == 0 && setuid(65534) == 0, "setuid: %s",
         strerror(errno));
  heap.send_out();
  heap.expect(1, "the heap from before");
  for (size_t i = 0; i < Heap::kCount; ++i) {
    heap.blocks[i] = static_cast<char*>(realloc(heap.blocks[i], 2 * heap.sizes[i]));
    EXPECT(heap.blocks[i], "realloc: %s", strerror(errno));
    EXPECT_FILLED(heap.blocks[i], heap.sizes[i] / 8 * 8, 1 + i, "a grown block");
  }
  Heap after;
  after.make(2);
  const pid_t pid = must_fork();
  if (pid == 0) {
    after.write(3);
    heap.free_all();
    after.expect(3, "the child's heap");
    heap.make(4);
    heap.expect(4, "the child's new heap");
    _exit(0);
  }
  expect_good_end(pid, "the child");
  after.write(5);
  after.expect(5, "the heap from after");
  after.free_all();
  heap.free_all();
  return done();
}

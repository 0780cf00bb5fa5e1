// A program with large blocks becomes a daemon and works on with them. argv[1]: daemon (the libc function) or
// double-fork (setsid in between); argv[2]: the file that gets the last word, because a daemon has no stdout.
#include <sys/stat.h>

#include "tests/victims/pair.h"

using namespace victim;

int main(int argc, char** argv) {
  EXPECT(argc > 2, "usage: becomes_a_daemon HOW FILE");
  Heap heap;
  heap.make(1);
  heap.send_out();
  const int report = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  EXPECT(report >= 0, "open %s: %s", argv[2], strerror(errno));
  if (strcmp(argv[1], "daemon") == 0) {
    EXPECT(daemon(0, 0) == 0, "daemon: %s", strerror(errno));
  } else {
    if (must_fork() != 0) _exit(0);
    EXPECT(setsid() > 0, "setsid: %s", strerror(errno));
    if (must_fork() != 0) exit(0);
    umask(0);
    EXPECT(chdir("/") == 0, "chdir: %s", strerror(errno));
  }
  dup2(report, 1);  // complaints go there too
  heap.expect(1, "the daemon's inherited heap");
  heap.write(2);
  heap.expect(2, "the daemon's heap");
  for (size_t i = 0; i < Heap::kCount; ++i) {
    heap.blocks[i] = static_cast<char*>(realloc(heap.blocks[i], 2 * heap.sizes[i]));
    EXPECT(heap.blocks[i], "realloc in the daemon: %s", strerror(errno));
    EXPECT_FILLED(heap.blocks[i], heap.sizes[i] / 8 * 8, 2 + i, "the daemon's grown block");
  }
  heap.free_all();
  heap.make(3);
  heap.expect(3, "the daemon's new heap");
  heap.free_all();
  return done();
}

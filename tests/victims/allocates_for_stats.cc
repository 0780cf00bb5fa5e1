// A known amount of work for the report: 5 large blocks by one function, 3 larger ones by another, 2 of them
// freed; with `with-a-child`, a child with one block of its own; with another argument, the name of a file,
// all descriptor numbers but the first three mean that file in the end.
#include <fcntl.h>

#include "tests/victims/pair.h"

using namespace victim;

extern "C" {
__attribute__((noinline)) char* five_small_ones() {
  char* p = nullptr;
  for (int i = 0; i < 5; ++i) {
    p = must_malloc(8 * MiB);
    memset(p, 1, 8 * MiB);
  }
  return p;
}
__attribute__((noinline)) void three_large_ones() {
  for (int i = 0; i < 3; ++i) {
    char* p = must_malloc(32 * MiB);
    memset(p, 1, 32 * MiB);
    if (i < 2) free(p);
  }
}
}

int main(int argc, char** argv) {
  five_small_ones();
  three_large_ones();
  if (argc > 1 && strcmp(argv[1], "with-a-child") != 0) {
    const int file = open(argv[1], O_WRONLY | O_CREAT, 0600);
    EXPECT(file >= 0, "%s: %s", argv[1], strerror(errno));
    for (int fd = 3; fd < 1024; ++fd) dup2(file, fd);
  } else if (argc > 1) {
    const pid_t pid = must_fork();
    if (pid == 0) {
      memset(must_malloc(16 * MiB), 1, 16 * MiB);
      exit(0);
    }
    expect_good_end(pid, "the child");
  }
  return done();
}

// Allocates, says `ready`, and waits for a byte on the FIFO of argv[1] while somebody else fills the disk.
// What it was given can still be written to the last byte; what it is refused later is refused with ENOMEM.
#include "tests/victims/pair.h"

using namespace victim;

int main(int argc, char** argv) {
  EXPECT(argc > 1, "usage: disk_fills_up_later FIFO");
  constexpr size_t kBytes = 12 * MiB;
  char* untouched = must_malloc(kBytes);
  char* half = must_malloc(kBytes);
  fill(half, kBytes / 2, 1);
  puts("ready");
  fflush(stdout);
  char token;
  const int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
  EXPECT(fd >= 0 && read(fd, &token, 1) == 1, "waiting on %s: %s", argv[1], strerror(errno));

  fill(untouched, kBytes, 2);
  fill(half + kBytes / 2, kBytes / 2, 3);
  send_out(untouched, kBytes);
  EXPECT_FILLED(untouched, kBytes, 2, "a block first written when the disk was full");
  EXPECT_FILLED(half, kBytes / 2, 1, "the half written before");
  EXPECT_FILLED(half + kBytes / 2, kBytes / 2, 3, "the half written after");

  for (int i = 0; i < 4; ++i) {
    errno = 0;
    auto* p = static_cast<char*>(hidden(malloc(kBytes)));
    EXPECT(p || errno == ENOMEM, "refused with errno %d (%s)", errno, strerror(errno));
    if (p) fill(p, kBytes, 4);
    free(p);
    errno = 0;
    p = static_cast<char*>(hidden(realloc(half, 8 * kBytes)));
    EXPECT(p || errno == ENOMEM, "realloc refused with errno %d (%s)", errno, strerror(errno));
    if (p) half = p;
    EXPECT_FILLED(half, kBytes / 2, 1, "after realloc on a full disk");
  }
  const pid_t pid = must_fork();
  if (pid == 0) {
    fill(untouched, kBytes, 5);
    EXPECT_FILLED(untouched, kBytes, 5, "the child on a full disk");
    _exit(0);
  }
  expect_good_end(pid, "the child");
  EXPECT_FILLED(untouched, kBytes, 2, "the parent on a full disk");
  EXPECT(
      madvise(untouched + 4096 - reinterpret_cast<uintptr_t>(untouched) % 4096, 4 * MiB, MADV_DONTNEED) == 0,
      "madvise");
  fill(untouched, kBytes, 6);
  EXPECT_FILLED(untouched, kBytes, 6, "written again after MADV_DONTNEED on a full disk");
  free(untouched);
  free(half);
  return done();
}

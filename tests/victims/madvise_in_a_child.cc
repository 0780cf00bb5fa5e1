// madvise(MADV_DONTNEED) in a child zeroes the child's copy and not the parent's, and the other way round.
#include <sys/wait.h>

#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 8 * MiB;
  void* aligned = nullptr;
  EXPECT(posix_memalign(&aligned, 4096, kBytes) == 0, "posix_memalign");
  auto* p = static_cast<char*>(aligned);
  fill(p, kBytes, 1);
  int to_child[2], to_parent[2];
  EXPECT(pipe(to_child) == 0 && pipe(to_parent) == 0, "pipe");
  const pid_t pid = fork();
  char token = 0;
  if (pid == 0) {
    EXPECT(madvise(p + 2 * MiB, 2 * MiB, MADV_DONTNEED) == 0, "madvise in the child: %s", strerror(errno));
    EXPECT(all_zero(p + 2 * MiB, 2 * MiB), "the child's range is not zero");
    EXPECT(write(to_parent[1], "x", 1) == 1 && read(to_child[0], &token, 1) == 1, "pipe");
    EXPECT_FILLED(p, 2 * MiB, 1, "the child's start after the parent's madvise");
    EXPECT(all_zero(p + 2 * MiB, 2 * MiB), "the child's range came back");
    _exit(0);
  }
  EXPECT(read(to_parent[0], &token, 1) == 1, "the child ended early");
  EXPECT_FILLED(p, kBytes, 1, "the parent's block after the child's madvise");
  EXPECT(madvise(p, MiB, MADV_DONTNEED) == 0, "madvise in the parent: %s", strerror(errno));
  EXPECT(all_zero(p, MiB), "the parent's range is not zero");
  EXPECT(write(to_child[1], "x", 1) == 1, "pipe");
  int status = -1;
  EXPECT(waitpid(pid, &status, 0) == pid && status == 0, "the child ended with %d", status);
  free(p);
  return done();
}

// Says what a forked child has: `shared`, `snapshot` or `duplicate` (as a snapshot, in a file of its own).
// argv[1]: the mode to set through the interface; without it the environment's holds.
#include <sys/stat.h>

#include "tests/victims/pair.h"

using namespace victim;

namespace {

ino_t file_of(const void* block) {
  char* path = exm_get_path_of(block);
  if (!path) return 0;
  struct stat info {};
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  EXPECT(fd >= 0 && fstat(fd, &info) == 0, "open %s: %s", path, strerror(errno));
  close(fd);
  free(path);
  return info.st_ino;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) exm_set_cow(atoi(argv[1]));
  constexpr size_t kBytes = 8 * MiB;
  char* block = must_malloc(kBytes);
  fill(block, kBytes, 1);
  const ino_t file = file_of(block);
  Turns turns;
  const pid_t pid = must_fork();
  if (pid == 0) {
    turns.i_am_child();
    turns.wait_for_parent();
    const bool sees_parent = first_difference(block, kBytes, 2) == kBytes;
    if (!sees_parent) EXPECT_FILLED(block, kBytes, 1, "the child");
    printf("the child %s what the parent wrote\n", sees_parent ? "sees" : "does not see");
    if (file != 0)
      printf("the child's block is in %s\n", file_of(block) == file ? "the parent's file" : "another file");
    fill(block, kBytes, 3);
    EXPECT_FILLED(block, kBytes, 3, "the child after its writes");
    fflush(stdout);
    turns.tell_parent();
    turns.wait_for_parent();
    free(block);
    _exit(0);
  }
  turns.i_am_parent();
  fill(block, kBytes, 2);
  turns.tell_child();
  turns.wait_for_child();
  const bool sees_child = first_difference(block, kBytes, 3) == kBytes;
  if (!sees_child) EXPECT_FILLED(block, kBytes, 2, "the parent");
  printf("the parent %s what the child wrote\n", sees_child ? "sees" : "does not see");
  turns.tell_child();
  expect_good_end(pid, "the child");
  if (!sees_child) EXPECT_FILLED(block, kBytes, 2, "the parent after the child's end");
  free(block);
  return done();
}

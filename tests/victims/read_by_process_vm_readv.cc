// process_vm_readv and process_vm_writev reach a spilled block of another process.
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 16 * MiB;
  static char copy[kBytes];
  char* block = spilled_block(kBytes, 1);
  char* target = spilled_block(kBytes, 2);
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  const pid_t parent = getpid(), pid = fork();
  if (pid == 0) {
    const iovec local = {copy, kBytes}, remote = {block, kBytes}, remote_target = {target, kBytes};
    EXPECT(process_vm_readv(parent, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(kBytes),
           "process_vm_readv: %s", strerror(errno));
    EXPECT_FILLED(copy, kBytes, 1, "read from the parent");
    fill(copy, kBytes, 3);
    EXPECT(process_vm_writev(parent, &local, 1, &remote_target, 1, 0) == static_cast<ssize_t>(kBytes),
           "process_vm_writev: %s", strerror(errno));
    EXPECT_FILLED(target, kBytes, 2, "the child's own snapshot of what it wrote in the parent");
    _exit(0);
  }
  int status = -1;
  EXPECT(waitpid(pid, &status, 0) == pid && status == 0, "the child ended with %d", status);
  EXPECT_FILLED(target, kBytes, 3, "written by the child");
  EXPECT_FILLED(block, kBytes, 1, "read by the child");
  free(block);
  free(target);
  return done();
}

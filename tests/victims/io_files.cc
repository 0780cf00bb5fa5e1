// read, pread, readv, write, pwrite, writev and path arguments, with buffers in spilled memory: never EFAULT,
// and the right bytes in the file and in the block.
#include <sys/stat.h>
#include <sys/uio.h>

#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 16 * MiB;
  char* out = spilled_block(kBytes, 1);
  char* in = spilled_block(kBytes, 2);
  const int fd = open("/var/tmp", O_TMPFILE | O_RDWR, 0600);
  EXPECT(fd >= 0, "open: %s", strerror(errno));

  EXPECT(write(fd, out, kBytes) == static_cast<ssize_t>(kBytes), "write: %s", strerror(errno));
  lseek(fd, 0, SEEK_SET);
  EXPECT(read(fd, in, kBytes) == static_cast<ssize_t>(kBytes), "read: %s", strerror(errno));
  EXPECT_FILLED(in, kBytes, 1, "after write and read");

  fill(out, kBytes, 3);
  send_out(out, kBytes);
  send_out(in, kBytes);
  EXPECT(pwrite(fd, out + 1, kBytes - 1, 1) == static_cast<ssize_t>(kBytes - 1), "pwrite: %s",
         strerror(errno));
  EXPECT(pwrite(fd, out, 1, 0) == 1, "pwrite of one byte: %s", strerror(errno));
  EXPECT(pread(fd, in, kBytes, 0) == static_cast<ssize_t>(kBytes), "pread: %s", strerror(errno));
  EXPECT_FILLED(in, kBytes, 3, "after pwrite and pread");

  // The vector itself lies in spilled memory too.
  auto* parts = reinterpret_cast<iovec*>(spilled_block(5 * MiB, 9));
  const size_t half = kBytes / 2 + 12345;
  fill(out, kBytes, 4);
  parts[0] = {out, half};
  parts[1] = {out + half, kBytes - half};
  send_out(out, kBytes);
  send_out(in, kBytes);
  send_out(parts, 5 * MiB);
  EXPECT(pwritev(fd, parts, 2, 0) == static_cast<ssize_t>(kBytes), "pwritev: %s", strerror(errno));
  parts[0] = {in, 777};
  parts[1] = {in + 777, kBytes - 777};
  send_out(parts, 5 * MiB);
  EXPECT(preadv(fd, parts, 2, 0) == static_cast<ssize_t>(kBytes), "preadv: %s", strerror(errno));
  EXPECT_FILLED(in, kBytes, 4, "after pwritev and preadv");

  strcpy(in, "/proc/self/status");
  send_out(in, kBytes);
  const int other = open(in, O_RDONLY | O_CLOEXEC);
  EXPECT(other >= 0, "open of a path in spilled memory: %s", strerror(errno));
  send_out(in, kBytes);
  EXPECT(fstat(other, reinterpret_cast<struct stat*>(in)) == 0, "fstat into spilled memory: %s",
         strerror(errno));
  close(other);
  close(fd);
  free(parts);
  free(in);
  free(out);
  return done();
}

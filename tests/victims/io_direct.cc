// O_DIRECT transfers between a file and spilled memory: pread and pwrite, aligned as the device wants them.
#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 16 * MiB;
  void* aligned = nullptr;
  EXPECT(posix_memalign(&aligned, 4096, kBytes) == 0, "posix_memalign");
  auto* out = static_cast<char*>(aligned);
  EXPECT(posix_memalign(&aligned, 4096, kBytes) == 0, "posix_memalign");
  auto* in = static_cast<char*>(aligned);
  const int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_DIRECT, 0600);
  EXPECT(fd >= 0, "open with O_DIRECT: %s", strerror(errno));
  for (uint64_t round = 1; round <= 3; ++round) {
    fill(out, kBytes, round);
    fill(in, kBytes, round + 100);
    send_out(out, kBytes);
    send_out(in, kBytes);
    EXPECT(pwrite(fd, out, kBytes, 0) == static_cast<ssize_t>(kBytes), "pwrite: %s", strerror(errno));
    EXPECT(pread(fd, in, kBytes, 0) == static_cast<ssize_t>(kBytes), "pread: %s", strerror(errno));
    EXPECT_FILLED(in, kBytes, round, "read with O_DIRECT");
    send_out(in, kBytes);
    EXPECT_FILLED(in, kBytes, round, "read with O_DIRECT, sent out and read back");
  }
  print_checksum("read", in, kBytes);
  free(in);
  free(out);
  return done();
}

// getrandom fills spilled memory: no EFAULT, no page left as it was.
#include <sys/random.h>

#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 8 * MiB;
  char* p = spilled_block(kBytes, 0);
  for (size_t at = 0; at < kBytes;) {
    const ssize_t n = getrandom(p + at, kBytes - at, 0);
    EXPECT(n > 0, "getrandom at %zu: %s", at, strerror(errno));
    at += static_cast<size_t>(n);
  }
  for (size_t at = 0; at < kBytes; at += 4096) {
    size_t same = 0;
    for (size_t w = 0; w < 512; ++w) same += reinterpret_cast<uint64_t*>(p + at)[w] == pattern(0, at / 8 + w);
    EXPECT(same < 8, "the page at %zu was not filled", at);
  }
  free(p);
  return done();
}

// free leaves errno alone, whatever it has to do inside.
#include <malloc.h>

#include "tests/victims/victim.h"

using namespace victim;

int main() {
  for (int round = 0; round < 40; ++round) {
    for (size_t bytes : {size_t{10}, size_t{100000}, threshold(), threshold() + MiB, 24 * MiB, 80 * MiB}) {
      char* p = must_malloc(bytes);
      p[0] = p[bytes - 1] = 1;
      errno = EXDEV;
      free(p);
      EXPECT(errno == EXDEV, "free of %zu bytes set errno to %d", bytes, errno);
      p = static_cast<char*>(hidden(memalign(2 * MiB, bytes)));
      EXPECT(p, "memalign(%zu)", bytes);
      p[0] = 1;
      errno = 0;
      free(p);
      EXPECT(errno == 0, "free of an aligned block of %zu bytes set errno to %d", bytes, errno);
    }
    errno = ELOOP;
    free(nullptr);
    EXPECT(errno == ELOOP, "free(NULL) set errno to %d", errno);
  }
  return done();
}

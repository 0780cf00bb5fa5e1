// A realloc that fails leaves the old block as it was: same place, same size, same bytes, still to be freed.
#include <malloc.h>

#include "tests/victims/victim.h"

using namespace victim;

int main() {
  for (size_t bytes : {size_t{1000}, threshold(), threshold() + 3 * MiB}) {
    char* p = must_malloc(bytes);
    fill(p, bytes, bytes);
    for (size_t impossible :
         {size_t{1} << 47, static_cast<size_t>(PTRDIFF_MAX) + 1, SIZE_MAX, SIZE_MAX - 4095}) {
      errno = 0;
      EXPECT(!hidden(realloc(hidden(p), hidden(impossible))), "realloc to %zu succeeded", impossible);
      EXPECT(errno == ENOMEM, "realloc to %zu set errno to %d", impossible, errno);
    }
    errno = 0;
    EXPECT(!hidden(reallocarray(hidden(p), hidden(SIZE_MAX / 2 + 1), 2)),
           "an overflowing reallocarray succeeded");
    EXPECT(errno == ENOMEM, "reallocarray set errno to %d", errno);
    EXPECT(malloc_usable_size(p) >= bytes, "the block shrank to %zu", malloc_usable_size(p));
    EXPECT_FILLED(p, bytes, bytes, "after failures");
    p = static_cast<char*>(realloc(p, bytes + MiB));
    EXPECT(p, "a possible realloc failed after the impossible ones");
    EXPECT_FILLED(p, bytes, bytes, "after success");
    free(p);
  }
  return done();
}

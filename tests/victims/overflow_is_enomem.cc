// Requests that no machine can serve: NULL and ENOMEM, whoever is asked; nothing is written anywhere.
#include <malloc.h>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

void expect_refused(void* p, const char* what) {
  EXPECT(!p, "%s gave %p", what, p);
  EXPECT(errno == ENOMEM, "%s set errno to %d (%s)", what, errno, strerror(errno));
  errno = 0;
}

}  // namespace

int main() {
  const size_t half = hidden(SIZE_MAX / 2 + 1);  // times two is zero
  const size_t too_large = hidden(static_cast<size_t>(PTRDIFF_MAX) + 1);
  const size_t most = hidden(SIZE_MAX);
  errno = 0;
  expect_refused(hidden(calloc(half, 2)), "calloc(2^63, 2)");
  expect_refused(hidden(calloc(2, half)), "calloc(2, 2^63)");
  expect_refused(hidden(calloc(half + 1, 2)), "calloc(2^63+1, 2)");
  expect_refused(hidden(calloc(most, most)), "calloc(2^64-1, 2^64-1)");
  expect_refused(hidden(calloc(hidden(size_t{1} << 32), (size_t{1} << 32) + 4096)),
                 "calloc(2^32, 2^32+4096)");
  expect_refused(hidden(malloc(too_large)), "malloc(PTRDIFF_MAX+1)");
  expect_refused(hidden(malloc(most)), "malloc(SIZE_MAX)");
  expect_refused(hidden(malloc(most - 4095)), "malloc(SIZE_MAX-4095)");
  expect_refused(hidden(malloc(hidden(size_t{1} << 47))), "malloc(2^47)");
  expect_refused(hidden(reallocarray(nullptr, half, 2)), "reallocarray(NULL, 2^63, 2)");
  expect_refused(hidden(realloc(nullptr, most)), "realloc(NULL, SIZE_MAX)");
  expect_refused(hidden(memalign(4096, most)), "memalign(4096, SIZE_MAX)");
  expect_refused(hidden(memalign(64 * KiB, most - 4096)), "memalign(64 KiB, SIZE_MAX-4096)");
  expect_refused(hidden(memalign(too_large, 10)), "memalign(2^63, 10)");
  expect_refused(hidden(memalign(too_large, 8 * MiB)), "memalign(2^63, 8 MiB)");
  expect_refused(hidden(aligned_alloc(4096, too_large)), "aligned_alloc(4096, PTRDIFF_MAX+1)");
  expect_refused(hidden(valloc(most)), "valloc(SIZE_MAX)");
  expect_refused(hidden(pvalloc(most)), "pvalloc(SIZE_MAX)");
  expect_refused(hidden(pvalloc(most - 4096)), "pvalloc(SIZE_MAX-4096)");

  // Whatever the machine says to it, there is nothing to say of a block that is not given out.
  free(hidden(malloc(hidden(size_t{1} << 46))));

  // posix_memalign answers by its result and leaves the pointer alone.
  void* p = &p;
  EXPECT(posix_memalign(&p, 64, most) == ENOMEM, "posix_memalign of SIZE_MAX is not ENOMEM");
  EXPECT(posix_memalign(&p, hidden(size_t{3}), 100) == EINVAL,
         "posix_memalign with alignment 3 is not EINVAL");
  EXPECT(posix_memalign(&p, hidden(size_t{4}), 100) == EINVAL,
         "posix_memalign with alignment 4 is not EINVAL");
  EXPECT(posix_memalign(&p, hidden(size_t{0}), 100) == EINVAL,
         "posix_memalign with alignment 0 is not EINVAL");
  EXPECT(p == &p, "a failed posix_memalign changed the pointer");
  return done();
}

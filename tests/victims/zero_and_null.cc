// Requests of nothing and operations on nothing, as glibc answers them.
#include <malloc.h>

#include "tests/victims/victim.h"

using namespace victim;

int main() {
  void* a = hidden(malloc(hidden(size_t{0})));
  void* b = hidden(malloc(hidden(size_t{0})));
  EXPECT(a && b && a != b, "malloc(0) did not give two blocks: %p %p", a, b);
  void* c = hidden(calloc(0, 5));
  void* d = hidden(calloc(5, 0));
  EXPECT(c && d, "calloc of nothing gave NULL");
  void* e = hidden(realloc(nullptr, hidden(size_t{0})));
  EXPECT(e, "realloc(NULL, 0) gave NULL");
  void* f = nullptr;
  EXPECT(posix_memalign(&f, 64, 0) == 0, "posix_memalign of 0 failed");
  for (void* p : {a, b, c, d, e, f}) free(p);
  for (size_t alignment = sizeof(void*); alignment <= 8 * MiB; alignment *= 2) {
    void* g = nullptr;
    EXPECT(posix_memalign(&g, alignment, hidden(size_t{0})) == 0, "posix_memalign of 0 failed");
    for (void* p : {hidden(aligned_alloc(alignment, hidden(size_t{0}))),
                    hidden(memalign(alignment, hidden(size_t{0}))), hidden(g)}) {
      EXPECT(p && reinterpret_cast<uintptr_t>(p) % alignment == 0, "%p is no block aligned to %zu", p,
             alignment);
      free(p);
    }
  }
  free(nullptr);

  // realloc(p, 0) frees: doing it again and again does not fill memory.
  const size_t before = resident_bytes();
  for (int i = 0; i < 60; ++i) {
    char* p = must_malloc(16 * MiB);
    memset(p, i, 16 * MiB);
    errno = 0;
    EXPECT(!hidden(realloc(p, hidden(size_t{0}))), "realloc(p, 0) gave a block");
    EXPECT(errno == 0, "realloc(p, 0) set errno to %d", errno);
    char* q = must_malloc(100);
    EXPECT(!hidden(reallocarray(q, 0, 8)), "reallocarray(p, 0, 8) gave a block");
  }
  const size_t grown = resident_bytes() - before;
  EXPECT(resident_bytes() < before || grown < 256 * MiB, "realloc(p, 0) kept %zu MiB", grown / MiB);
  return done();
}

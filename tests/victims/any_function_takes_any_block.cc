// A block from any function of the family can be passed to any other, on both sides of the threshold.
#include <dlfcn.h>

#include "tests/victims/makers.h"

using namespace victim;

namespace {

using FreeSized = void (*)(void*, size_t);
using FreeAlignedSized = void (*)(void*, size_t, size_t);
using CFree = void (*)(void*);

// C23 and old libcs have these; where they are missing, free() stands in, so that the plain run shows the
// same.
template <typename F>
F find(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_DEFAULT, name));
}

constexpr const char* kTakers[] = {
    "free",  "realloc to more", "realloc to less",    "realloc to zero",   "reallocarray",
    "cfree", "free_sized",      "free_aligned_sized", "malloc_usable_size"};

void take(size_t taker, char* p, size_t alignment, size_t bytes, const char* maker) {
  static const auto cfree = find<CFree>("cfree");
  static const auto free_sized = find<FreeSized>("free_sized");
  static const auto free_aligned_sized = find<FreeAlignedSized>("free_aligned_sized");
  auto resized = [&](size_t n, bool by_array) {
    auto* q = static_cast<char*>(by_array ? reallocarray(p, n, 1) : realloc(p, n));
    EXPECT(q, "%s of a block of %s: %s", kTakers[taker], maker, strerror(errno));
    EXPECT_FILLED(q, bytes / 8 * 8 < n / 8 * 8 ? bytes / 8 * 8 : n / 8 * 8, bytes, kTakers[taker]);
    EXPECT(malloc_usable_size(q) >= n, "after %s only %zu of %zu usable", kTakers[taker],
           malloc_usable_size(q), n);
    memset(q, 1, n);
    free(q);
  };
  switch (taker) {
    case 0:
      return free(p);
    case 1:
      return resized(bytes + 3 * MiB, false);
    case 2:
      return resized(bytes / 2 + 1, false);
    case 3:
      EXPECT(!hidden(realloc(p, hidden(size_t{0}))), "realloc(p, 0) gave a block");
      return;
    case 4:
      return resized(bytes * 2, true);
    case 5:
      return cfree ? cfree(p) : free(p);
    case 6:
      return free_sized && alignment == 0 ? free_sized(p, bytes) : free(p);
    case 7:
      return free_aligned_sized && alignment ? free_aligned_sized(p, alignment, bytes) : free(p);
    case 8:
      EXPECT(malloc_usable_size(p) >= bytes, "too little usable");
      return free(p);
  }
}

}  // namespace

int main() {
  const size_t t = threshold();
  unsigned pairs = 0;
  for (const Maker& maker : kMakers) {
    for (size_t taker = 0; taker < sizeof kTakers / sizeof *kTakers; ++taker) {
      for (size_t bytes : {size_t{40}, size_t{70000}, t - 8, t, t + MiB}) {
        const size_t alignment = 4096;
        auto* p = static_cast<char*>(maker.make(alignment, bytes));
        EXPECT(p, "%s(%zu): %s", maker.name, bytes, strerror(errno));
        fill(p, bytes, bytes);
        take(taker, p, maker.aligns ? alignment : 0, bytes, maker.name);
      }
      ++pairs;
    }
  }
  printf("pairs %u\n", pairs);
  return done();
}

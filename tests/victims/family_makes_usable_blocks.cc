// Every function of the family: aligned as promised, at least as large as asked, writable to the last usable
// byte. Sizes lie below, at and above the threshold.
#include "tests/victims/makers.h"

using namespace victim;

int main() {
  const size_t t = threshold();
  const size_t sizes[] = {1, 24, 4096, 100000, t - 1, t, t + 1, 2 * t + 12345, 5 * MiB + 1};
  const size_t alignments[] = {16, 64, 4096, 64 * KiB, 2 * MiB, 4 * MiB, 16 * MiB};
  for (const Maker& maker : kMakers) {
    for (size_t alignment : alignments) {
      if (!maker.aligns && alignment != 16) continue;
      for (size_t bytes : sizes) {
        auto* p = static_cast<char*>(maker.make(alignment, bytes));
        EXPECT(p, "%s(%zu, %zu): %s", maker.name, alignment, bytes, strerror(errno));
        const size_t promised = promised_alignment(maker, alignment);
        EXPECT(reinterpret_cast<uintptr_t>(p) % promised == 0, "%s(%zu, %zu) gave %p, not aligned to %zu",
               maker.name, alignment, bytes, static_cast<void*>(p), promised);
        const size_t usable = hidden(malloc_usable_size(p));
        EXPECT(usable >= bytes, "%s(%zu, %zu): only %zu usable", maker.name, alignment, bytes, usable);
        if (maker.zeroes) EXPECT(all_zero(p, bytes), "%s(%zu) is not zero", maker.name, bytes);
        fill(p, usable, bytes);
        EXPECT_FILLED(p, usable, bytes, maker.name);
        free(p);
      }
    }
  }
  // Not what the standard promises, but what programs get from Debian's C library.
  for (size_t bytes : sizes) {
    void* p = hidden(aligned_alloc(hidden(size_t{48}), bytes));
    EXPECT(p && reinterpret_cast<uintptr_t>(p) % 64 == 0, "aligned_alloc(48, %zu) gave %p", bytes, p);
    free(p);
  }
  EXPECT(malloc_usable_size(nullptr) == 0, "malloc_usable_size(NULL) is not 0");
  return done();
}

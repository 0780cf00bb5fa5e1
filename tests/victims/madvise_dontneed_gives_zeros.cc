// madvise(MADV_DONTNEED) on part of a block: that part reads as zeros, at once and later; all around it
// stays.
#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 24 * MiB;
  void* aligned = nullptr;
  EXPECT(posix_memalign(&aligned, 4096, kBytes) == 0, "posix_memalign");
  auto* p = static_cast<char*>(aligned);
  struct Range {
    size_t at, bytes;
  };
  // A page, some pages across an extent's border, a whole extent, several of them and the rest of the block.
  for (Range r : {Range{4096, 4096}, Range{2 * MiB - 8192, 16384}, Range{4 * MiB, 2 * MiB},
                  Range{5 * MiB + 4096, 9 * MiB}, Range{16 * MiB, 8 * MiB}, Range{0, kBytes}}) {
    for (bool out : {false, true}) {
      fill(p, kBytes, 1);
      if (out) send_out(p, kBytes);
      EXPECT(madvise(p + r.at, r.bytes, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
      if (out) send_out(p, kBytes);
      EXPECT(all_zero(p + r.at, r.bytes), "MADV_DONTNEED of %zu at %zu left data", r.bytes, r.at);
      memset(p + r.at, 7, r.bytes);
      if (out) send_out(p, kBytes);
      for (size_t i = 0; i < r.bytes; ++i) EXPECT(p[r.at + i] == 7, "a write after MADV_DONTNEED was lost");
      // All around: the pattern of the whole block with the range put back.
      for (size_t word = r.at / 8; word < (r.at + r.bytes) / 8; ++word)
        reinterpret_cast<uint64_t*>(p)[word] = pattern(1, word);
      EXPECT_FILLED(p, kBytes, 1, "around the range");
    }
  }
  EXPECT(madvise(p + 1, 4096, MADV_DONTNEED) == -1 && errno == EINVAL, "an unaligned madvise is not EINVAL");
  EXPECT(madvise(p, 0, MADV_DONTNEED) == 0, "an empty madvise: %s", strerror(errno));
  EXPECT_FILLED(p, kBytes, 1, "after madvise calls that do nothing");
  free(p);
  return done();
}

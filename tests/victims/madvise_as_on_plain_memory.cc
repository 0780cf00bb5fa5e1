// Other advice on a block does what it does on anonymous memory: FREE gives old bytes or zeros, page by page,
// and respects later writes; hints change nothing; posix_madvise(DONTNEED) discards nothing; nonsense is
// EINVAL.
#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 16 * MiB;
  void* aligned = nullptr;
  EXPECT(posix_memalign(&aligned, 4096, kBytes) == 0, "posix_memalign");
  auto* p = static_cast<char*>(aligned);

  fill(p, kBytes, 1);
  EXPECT(madvise(p + 4 * MiB, 4 * MiB, MADV_FREE) == 0, "MADV_FREE: %s", strerror(errno));
  send_out(p, kBytes);
  for (size_t at = 4 * MiB; at < 8 * MiB; at += 4096) {
    bool old = true;
    for (size_t w = 0; w < 512; ++w) old &= reinterpret_cast<uint64_t*>(p + at)[w] == pattern(1, at / 8 + w);
    EXPECT(old || all_zero(p + at, 4096), "after MADV_FREE the page at %zu is neither old nor zero", at);
  }
  fill(p + 4 * MiB, 4 * MiB, 2);  // written again: from now on it stays
  send_out(p, kBytes);
  EXPECT_FILLED(p + 4 * MiB, 4 * MiB, 2, "written after MADV_FREE");

  fill(p, kBytes, 3);
  EXPECT(posix_madvise(p, kBytes, POSIX_MADV_DONTNEED) == 0, "posix_madvise failed");
  EXPECT_FILLED(p, kBytes, 3, "after posix_madvise(DONTNEED)");
  for (int hint :
       {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT, MADV_HUGEPAGE,
        MADV_NOHUGEPAGE, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_DODUMP, MADV_MERGEABLE}) {
    const int r = madvise(p, kBytes, hint);
    EXPECT(r == 0 || hint == MADV_MERGEABLE || hint == MADV_HUGEPAGE || hint == MADV_NOHUGEPAGE ||
               hint == MADV_COLD,
           "madvise(%d): %s", hint, strerror(errno));
    EXPECT_FILLED(p, kBytes, 3, "after a hint");
  }
  EXPECT(madvise(p, kBytes, 4711) == -1 && errno == EINVAL, "madvise(4711) is not EINVAL");
  EXPECT(madvise(p, kBytes, MADV_REMOVE) == -1 && errno == EINVAL, "MADV_REMOVE is not EINVAL");
  EXPECT_FILLED(p, kBytes, 3, "after refused advice");
  free(p);
  return done();
}

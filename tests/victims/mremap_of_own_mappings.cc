// mremap, munmap and mprotect of what the program mapped itself are left alone: anonymous and file mappings,
// small and large, grown, moved, shrunk, duplicated.
#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  for (size_t bytes : {64 * KiB, 8 * MiB}) {
    auto* p =
        static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT(p != MAP_FAILED, "mmap: %s", strerror(errno));
    fill(p, bytes, 1);
    p = static_cast<char*>(mremap(p, bytes, 3 * bytes, MREMAP_MAYMOVE));
    EXPECT(p != MAP_FAILED, "mremap to grow: %s", strerror(errno));
    EXPECT_FILLED(p, bytes, 1, "after growing");
    EXPECT(all_zero(p + bytes, 2 * bytes), "the new part is not zero");
    fill(p, 3 * bytes, 2);
    auto* target =
        static_cast<char*>(mmap(nullptr, 3 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT(target != MAP_FAILED, "mmap: %s", strerror(errno));
    auto* q = static_cast<char*>(mremap(p, 3 * bytes, 3 * bytes, MREMAP_MAYMOVE | MREMAP_FIXED, target));
    EXPECT(q == target, "mremap to a place: %s", strerror(errno));
    EXPECT_FILLED(q, 3 * bytes, 2, "after moving");
    EXPECT(mremap(q, 3 * bytes, bytes, 0) == q, "mremap to shrink: %s", strerror(errno));
    print_checksum("own mapping", q, bytes);
    EXPECT(munmap(q, bytes) == 0, "munmap: %s", strerror(errno));
  }
  return done();
}

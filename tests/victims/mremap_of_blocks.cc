// mremap of pages inside a malloc'ed block takes their contents elsewhere, as on plain Linux; put back, the
// block is whole again and can be freed.
#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 12 * MiB, kPart = 3 * MiB;
  for (bool out : {false, true}) {
    void* aligned = nullptr;
    EXPECT(posix_memalign(&aligned, 4096, kBytes) == 0, "posix_memalign");
    auto* p = static_cast<char*>(aligned);
    fill(p, kBytes, 1);
    if (out) send_out(p, kBytes);
    char* const part = p + MiB + 4096;
    auto* target = static_cast<char*>(mmap(nullptr, kPart, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT(target != MAP_FAILED, "mmap: %s", strerror(errno));
    EXPECT(mremap(part, kPart, kPart, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target, "mremap out: %s",
           strerror(errno));
    for (size_t i = 0; i < kPart / 8; ++i) {
      const size_t word = static_cast<size_t>(part - p) / 8 + i;
      EXPECT(reinterpret_cast<uint64_t*>(target)[i] == pattern(1, word), "word %zu is wrong where it went",
             word);
    }
    memset(target, 0x11, 4096);
    EXPECT(mremap(target, kPart, kPart, MREMAP_MAYMOVE | MREMAP_FIXED, part) == part, "mremap back: %s",
           strerror(errno));
    EXPECT(part[0] == 0x11 && part[4095] == 0x11, "what was written there was lost on the way back");
    for (size_t i = 0; i < 512; ++i)
      reinterpret_cast<uint64_t*>(part)[i] = pattern(1, static_cast<size_t>(part - p) / 8 + i);
    EXPECT_FILLED(p, kBytes, 1, "the block made whole");
    free(p);
    for (int i = 0; i < 4; ++i) {  // whoever gets this memory next can use all of it
      char* next = must_malloc(kBytes);
      fill(next, kBytes, 2);
      EXPECT_FILLED(next, kBytes, 2, "the next block");
      free(next);
    }
  }
  return done();
}

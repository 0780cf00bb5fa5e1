// Single instructions that need two extents and more: loads across a boundary, and string moves whose source
// and whose target lie across one. Between them, streams, so that the pager is sure of what it sees.
#include "tests/victims/spilled.h"

using namespace victim;

namespace {

constexpr size_t kExtent = 2 * MiB;
constexpr size_t kBytes = 32 * MiB;

// Eight bytes, in one instruction where the processor has one.
uint64_t load(const char* from) {
  uint64_t value = 0;
  memcpy(&value, from, sizeof value);
  return value;
}
void move(char* to, const char* from) {
#if defined(__x86_64__)
  asm volatile("movsq" : "+D"(to), "+S"(from) : : "memory");
#else
  memmove(to, from, sizeof(uint64_t));
#endif
}

uint64_t sum_of(const char* block) {
  uint64_t sum = 0;
  for (size_t at = 0; at < kBytes; at += 512) sum += static_cast<unsigned char>(block[at]);
  return sum;
}

}  // namespace

int main() {
  char* a = spilled_block(kBytes, 1);
  char* b = spilled_block(kBytes, 2);
  const uint64_t before = sum_of(a);
  for (int round = 0; round < 3; ++round) {
    EXPECT(sum_of(a) == before, "a stream read something else");
    // Every boundary of the one with every boundary of the other, so that both sides of both are wanted
    // again.
    for (size_t i = kExtent; i < kBytes; i += kExtent)
      for (size_t j = kBytes - kExtent; j > 0; j -= 5 * kExtent) {
        const char* source = a + i - 3;
        char* target = b + j - 4;
        const uint64_t loaded = load(source);
        EXPECT(memcmp(&loaded, source, sizeof loaded) == 0, "loaded across a boundary");
        move(target, source);
        EXPECT(memcmp(target, source, sizeof loaded) == 0, "moved across two boundaries");
      }
  }
  free(a);
  free(b);
  return done();
}

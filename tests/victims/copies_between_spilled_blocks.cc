// memcpy and memmove inside a spilled block and between blocks, overlapping both ways, at odd offsets.
#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 32 * MiB;
  char* a = spilled_block(kBytes, 1);
  char* b = spilled_block(kBytes, 2);
  memcpy(b, a, kBytes);  // a whole block
  EXPECT_FILLED(b, kBytes, 1, "copied whole");
  send_out(a, kBytes);
  send_out(b, kBytes);
  memcpy(b + 3, a + 8, kBytes / 2);
  EXPECT(memcmp(b + 3, a + 8, kBytes / 2) == 0, "copied at odd offsets");
  EXPECT(memcmp(b, a, 3) == 0, "bytes before the copy changed");
  send_out(b, kBytes);
  memmove(b + 5 * MiB + 1, b, 20 * MiB);
  print_checksum("moved up", b, kBytes);
  send_out(b, kBytes);
  memmove(b + 7, b + 5 * MiB + 1, 20 * MiB);
  print_checksum("moved down", b, kBytes);
  memset(a + MiB, 0x77, 10 * MiB);
  memcpy(a + 12 * MiB, a + 2 * MiB, 5 * MiB);
  print_checksum("inside one block", a, kBytes);

  // A copy of a small block into a large one and back.
  char small[1000];
  fill(small, sizeof small, 3);
  memcpy(b + 2 * MiB - 500, small, sizeof small);
  send_out(b, kBytes);
  memset(small, 0, sizeof small);
  memcpy(small, b + 2 * MiB - 500, sizeof small);
  EXPECT_FILLED(small, sizeof small, 3, "through a large block and back");
  free(a);
  free(b);
  return done();
}

// mlock, mlock2 and munlock of a block and of part of one, and its freeing while locked.
#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 6 * MiB;
  for (int round = 0; round < 4; ++round) {
    char* p = spilled_block(kBytes, 2);
    const size_t locked_before = status_bytes("VmLck");
    EXPECT(mlock(p + MiB, 2 * MiB) == 0, "mlock: %s", strerror(errno));
    EXPECT(status_bytes("VmLck") >= 2 * MiB, "only %zu KiB are locked", status_bytes("VmLck") / KiB);
    EXPECT(resident_pages(p + MiB, 2 * MiB) >= 512, "locked pages are not resident");
    EXPECT(mlock2(p, kBytes, MLOCK_ONFAULT) == 0, "mlock2: %s", strerror(errno));
    EXPECT_FILLED(p, kBytes, 2, "locked");
    fill(p, kBytes, 3);
    EXPECT_FILLED(p, kBytes, 3, "locked and written");
    if (round % 2) EXPECT(munlock(p, kBytes) == 0, "munlock: %s", strerror(errno));
    free(p);
    // glibc may keep a freed block, locked, in its heap.
    EXPECT(!exm_present() || status_bytes("VmLck") <= locked_before, "%zu KiB stay locked",
           (status_bytes("VmLck") - locked_before) / KiB);
  }
  return done();
}

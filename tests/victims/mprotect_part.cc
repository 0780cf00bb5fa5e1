// mprotect of part of a block: the part cannot be written, the rest can, its data stay; a freed block that
// was protected comes back writable.
#include <setjmp.h>
#include <signal.h>

#include "tests/victims/spilled.h"

using namespace victim;

namespace {

sigjmp_buf g_back;

bool faults(char* p) {
  if (sigsetjmp(g_back, 1) != 0) return true;
  *static_cast<volatile char*>(p) = 1;
  return false;
}

}  // namespace

int main() {
  constexpr size_t kBytes = 12 * MiB;
  struct sigaction action {};
  action.sa_handler = [](int) { siglongjmp(g_back, 1); };
  sigaction(SIGSEGV, &action, nullptr);
  for (int round = 0; round < 8; ++round) {
    void* aligned = nullptr;
    EXPECT(posix_memalign(&aligned, 4096, kBytes) == 0, "posix_memalign");
    auto* p = static_cast<char*>(aligned);
    for (size_t at = 0; at < kBytes; at += 4096)
      EXPECT(!faults(p + at), "a fresh block cannot be written at %zu", at);
    fill(p, kBytes, 4);
    char* const part = p + 3 * MiB + 4096 * static_cast<size_t>(round);
    EXPECT(mprotect(part, 2 * MiB, PROT_READ) == 0, "mprotect: %s", strerror(errno));
    send_out(p, kBytes);
    EXPECT(faults(part) && faults(part + 2 * MiB - 1), "the protected part can be written");
    EXPECT_FILLED(p, kBytes, 4, "with a protected part");
    EXPECT(!faults(part - 1) && !faults(part + 2 * MiB), "the rest cannot be written");
    if (round % 2 == 0) {
      EXPECT(mprotect(part, 2 * MiB, PROT_READ | PROT_WRITE) == 0, "mprotect back: %s", strerror(errno));
      fill(p, kBytes, 5);
      EXPECT_FILLED(p, kBytes, 5, "after the protection was lifted");
    } else if (round % 4 == 1) {
      EXPECT(mprotect(part, 2 * MiB, PROT_NONE) == 0, "mprotect to nothing: %s", strerror(errno));
    }
    free(p);  // protected or not
  }
  return done();
}

// Allocates, writes, resizes, frees, forks and starts threads without end, a byte on stdout each round:
// something to be killed at any moment.
#include <thread>

#include "tests/victims/pair.h"

using namespace victim;

namespace {

void churn(uint64_t seed, int rounds) {
  Random random{seed};
  for (int i = 0; i < rounds; ++i) {
    const size_t bytes = 4 * MiB + random.below(8 * MiB);
    char* p = must_malloc(bytes);
    memset(p, i, bytes / 4);
    p = static_cast<char*>(realloc(p, bytes + random.below(16 * MiB)));
    EXPECT(p, "realloc: %s", strerror(errno));
    memset(p + bytes / 2, i, bytes / 4);
    free(p);
  }
}

}  // namespace

int main() {
  char* kept = must_malloc(24 * MiB);
  fill(kept, 24 * MiB, 1);
  for (uint64_t round = 1;; ++round) {
    std::thread other([&] { churn(2 * round, 6); });
    const pid_t pid = fork();
    EXPECT(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
      memset(kept, 2, 8 * MiB);
      churn(3 * round, 3);
      _exit(0);
    }
    churn(round, 3);
    memset(kept, static_cast<int>(round), 4 * MiB);
    other.join();
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    EXPECT(write(1, ".", 1) == 1, "write: %s", strerror(errno));
  }
}

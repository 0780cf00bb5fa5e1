// Signals that arrive all the time, with a handler that does not restart system calls, make no allocation
// fail and change no byte.
#include <malloc.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

std::atomic<unsigned> g_calls;

}  // namespace

int main() {
  struct sigaction action {};
  action.sa_handler = [](int) { g_calls.fetch_add(1); };
  sigaction(SIGALRM, &action, nullptr);  // no SA_RESTART
  const itimerval often = {{0, 200}, {0, 200}}, never = {};
  setitimer(ITIMER_REAL, &often, nullptr);
  for (size_t i = 0; i < 60; ++i) {
    const size_t bytes = 5 * MiB + i * MiB;
    auto* p = static_cast<char*>(malloc(bytes));
    EXPECT(p, "malloc(%zu) under signals: %s", bytes, strerror(errno));
    fill(p, 5 * MiB, i);
    p = static_cast<char*>(realloc(p, bytes + 40 * MiB));
    EXPECT(p, "realloc(%zu) under signals: %s", bytes, strerror(errno));
    EXPECT_FILLED(p, 5 * MiB, i, "after realloc");
    memset(p + bytes, 1, 40 * MiB);
    free(p);
    if (i % 8 == 0) malloc_trim(0);
  }
  setitimer(ITIMER_REAL, &never, nullptr);
  EXPECT(g_calls.load() > 10, "only %u signals came", g_calls.load());
  return done();
}

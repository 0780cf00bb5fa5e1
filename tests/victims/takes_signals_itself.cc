// A program that blocks a signal in all its threads and waits for it gets it: nobody else's thread takes it
// away. The limit is set low by the test, so that whatever works in the background is at work.
#include <signal.h>

#include "tests/victims/victim.h"

using namespace victim;

int main() {
  sigset_t set;
  sigemptyset(&set);
  for (int s : {SIGUSR1, SIGTERM, SIGINT, SIGCHLD, SIGALRM, SIGRTMIN}) sigaddset(&set, s);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  char* p = must_malloc(96 * MiB);
  for (int round = 0; round < 6; ++round) {
    fill(p, 96 * MiB, static_cast<uint64_t>(round));
    for (int s : {SIGUSR1, SIGTERM, SIGINT, SIGALRM, SIGRTMIN}) {
      EXPECT(kill(getpid(), s) == 0, "kill: %s", strerror(errno));
      const timespec long_enough = {10, 0};
      siginfo_t info;
      const int got = sigtimedwait(&set, &info, &long_enough);
      EXPECT(got == s, "waited for signal %d and got %d", s, got);
    }
    EXPECT_FILLED(p, 96 * MiB, static_cast<uint64_t>(round), "the block");
  }
  free(p);
  return done();
}

// A signal handler that reads and writes a spilled block, on a stack that lies in another, sees the right
// bytes, while the interrupted thread works in the same block and allocates.
#include <signal.h>
#include <sys/time.h>

#include <atomic>

#include "tests/victims/spilled.h"

using namespace victim;

namespace {

constexpr size_t kBytes = 16 * MiB;

char* g_block;
std::atomic<unsigned> g_calls;
bool g_wrong;

void handler(int) {
  // The upper half belongs to the handler.
  const size_t at = kBytes / 2 + g_calls.load() * 40960 % (kBytes / 2);
  auto* words = reinterpret_cast<uint64_t*>(g_block + at);
  for (size_t i = 0; i < 512; ++i) g_wrong |= words[i] != pattern(1, at / 8 + i);
  for (size_t i = 0; i < 512; ++i) words[i] = pattern(1, at / 8 + i);
  g_calls.fetch_add(1);
}

}  // namespace

int main() {
  g_block = spilled_block(kBytes, 1);
  stack_t stack{};
  stack.ss_size = 5 * MiB;
  stack.ss_sp = spilled_block(stack.ss_size, 2);
  EXPECT(sigaltstack(&stack, nullptr) == 0, "sigaltstack: %s", strerror(errno));
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK | SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  const itimerval every_2_ms = {{0, 2000}, {0, 2000}}, never = {};
  setitimer(ITIMER_REAL, &every_2_ms, nullptr);
  while (g_calls.load() < 300) {
    EXPECT_FILLED(g_block, 64 * KiB, 1, "the thread's part");
    fill(g_block, kBytes / 2, 1);
    if (g_calls.load() % 10 == 0) send_out(g_block, kBytes);
    char* p = must_malloc(5 * MiB);
    p[0] = 1;
    free(p);
  }
  setitimer(ITIMER_REAL, &never, nullptr);
  EXPECT(!g_wrong, "the handler read wrong bytes");
  EXPECT_FILLED(g_block, kBytes, 1, "the block at the end");
  stack.ss_flags = SS_DISABLE;
  sigaltstack(&stack, nullptr);
  free(stack.ss_sp);
  free(g_block);
  return done();
}

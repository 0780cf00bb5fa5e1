// A fork changes neither the protection of pages of a block nor what the program has mapped in place of some
// of them, for parent and child, and both go on with their own bytes.
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/victims/spilled.h"

using namespace victim;

namespace {

constexpr size_t kPage = 4096, kBytes = 12 * MiB;
// Of these pages, from 3 MiB on: protected against writing, against everything, the program's file privately,
// and shared.
constexpr size_t kReadOnly = 3 * MiB, kNone = kReadOnly + 8 * kPage, kPrivate = kReadOnly + 100 * kPage,
                 kShared = kReadOnly + 700 * kPage;
sigjmp_buf g_back;

bool faults(char* p, bool writes) {
  if (sigsetjmp(g_back, 1) != 0) return true;
  volatile char* at = p;
  if (writes)
    *at = *at;
  else
    (void)*at;
  return false;
}

bool is_special(size_t at) {
  return (at >= kReadOnly && at < kNone + 3 * kPage) || (at >= kPrivate && at < kPrivate + 4 * kPage) ||
         (at >= kShared && at < kShared + 4 * kPage);
}

void look(char* block, char ordinary, char in_private, char in_shared, const char* who) {
  for (size_t at = 0; at < kBytes; at += kPage)
    if (!is_special(at)) EXPECT(block[at + 17] == ordinary, "%s: offset %zu has %d", who, at, block[at + 17]);
  for (size_t at = kReadOnly; at < kNone; at += kPage) {
    EXPECT(block[at + 17] == 'a', "%s: a page protected against writing has %d", who, block[at + 17]);
    EXPECT(faults(block + at, true), "%s: a page protected against writing can be written", who);
  }
  EXPECT(!faults(block + kReadOnly - kPage, true) && faults(block + kNone, false), "%s: protections", who);
  const int zero = open("/dev/zero", O_RDONLY);
  EXPECT(read(zero, block + kReadOnly, 1) == -1 && errno == EFAULT, "%s: read(2) writes to a protected page",
         who);
  close(zero);
  EXPECT(block[kPrivate] == in_private && block[kPrivate + 3 * kPage] == in_private, "%s: private file: %d",
         who, block[kPrivate]);
  EXPECT(block[kShared] == in_shared, "%s: shared file: %d", who, block[kShared]);
}

}  // namespace

int main() {
  struct sigaction action {};
  action.sa_handler = [](int) { siglongjmp(g_back, 1); };
  sigaction(SIGSEGV, &action, nullptr);
  char name[] = "/var/tmp/spillway-victim-XXXXXX";
  const int file = mkstemp(name);
  unlink(name);
  char text[4 * kPage];
  memset(text, 'f', sizeof text);
  EXPECT(write(file, text, sizeof text) == sizeof text, "a file cannot be written");
  void* memory = nullptr;
  EXPECT(posix_memalign(&memory, 2 * MiB, kBytes) == 0, "posix_memalign");
  auto* block = static_cast<char*>(memory);
  memset(block, 'a', kBytes);
  EXPECT(mprotect(block + kReadOnly, 8 * kPage, PROT_READ) == 0, "mprotect");
  EXPECT(mprotect(block + kNone, 3 * kPage, PROT_NONE) == 0, "mprotect");
  EXPECT(mmap(block + kPrivate, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, 0) !=
             MAP_FAILED,
         "mmap");
  EXPECT(
      mmap(block + kShared, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) != MAP_FAILED,
      "mmap");
  memset(block + kPrivate, 'p', 4 * kPage);
  send_out(block, kBytes);
  for (int round = 0; round < 3; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      look(block, static_cast<char>('a' + round), 'p', 'f', "child");
      for (size_t at = 0; at < kBytes; at += kPage)
        if (!is_special(at)) block[at + 17] = 'x';
      memset(block + kPrivate, 'q', 4 * kPage);
      look(block, 'x', 'q', 'f', "child, later");
      _exit(0);
    }
    for (size_t at = 0; at < kBytes; at += kPage)
      if (!is_special(at)) block[at + 17] = static_cast<char>('b' + round);
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0, "the child ended with %d", status);
    look(block, static_cast<char>('b' + round), 'p', 'f', "parent");
  }
  free(block);
  return done();
}

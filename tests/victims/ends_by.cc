// Ends in the way of argv[1] with large blocks alive, half of them sent out, and a child that has some too.
#include <signal.h>

#include "tests/victims/pair.h"

using namespace victim;

int main(int argc, char** argv) {
  EXPECT(argc > 1, "usage: ends_by HOW");
  const auto is = [&](const char* how) { return strcmp(argv[1], how) == 0; };
  Heap heap;
  heap.make(1);
  heap.send_out();
  Heap other;
  other.make(2);
  const pid_t pid = must_fork();
  if (pid == 0) {
    heap.write(3);
    _exit(0);
  }
  expect_good_end(pid, "the child");
  puts("ok");
  fflush(stdout);
  if (is("return")) return 0;
  if (is("_exit")) _exit(0);
  if (is("quick_exit")) quick_exit(0);
  if (is("abort")) abort();
  if (is("exec")) execl("/bin/true", "true", nullptr);
  if (is("segfault")) *hidden(reinterpret_cast<volatile char*>(8)) = 1;
  if (is("SIGTERM")) raise(SIGTERM);
  if (is("SIGKILL")) raise(SIGKILL);
  if (is("SIGXCPU")) raise(SIGXCPU);
  complain("cannot end like this: %s", argv[1]);
}

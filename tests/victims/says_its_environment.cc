// Prints LD_PRELOAD as it is here and in a program started from here, so that a test sees what was kept of
// it.
#include "tests/victims/victim.h"

int main(int argc, char**) {
  const char* preload = getenv("LD_PRELOAD");
  printf("%s\n", preload ? preload : "unset");
  fflush(stdout);
  if (argc > 1) return 0;
  execl("/proc/self/exe", "says_its_environment", "last", nullptr);
  return 1;
}

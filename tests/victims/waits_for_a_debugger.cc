// Prints where a spilled block is and what its words 0, 1000 and 500000 hold, then waits to be read by a
// debugger.
#include "tests/victims/spilled.h"

using namespace victim;

int main() {
  constexpr size_t kBytes = 8 * MiB;
  char* block = spilled_block(kBytes, 77);
  for (size_t word : {size_t{0}, size_t{1000}, size_t{500000}})
    printf("%p 0x%016lx\n", static_cast<void*>(block + word * 8),
           static_cast<unsigned long>(pattern(77, word)));
  puts("ready");
  fflush(stdout);
  for (;;) pause();
}

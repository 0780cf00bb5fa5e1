// Memory from calloc is zero although the block before it in the same place was full of other bytes.
#include <malloc.h>

#include "tests/victims/victim.h"

using namespace victim;

int main() {
  const size_t t = threshold();
  for (int round = 0; round < 12; ++round) {
    for (size_t bytes : {size_t{5000}, t, t + 1, t + 3 * MiB, 16 * MiB}) {
      char* dirty = must_malloc(bytes);
      memset(dirty, 0xAB, malloc_usable_size(dirty));
      free(dirty);
      // Smaller, equal and larger than what was freed: a recycled block may be cut or grown.
      const size_t wanted = round % 3 == 0 ? bytes : round % 3 == 1 ? bytes - bytes / 4 : bytes + MiB;
      auto* clean = static_cast<char*>(hidden(calloc(wanted / 8, 8)));
      EXPECT(clean, "calloc(%zu): %s", wanted, strerror(errno));
      EXPECT(all_zero(clean, wanted / 8 * 8), "calloc(%zu) after a freed block of %zu is not zero", wanted,
             bytes);
      memset(clean, 0xCD, malloc_usable_size(clean));
      free(clean);
    }
  }
  return done();
}

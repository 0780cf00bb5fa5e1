// What a program stores in its blocks means nothing to the allocator: blocks full of addresses of other
// blocks, and of anything that could pass for bookkeeping, are resized and freed like all others.
#include "tests/victims/victim.h"

using namespace victim;

namespace {

void fill_with(char* block, size_t bytes, const void* word) {
  for (size_t i = 0; i + sizeof word <= bytes; i += sizeof word) memcpy(block + i, &word, sizeof word);
}

}  // namespace

int main() {
  const size_t bytes = threshold() + MiB;
  char* victim_block = must_malloc(bytes);
  fill(victim_block, bytes, 5);
  char* decoy = must_malloc(bytes);
  fill_with(decoy, bytes, victim_block);  // the first word, and every other, is another block's address
  decoy = static_cast<char*>(realloc(decoy, 2 * bytes));
  EXPECT(decoy, "realloc: %s", strerror(errno));
  EXPECT_FILLED(victim_block, bytes, 5, "a block whose address was another's data");
  const void* word;
  memcpy(&word, decoy + bytes - 8, sizeof word);
  EXPECT(word == victim_block, "realloc lost the data");
  fill_with(decoy, 2 * bytes, decoy);
  decoy = static_cast<char*>(realloc(decoy, 100));
  EXPECT(decoy, "realloc to 100: %s", strerror(errno));
  memcpy(&word, decoy + 8, sizeof word);
  EXPECT(word != nullptr, "realloc to a small block lost the data");
  free(decoy);
  EXPECT_FILLED(victim_block, bytes, 5, "after the decoy was freed");
  fill_with(victim_block, bytes, victim_block + bytes);
  free(victim_block);
  return done();
}

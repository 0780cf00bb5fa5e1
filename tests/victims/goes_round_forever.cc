// Fills a block that does not compress, and writes to its pages in turns without end: it wants as much memory
// as it can get. argv: bytes.
#include "tests/victims/pair.h"

using namespace victim;

int main(int argc, char** argv) {
  const size_t bytes = size_argument(argc, argv, 1, 160 * MiB);
  char* block = must_malloc(bytes);
  fill(block, bytes, 1);
  for (unsigned round = 0;; ++round)
    for (size_t at = 0; at < bytes; at += 4096) block[at] = static_cast<char>(round);
}

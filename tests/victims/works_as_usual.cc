// An ordinary life: blocks of all sizes are made, filled, resized, copied, inherited by a child and freed.
// For hosts where something is missing; the checksums are those of any other host.
#include "tests/victims/pair.h"

using namespace victim;

int main() {
  Heap heap;
  heap.make(1);
  heap.send_out();
  heap.expect(1, "the first heap");
  for (size_t i = 0; i < Heap::kCount; ++i) {
    const size_t old = heap.sizes[i];
    heap.sizes[i] = i % 2 ? 3 * old : old / 2;
    heap.blocks[i] = static_cast<char*>(realloc(heap.blocks[i], heap.sizes[i]));
    EXPECT(heap.blocks[i], "realloc: %s", strerror(errno));
    EXPECT_FILLED(heap.blocks[i], (old < heap.sizes[i] ? old : heap.sizes[i]) / 8 * 8, 1 + i,
                  "a resized block");
  }
  heap.write(2);
  auto* zeroed = static_cast<char*>(calloc(3 * MiB, 3));
  EXPECT(zeroed && all_zero(zeroed, 9 * MiB), "calloc");
  memcpy(zeroed, heap.blocks[5], 9 * MiB);
  const pid_t pid = must_fork();
  if (pid == 0) {
    heap.expect(2, "the child");
    heap.write(3);
    memset(zeroed, 1, 9 * MiB);
    heap.free_all();
    free(zeroed);
    _exit(0);
  }
  heap.write(4);
  expect_good_end(pid, "the child");
  heap.expect(4, "the parent");
  print_checksum("copied", zeroed, 9 * MiB);
  for (size_t i = 0; i < Heap::kCount; ++i) print_checksum("block", heap.blocks[i], heap.sizes[i]);
  for (int round = 0; round < 20; ++round) {
    char* p = must_malloc(6 * MiB);
    fill(p, 6 * MiB, 1);
    free(p);
  }
  free(zeroed);
  heap.free_all();
  return done();
}

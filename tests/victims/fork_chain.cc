// Eight generations, each born from the one before after it wrote: every one sees its parent's last writes,
// and its own data are unharmed by what its descendants do. All of them free and allocate on the way.
#include "tests/victims/pair.h"

using namespace victim;

namespace {

constexpr int kGenerations = 8;

void live(Heap& heap, int generation) {
  const uint64_t own = 100 * static_cast<uint64_t>(generation + 1);
  heap.write(own);
  char* extra = must_malloc(7 * MiB);
  fill(extra, 7 * MiB, own);
  if (generation < kGenerations) {
    const pid_t pid = must_fork();
    if (pid == 0) {
      heap.expect(own, "a child at its birth");
      EXPECT_FILLED(extra, 7 * MiB, own, "a child's inherited block");
      free(extra);
      live(heap, generation + 1);
      _exit(0);
    }
    expect_good_end(pid, "a descendant");
  }
  heap.expect(own, "a parent after its descendants");
  EXPECT_FILLED(extra, 7 * MiB, own, "a parent's other block");
  free(extra);
}

}  // namespace

int main() {
  Heap heap;
  heap.make(1);
  live(heap, 0);
  heap.free_all();
  return done();
}

// Allocation works after exit handlers began: in atexit and on_exit functions, static destructors and
// destructor functions, with blocks made before and freed then.
#include "tests/victims/victim.h"

using namespace victim;

namespace {

constexpr size_t kLarge = 9 * MiB;

char* g_kept;  // made in main, freed by the last of all

void work(const char* where) {
  for (size_t bytes : {size_t{64}, kLarge, size_t{300000}}) {
    auto* p = static_cast<char*>(malloc(bytes));
    if (!p) complain("%s: malloc(%zu) failed", where, bytes);
    fill(p, bytes, bytes);
    p = static_cast<char*>(realloc(p, 2 * bytes));
    if (!p) complain("%s: realloc failed", where);
    if (first_difference(p, bytes / 8 * 8, bytes) != bytes / 8 * 8) complain("%s: wrong data", where);
    free(p);
  }
  printf("%s\n", where);
}

struct Static {
  char* block = must_malloc(kLarge);
  ~Static() {
    work("static destructor");
    free(block);
  }
} g_static;

__attribute__((destructor(101))) void last() {
  work("destructor function");
  if (first_difference(g_kept, kLarge, 8) != kLarge) complain("wrong data at the very end");
  free(g_kept);
  puts("ok");
  fflush(stdout);
}

}  // namespace

int main() {
  g_kept = must_malloc(kLarge);
  fill(g_kept, kLarge, 8);
  atexit([] { work("atexit"); });
  on_exit([](int, void*) { work("on_exit"); }, nullptr);
  return 0;
}

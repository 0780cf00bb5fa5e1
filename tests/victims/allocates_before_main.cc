// Blocks of every size made before main, from .preinit_array, constructors and static initialisers, live on
// in main.
#include "tests/victims/victim.h"

using namespace victim;

namespace {

constexpr size_t kLarge = 9 * MiB;

char *g_preinit, *g_constructor;

char* make(size_t bytes, uint64_t seed) {
  auto* p = static_cast<char*>(malloc(bytes));
  if (!p) complain("malloc before main");
  fill(p, bytes, seed);
  free(malloc(100));
  free(malloc(kLarge + 1));
  return p;
}

void preinit() { g_preinit = make(kLarge, 1); }
__attribute__((section(".preinit_array"), used)) void (*const g_preinit_entry)() = preinit;

__attribute__((constructor(101))) void constructor() { g_constructor = make(kLarge, 2); }

struct Static {
  char* small = make(200, 3);
  char* large = make(kLarge, 4);
} g_static;

}  // namespace

int main() {
  EXPECT_FILLED(g_preinit, kLarge, 1, "made in .preinit_array");
  EXPECT_FILLED(g_constructor, kLarge, 2, "made in a constructor");
  EXPECT_FILLED(g_static.small, 200, 3, "small, made by a static initialiser");
  EXPECT_FILLED(g_static.large, kLarge, 4, "large, made by a static initialiser");
  g_preinit = static_cast<char*>(realloc(g_preinit, 2 * kLarge));
  EXPECT(g_preinit, "realloc");
  EXPECT_FILLED(g_preinit, kLarge, 1, "resized in main");
  for (char* p : {g_preinit, g_constructor, g_static.small, g_static.large}) free(p);
  return done();
}

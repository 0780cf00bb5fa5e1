// A program that hands the allocator what it should not. argv[1] says what. It must not get away with it: the
// last line is only reached when nothing stopped it.
#include "tests/victims/victim.h"

using namespace victim;

namespace {

char g_static_array[64 * 1024];

// The pointer that is freed wrongly is printed first, for the test to find in the message.
void announce(const void* p) {
  printf("%p\n", p);
  fflush(stdout);
}

void free_twice(size_t bytes) {
  char* p = must_malloc(bytes);
  p[0] = 1;
  announce(p);
  free(hidden(p));
  free(hidden(p));
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc > 1, "usage: misuse KIND");
  const size_t large = threshold() + MiB;
  const auto is = [&](const char* kind) { return strcmp(argv[1], kind) == 0; };
  if (is("large-twice")) {
    free_twice(large);
  } else if (is("small-twice")) {
    free_twice(40);
  } else if (is("small-twice-later")) {
    char* p = must_malloc(40);
    announce(p);
    free(hidden(p));
    free(must_malloc(400));
    free(hidden(p));
  } else if (is("medium-twice")) {
    free_twice(20000);
  } else if (is("uncached-twice")) {
    free_twice(400000);
  } else if (is("uncached-interior")) {
    char* p = must_malloc(400000);
    announce(p + 200000);
    free(hidden(p + 200000));
  } else if (is("realloc-small-freed")) {
    char* p = must_malloc(40);
    announce(p);
    free(hidden(p));
    p = static_cast<char*>(realloc(hidden(p), 100));
  } else if (is("realloc-uncached-freed")) {
    char* p = must_malloc(400000);
    announce(p);
    free(hidden(p));
    p = static_cast<char*>(realloc(hidden(p), 500000));
  } else if (is("interior")) {
    char* p = must_malloc(large);
    announce(p + 4096);
    free(hidden(p + 4096));
  } else if (is("interior-by-one")) {
    char* p = must_malloc(large);
    announce(p + 1);
    free(hidden(p + 1));
  } else if (is("end")) {
    char* p = must_malloc(large);
    announce(p + large / 2);
    free(hidden(p + large / 2));
  } else if (is("realloc-interior")) {
    char* p = must_malloc(large);
    announce(p + 64);
    p = static_cast<char*>(realloc(hidden(p + 64), 2 * large));
  } else if (is("realloc-freed")) {
    char* p = must_malloc(large);
    announce(p);
    free(hidden(p));
    p = static_cast<char*>(realloc(hidden(p), 2 * large));
  } else if (is("stack")) {
    char local[256] = {1};
    announce(hidden(&local[0]) + 32);
    free(hidden(&local[0]) + 32);
  } else if (is("static")) {
    announce(hidden(&g_static_array[0]) + 4096);
    free(hidden(&g_static_array[0]) + 4096);
  } else if (is("foreign")) {
    auto* p = reinterpret_cast<char*>(hidden(uintptr_t{0x10000000000}));
    announce(p);
    free(p);
  } else if (is("code")) {
    announce(reinterpret_cast<void*>(&main));
    free(hidden(reinterpret_cast<void*>(&main)));
  } else {
    complain("no such kind: %s", argv[1]);
  }
  complain("%s went by in silence", argv[1]);
}

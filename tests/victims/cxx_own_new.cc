// A program that replaces operator new keeps its own: it is called, it throws what the program throws, and
// the malloc under it is the preload's.
#include <new>
#include <string>
#include <vector>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

size_t g_news, g_deletes;

struct OwnFailure : std::bad_alloc {
  const char* what() const noexcept override { return "the program's own"; }
};

}  // namespace

void* operator new(size_t bytes) {
  ++g_news;
  void* p = malloc(bytes);
  if (!p) throw OwnFailure();
  return p;
}
void operator delete(void* p) noexcept {
  ++g_deletes;
  free(p);
}
void operator delete(void* p, size_t) noexcept {
  ++g_deletes;
  free(p);
}

int main() {
  {
    std::vector<uint64_t> numbers(2 * MiB);
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
    std::string text(9 * MiB, 'x');
    auto* one = hidden(new int(7));
    delete one;
    print_checksum("numbers", numbers.data(), numbers.size() * 8);
    EXPECT(text.back() == 'x', "the string lost its data");
  }
  EXPECT(g_news >= 3 && g_news == g_deletes, "%zu news and %zu deletes reached the program", g_news,
         g_deletes);
  try {
    hidden(::operator new(hidden(size_t{1} << 47)));
    complain("an impossible new succeeded");
  } catch (const OwnFailure& failure) {
    puts(failure.what());
  }
  return done();
}

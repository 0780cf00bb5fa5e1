// A new that cannot be served throws the program's own bad_alloc, the nothrow forms give NULL, and a
// new_handler is asked first and may free memory.
#include <new>
#include <vector>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

int g_asked;

template <typename F>
const char* thrown_by(F&& f) {
  try {
    f();
  } catch (const std::bad_alloc&) {
    return "bad_alloc";
  } catch (...) {
    return "something else";
  }
  return "nothing";
}

}  // namespace

int main() {
  const size_t huge = hidden(static_cast<size_t>(PTRDIFF_MAX) - 100), large = hidden(size_t{1} << 47);
  for (size_t bytes : {huge, large}) {
    printf("new: %s\n", thrown_by([&] { hidden(::operator new(bytes)); }));
    printf("new[]: %s\n", thrown_by([&] { hidden(::operator new[](bytes)); }));
    printf("aligned new: %s\n", thrown_by([&] { hidden(::operator new (bytes, std::align_val_t{4096})); }));
    EXPECT(!hidden(::operator new(bytes, std::nothrow)), "nothrow new gave a block");
    EXPECT(!hidden(::operator new[](bytes, std::nothrow)), "nothrow new[] gave a block");
    EXPECT(!hidden(::operator new (bytes, std::align_val_t{4096}, std::nothrow)),
           "nothrow aligned new gave a block");
  }
  printf("vector: %s\n", thrown_by([&] { std::vector<char> v(large); }));

  std::set_new_handler([] {
    if (++g_asked == 3) std::set_new_handler(nullptr);
  });
  printf("with a handler: %s\n", thrown_by([&] { hidden(::operator new(large)); }));
  printf("handler asked %d times\n", g_asked);
  EXPECT(g_asked == 3, "the handler was asked %d times", g_asked);

  char* after = static_cast<char*>(::operator new(8 * MiB));
  fill(after, 8 * MiB, 1);
  EXPECT_FILLED(after, 8 * MiB, 1, "a block after the failures");
  ::operator delete(after);
  return done();
}

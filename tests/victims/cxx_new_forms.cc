// Every form of operator new and delete, small and large: aligned, usable, and freed by its own delete.
#include <malloc.h>

#include <new>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

void check(void* p, size_t alignment, size_t bytes, const char* what) {
  EXPECT(p, "%s(%zu) gave NULL", what, bytes);
  EXPECT(reinterpret_cast<uintptr_t>(p) % alignment == 0, "%s(%zu) gave %p", what, bytes, p);
  EXPECT(malloc_usable_size(p) >= bytes, "%s(%zu): %zu usable", what, bytes, malloc_usable_size(p));
  fill(p, bytes, bytes);
  EXPECT_FILLED(p, bytes, bytes, what);
  // A large one is in a region like any other block: in a file, when the blocks of malloc are.
  if (!exm_present() || bytes < threshold()) return;
  char* of_malloc = must_malloc(malloc_usable_size(p));  // some are rounded up to their alignment
  char *path = exm_get_path_of(p), *path_of_malloc = exm_get_path_of(of_malloc);
  EXPECT(!path == !path_of_malloc, "%s(%zu) is not where malloc's blocks are", what, bytes);
  free(path);
  free(path_of_malloc);
  free(of_malloc);
}

}  // namespace

int main() {
  using std::align_val_t;
  for (size_t bytes : {size_t{1}, size_t{5000}, threshold(), threshold() + 3 * MiB}) {
    for (size_t alignment : {size_t{64}, size_t{4096}, 2 * MiB}) {
      const align_val_t a{alignment};
      void* p;
      check(p = ::operator new(bytes, a), alignment, bytes, "new aligned");
      ::operator delete(p, a);
      check(p = ::operator new[](bytes, a), alignment, bytes, "new[] aligned");
      ::operator delete[](p, a);
      check(p = ::operator new(bytes, a, std::nothrow), alignment, bytes, "new aligned nothrow");
      ::operator delete(p, a, std::nothrow);
      check(p = ::operator new[](bytes, a, std::nothrow), alignment, bytes, "new[] aligned nothrow");
      ::operator delete[](p, a, std::nothrow);
      check(p = ::operator new(bytes, a), alignment, bytes, "new aligned, sized delete");
      ::operator delete(p, bytes, a);
      check(p = ::operator new[](bytes, a), alignment, bytes, "new[] aligned, sized delete");
      ::operator delete[](p, bytes, a);
    }
    void* p;
    check(p = ::operator new(bytes), 16, bytes, "new");
    ::operator delete(p);
    check(p = ::operator new[](bytes), 16, bytes, "new[]");
    ::operator delete[](p);
    check(p = ::operator new(bytes, std::nothrow), 16, bytes, "new nothrow");
    ::operator delete(p, std::nothrow);
    check(p = ::operator new[](bytes, std::nothrow), 16, bytes, "new[] nothrow");
    ::operator delete[](p, std::nothrow);
    check(p = ::operator new(bytes), 16, bytes, "new, sized delete");
    ::operator delete(p, bytes);
    check(p = ::operator new[](bytes), 16, bytes, "new[], sized delete");
    ::operator delete[](p, bytes);
  }
  ::operator delete(nullptr);
  ::operator delete[](nullptr);
  return done();
}

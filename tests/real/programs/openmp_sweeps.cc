// Sweeps over arrays with OpenMP threads, each of which also takes and frees scratch memory. Integers only:
// the sums do not depend on who added what.
#include <omp.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

int main() {
  const size_t n = size_t{8} << 20;
  std::vector<uint64_t> a(n), b(n), c(n);
#pragma omp parallel for
  for (size_t i = 0; i < n; ++i) a[i] = i * 2654435761u, b[i] = i ^ (i << 7);
  uint64_t total = 0;
  for (int sweep = 0; sweep < 3; ++sweep) {
#pragma omp parallel for
    for (size_t i = 0; i < n; ++i) c[i] = a[i] + 3 * b[n - 1 - i];
#pragma omp parallel reduction(+ : total)
    {
      const size_t scratch = size_t{1} << 18;
      auto* own = static_cast<uint64_t*>(malloc(scratch * 8));
#pragma omp for schedule(dynamic, 1)
      for (size_t block = 0; block < n / scratch; ++block) {
        for (size_t i = 0; i < scratch; ++i) own[i] = c[block * scratch + i] * (i + 1);
        for (size_t i = 0; i < scratch; ++i) total += own[i];
      }
      free(own);
    }
    std::swap(a, c);
  }
  printf("%016lx\n", static_cast<unsigned long>(total));
}

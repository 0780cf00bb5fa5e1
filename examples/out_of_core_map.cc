// out_of_core_map.cc - a map over a list of objects that together are larger than the pool's memory: what
// does not fit is on disk by itself, and comes back by itself.
//   g++ -std=c++20 out_of_core_map.cc -lspillway && SPILLWAY_POOL_MEMORY_LIMIT=64M ./a.out [PARTS]
#include <spillway/pool.hpp>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  const size_t parts = argc > 1 ? static_cast<size_t>(std::atol(argv[1])) : 40;
  constexpr size_t kCount = 1 << 19;  // 4 MiB of doubles
  spillway::Pool pool;

  std::vector<spillway::DRef> in, out;
  for (size_t p = 0; p < parts; ++p) {
    spillway::Builder part = pool.create(kCount * sizeof(double));
    for (double& x : part.as<double>()) x = static_cast<double>(p);
    in.push_back(std::move(part).seal());
  }
  for (const spillway::DRef& part : in) {
    const auto x = pool.get_as<std::span<const double>>(part);
    spillway::Builder squares = pool.create(kCount * sizeof(double));
    const auto y = squares.as<double>();
    for (size_t i = 0; i < kCount; ++i) y[i] = x.value[i] * x.value[i];
    out.push_back(std::move(squares).seal());
  }
  double sum = 0, expected = 0;
  for (size_t p = 0; p < parts; ++p) {
    for (const double y : pool.get_as<std::span<const double>>(out[p]).value) sum += y;
    expected += static_cast<double>(p * p) * kCount;
  }
  std::printf("%zu MiB of objects, %llu MiB in memory, %llu MiB written to disk; the sum is %s\n",
              2 * parts * 4, static_cast<unsigned long long>(pool.stat_of("memory_used_bytes") >> 20),
              static_cast<unsigned long long>(pool.stat_of("spilled_bytes") >> 20),
              sum == expected ? "right" : "WRONG");
  return sum == expected ? 0 : 1;
}

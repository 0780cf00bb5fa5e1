// parameter_sweep.cc - eight worker processes over one matrix, which exists once in memory however many look
// at it. Each takes a part of the parameters; results come back as futures, so that a worker that fails says
// why.
//   g++ -std=c++20 parameter_sweep.cc -lspillway && ./a.out [MIB]          (of the matrix: 1024, which is 1
//   GiB)
#include <sys/wait.h>
#include <unistd.h>
#include <spillway/pool.hpp>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

constexpr int kWorkers = 8;

// How far x lies from the mean of all elements, as an example of a pass over the whole matrix.
double cost(std::span<const double> matrix, double x) {
  double sum = 0;
  for (const double a : matrix) sum += a;
  return std::abs(sum / static_cast<double>(matrix.size()) - x);
}

void work(spillway_cell cell, double x) {
  spillway::Pool pool;
  auto result = pool.future<double>(cell);
  try {
    const auto matrix = pool.get_as<std::span<const double>>(std::string("sweep/matrix"));
    result.put(cost(matrix.value, x));
  } catch (const std::exception& error) {
    result.fail(error.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const size_t mib = argc > 1 ? static_cast<size_t>(std::atol(argv[1])) : 1024;
  spillway::Pool pool;
  spillway::Builder builder = pool.create(mib << 20, {.name = "sweep/matrix"});
  for (double& a : builder.as<double>()) a = 3;
  const spillway::DRef matrix = std::move(builder).seal();

  std::vector<spillway::Future<double>> results;
  std::vector<pid_t> workers;
  for (int w = 0; w < kWorkers; ++w) {
    results.push_back(pool.future<double>());
    const pid_t worker = fork();
    if (worker == 0) {
      work(results.back().cell(), w);
      _exit(0);
    }
    workers.push_back(worker);
  }
  int best = 0;
  for (int w = 0; w < kWorkers; ++w) {
    std::printf("parameter %d: cost %g\n", w, results[static_cast<size_t>(w)].get());
    if (results[static_cast<size_t>(w)].get() < results[static_cast<size_t>(best)].get()) best = w;
  }
  for (const pid_t worker : workers) waitpid(worker, nullptr, 0);
  std::printf("best: %d; memory in use: %llu MiB for %d workers\n", best,
              static_cast<unsigned long long>(pool.stat_of("memory_used_bytes") >> 20), kWorkers);
  pool.erase(matrix);
  return best == 3 ? 0 : 1;
}

// workload.h - what the allocator benchmarks share: random numbers, size distributions, and the proof of
// which allocator was measured.
//
// The programs are built with -fno-builtin-malloc, and every block passes through touch(), whose asm the
// compiler must assume to read and write the block: no pair of malloc and free can be removed.
#pragma once
#include <benchmark/benchmark.h>
#include <dlfcn.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace spillway::bench {

// xorshift64*: about a nanosecond, so that the generator does not hide the allocator.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u | 1) {}
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1du;
  }
  uint64_t below(uint64_t n) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(next()) * n >> 64);
  }

 private:
  uint64_t state_;
};

// 16 .. 1024, all equally likely: strings, nodes, small vectors.
struct UniformTo1K {
  size_t operator()(Random& random) const { return 16 + random.below(1009); }
};

// 16 .. 32767, small ones far more often: each power of two is equally likely.
struct LogUniformTo32K {
  size_t operator()(Random& random) const {
    const uint64_t bits = random.next();
    const size_t power = size_t{16} << (bits % 11);
    return power + (bits >> 32) % power;
  }
};

inline char* touch(void* block) {
  char* bytes = static_cast<char*>(block);
  if (bytes == nullptr) std::abort();
  *bytes = 1;
  benchmark::DoNotOptimize(bytes);
  benchmark::ClobberMemory();
  return bytes;
}

// The file that malloc comes from goes into the JSON: bench/run refuses a result of the wrong allocator.
inline void record_allocator() {
  Dl_info info{};
  void* entry = dlsym(RTLD_DEFAULT, "malloc");
  if (entry == nullptr || dladdr(entry, &info) == 0 || info.dli_fname == nullptr) std::abort();
  benchmark::AddCustomContext("allocator", info.dli_fname);
}

inline int run(int argc, char** argv) {
  record_allocator();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace spillway::bench

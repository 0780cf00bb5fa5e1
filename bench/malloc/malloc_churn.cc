// malloc_churn.cc - large blocks that come and go: malloc, touch, free of 8 to 64 MiB, as temporaries of
// numeric programs do. `pages` writes one word in every 4 KiB page, so page faults weigh most; `memset`
// writes every byte. Time is per block.
#include <array>
#include <cstring>
#include <vector>

#include "bench/malloc/workload.h"

namespace spillway::bench {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kPage = 4096;

struct TouchPages {
  void operator()(char* block, size_t bytes) const {
    for (size_t at = 0; at < bytes; at += kPage) *reinterpret_cast<volatile uint64_t*>(block + at) = at;
  }
};
struct TouchAll {
  void operator()(char* block, size_t bytes) const {
    std::memset(block, 0x5a, bytes);
    benchmark::DoNotOptimize(block);
    benchmark::ClobberMemory();
  }
};

// 8 .. 64 MiB in steps of 64 KiB. The sizes depend on the seed only: every allocator gets the same sequence.
struct RandomSize {
  size_t operator()(Random& random) const { return 8 * kMiB + random.below(56 * 16 + 1) * 64 * 1024; }
};
template <size_t kBytes>
struct FixedSize {
  size_t operator()(Random&) const { return kBytes; }
};

// The oldest of `kLive` blocks is freed whenever a new one has been written: 1 is the temporary that dies at
// once.
template <class Touch, class Sizes, size_t kLive>
void churn(benchmark::State& state) {
  Random random(static_cast<uint64_t>(state.thread_index()) + 1);
  std::array<char*, kLive> live{};
  size_t turn = 0;
  for (auto _ : state) {
    char*& block = live[turn++ % kLive];
    std::free(block);
    const size_t bytes = Sizes()(random);
    block = touch(std::malloc(bytes));
    Touch()(block, bytes);
  }
  for (char* block : live) std::free(block);
}

template <class Sizes, size_t kLive>
void add(const std::string& name) {
  auto each = [&](const std::string& how, auto* function) {
    for (int threads : {1, 2})
      benchmark::RegisterBenchmark((name + "_" + how).c_str(), function)->Threads(threads)->UseRealTime();
  };
  each("pages", &churn<TouchPages, Sizes, kLive>);
  each("memset", &churn<TouchAll, Sizes, kLive>);
}

}  // namespace
}  // namespace spillway::bench

int main(int argc, char** argv) {
  using namespace spillway::bench;
  add<FixedSize<8 * kMiB>, 1>("fixed_8m");
  add<FixedSize<16 * kMiB>, 1>("fixed_16m");
  add<FixedSize<32 * kMiB>, 1>("fixed_32m");
  add<FixedSize<64 * kMiB>, 1>("fixed_64m");
  add<RandomSize, 1>("random_8_64m");
  add<RandomSize, 4>("random_8_64m_4_live");
  return run(argc, argv);
}

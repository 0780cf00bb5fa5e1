// malloc_small.cc - malloc and free of small blocks: the cost of being preloaded into a program that has no
// large ones. Time is per operation (one malloc and one free, unless a row says otherwise).
#include <sched.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "bench/malloc/workload.h"

namespace spillway::bench {
namespace {

// The tightest loop there is: the block comes back from the thread's cache at once.
void pairs_16(benchmark::State& state) {
  for (auto _ : state) std::free(touch(std::malloc(16)));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(pairs_16)->Threads(1)->Threads(2)->UseRealTime();

// A hundred at a time, freed in the order of allocation: outlives the shortest caches. Time is per block.
void batches_64(benchmark::State& state) {
  std::array<char*, 100> blocks;
  while (state.KeepRunningBatch(blocks.size())) {
    for (char*& block : blocks) block = touch(std::malloc(64));
    for (char* block : blocks) std::free(block);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(batches_64)->Threads(1)->Threads(2)->UseRealTime();

// A random block of a live set is freed and another of a random size takes its place.
template <class Sizes, size_t kLive, bool kCalloc = false>
void live_set(benchmark::State& state) {
  Random random(static_cast<uint64_t>(state.thread_index()) + 1);
  const Sizes sizes;
  auto allocate = [&](size_t bytes) { return touch(kCalloc ? std::calloc(1, bytes) : std::malloc(bytes)); };
  std::vector<char*> live(kLive);
  for (char*& block : live) block = allocate(sizes(random));
  for (auto _ : state) {
    char*& block = live[random.below(kLive)];
    std::free(block);
    block = allocate(sizes(random));
  }
  for (char* block : live) std::free(block);
  state.SetItemsProcessed(state.iterations());
}
void mixed_1k(benchmark::State& state) { live_set<UniformTo1K, 4096>(state); }
void mixed_32k(benchmark::State& state) { live_set<LogUniformTo32K, 1024>(state); }
void calloc_1k(benchmark::State& state) { live_set<UniformTo1K, 4096, true>(state); }
BENCHMARK(mixed_1k)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(mixed_32k)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(calloc_1k)->Threads(1)->Threads(2)->UseRealTime();

// A buffer grows by half at a time from 16 bytes to 64 KiB, as a string or an array does. Time is per
// realloc.
void realloc_growth(benchmark::State& state) {
  constexpr int kSteps = 20;  // 16 * 1.5^20 is 53 KiB
  while (state.KeepRunningBatch(kSteps + 1)) {
    size_t bytes = 16;
    char* block = touch(std::malloc(bytes));
    for (int step = 0; step < kSteps; ++step) {
      bytes += bytes / 2;
      block = touch(std::realloc(block, bytes));
      block[bytes - 1] = 1;
    }
    std::free(block);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(realloc_growth)->Threads(1)->Threads(2)->UseRealTime();

// Blocks pass through a ring of batches; with two threads one allocates and the other frees, with one it is a
// queue.
class Pipe {
 public:
  static constexpr size_t kBatch = 64;
  using Batch = std::array<char*, kBatch>;

  void push(const Batch& batch) {
    const size_t at = pushed_.load(std::memory_order_relaxed);
    wait_while([&] { return at - popped_.load(std::memory_order_acquire) == kSlots; });
    slots_[at % kSlots] = batch;
    pushed_.store(at + 1, std::memory_order_release);
  }
  Batch pop() {
    const size_t at = popped_.load(std::memory_order_relaxed);
    wait_while([&] { return at == pushed_.load(std::memory_order_acquire); });
    Batch batch = slots_[at % kSlots];
    popped_.store(at + 1, std::memory_order_release);
    return batch;
  }

 private:
  static constexpr size_t kSlots = 16;
  template <class Condition>
  static void wait_while(Condition blocked) {
    for (int spins = 0; blocked(); ++spins) {
      if (spins > 1000) sched_yield();
    }
  }
  std::array<Batch, kSlots> slots_;
  alignas(64) std::atomic<size_t> pushed_{0};
  alignas(64) std::atomic<size_t> popped_{0};
};

Pipe pipe;  // every run leaves it empty: as many batches are popped as are pushed

void produce(Random& random) {
  Pipe::Batch batch;
  for (char*& block : batch) block = touch(std::malloc(UniformTo1K()(random)));
  pipe.push(batch);
}
void consume() {
  for (char* block : pipe.pop()) std::free(block);
}

void producer_consumer(benchmark::State& state) {
  Random random(1);
  while (state.KeepRunningBatch(Pipe::kBatch)) {
    if (state.threads() == 1 || state.thread_index() == 0) produce(random);
    if (state.threads() == 1 || state.thread_index() == 1) consume();
  }
  state.SetItemsProcessed(state.iterations() / state.threads());
}
BENCHMARK(producer_consumer)->Threads(1)->Threads(2)->UseRealTime();

}  // namespace
}  // namespace spillway::bench

int main(int argc, char** argv) { return spillway::bench::run(argc, argv); }

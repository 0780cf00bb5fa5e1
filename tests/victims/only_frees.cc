// One thread allocates blocks, another one only ever frees them, so that the same addresses come to it again
// and again without an allocation of its own between. argv: rounds, bytes of a block.
#include <condition_variable>
#include <mutex>
#include <thread>

#include "tests/victims/makers.h"

using namespace victim;

int main(int argc, char** argv) {
  const size_t rounds = size_argument(argc, argv, 1, 1000), bytes = size_argument(argc, argv, 2, 100'000);
  std::mutex mutex;
  std::condition_variable changed;
  void* block = nullptr;
  std::thread consumer([&] {
    for (size_t round = 0; round < rounds; ++round) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return block != nullptr; });
      free(block);
      block = nullptr;
      changed.notify_one();
    }
  });
  for (size_t round = 0; round < rounds; ++round) {
    const Maker& maker = kMakers[round % (sizeof kMakers / sizeof *kMakers)];
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return block == nullptr; });
    block = maker.make(64, bytes);
    EXPECT(block != nullptr, "no memory for %zu bytes", bytes);
    memset(block, static_cast<int>(round), bytes);
    changed.notify_one();
  }
  consumer.join();
  return done();
}

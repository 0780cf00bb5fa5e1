// store_bench.cc - how fast a store is on this file system; a first look, not a comparison (bench/segstore
// is).
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>
#include <spillway/store.hpp>
#include <thread>

#include "tools/store.h"
#include "tools/store_result.h"

namespace spillway::tools {
namespace {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

struct Removed {
  std::filesystem::path path;
  ~Removed() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

std::string key_of(uint64_t number) { return fmt::format("key-{:012}", number); }

void row(const char* what, uint64_t count, double seconds) {
  fmt::print("{:<34}{:>12.0f} a second\n", what, static_cast<double>(count) / std::max(seconds, 1e-9));
}

}  // namespace

int store_bench(const std::string& directory, uint64_t keys, uint64_t value_bytes) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw Failure(kCannotStart, fmt::format("{}: {}", directory, error.message()));
  const Removed place{std::filesystem::path(directory) / fmt::format("spillway-bench-{}", getpid())};
  Store store = must(Store::open(place.path.string()));
  const std::string value(value_bytes, 'v');
  {
    PutOptions async;
    async.durability = Durability::kAsync;
    const Stopwatch watch;
    for (uint64_t i = 0; i < keys; ++i) must(store.put(key_of(i), value, async));
    row("put, async", keys, watch.seconds());
  }
  {
    std::mt19937_64 random(1);
    const Stopwatch watch;
    uint64_t found = 0;
    for (uint64_t i = 0; i < keys; ++i) found += must(store.get(key_of(random() % keys))).found() ? 1 : 0;
    row("get, random", keys, watch.seconds());
    if (found != keys)
      throw Failure(kCannotStart, fmt::format("{} of {} keys were not found", keys - found, keys));
  }
  {
    constexpr unsigned kThreads = 16;
    const uint64_t each = std::clamp<uint64_t>(keys / 1000, 10, 200);
    const Stopwatch watch;
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        for (uint64_t i = 0; i < each; ++i) (void)store.put(key_of(t * each + i), value);
      });
    for (std::thread& thread : threads) thread.join();
    row("put, group, 16 threads", kThreads * each, watch.seconds());
  }
  const StoreState state = must(store.state());
  fmt::print("{:<34}{:>12.1f} bytes a key\n", "index",
             static_cast<double>(state.index_bytes) / static_cast<double>(state.keys));
  if (StoreStatus status = store.close(); !status.ok()) throw Failure(kCannotStart, status.message());
  return 0;
}

}  // namespace spillway::tools

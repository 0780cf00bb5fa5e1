// pool_durable.cc - small objects that are to last: how many durable ones sixteen clients put in a second,
// and what a spilled one takes on disk.
//   pool_durable SOCKET_OF_SPILLWAYD [ROUNDS]
// The daemon has a memory limit of 16 MiB, and its spill directory on the device to be measured.
// bench/pool/run starts it so.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <spillway/pool.hpp>
#include <thread>

namespace {

using namespace spillway;

constexpr unsigned kClients = 16;
constexpr size_t kBytes = 1024;
constexpr uint32_t kDurable = SPILLWAY_DURABLE | SPILLWAY_UNCOUNTED;
constexpr uint32_t kSpilled = 100'000;

Pool connect(const char* socket) { return Pool({.socket = socket, .start = false}); }

// Objects a second, each under one of a hundred names of its client.
double durable_puts(std::vector<Pool>& clients) {
  std::atomic<uint64_t> done{0};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  std::vector<std::thread> threads;
  for (unsigned c = 0; c < kClients; ++c)
    threads.emplace_back([&, c] {
      for (unsigned i = 0; std::chrono::steady_clock::now() < until; ++i, ++done)
        (void)clients[c].set(std::string(kBytes, static_cast<char>('a' + i % 26)),
                             {.name = std::to_string(c) + "/" + std::to_string(i % 100), .flags = kDurable});
    });
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(done) / 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: pool_durable SPILLWAYD_SOCKET [ROUNDS]\n"), 2;
  const int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 5;
  std::vector<Pool> clients;
  for (unsigned c = 0; c < kClients; ++c) clients.push_back(connect(argv[1]));
  std::vector<double> rates;
  for (int r = 0; r < rounds; ++r) rates.push_back(durable_puts(clients));
  std::sort(rates.begin(), rates.end());
  std::printf("%-40s %10.0f objects/s\n", "SET 1 KiB, durable, 16 clients", rates[rates.size() / 2]);
  Pool& pool = clients.front();
  for (const Info& info : pool.list()) pool.erase(info.name);
  const uint64_t before = pool.stat_of("disk_used_bytes"), spills = pool.stat_of("spills");
  std::vector<DRef> all;
  for (uint32_t i = 0; i < kSpilled; ++i) all.push_back(pool.set(std::string(kBytes, 'x')));
  const double spilled = static_cast<double>(pool.stat_of("spills") - spills);
  const double bytes = static_cast<double>(pool.stat_of("disk_used_bytes") - before);
  std::printf("%-40s %10.0f bytes on disk\n", "a spilled object of 1 KiB", bytes / spilled);
}

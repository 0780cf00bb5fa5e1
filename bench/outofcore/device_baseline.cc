// device_baseline.cc - what the block device gives without any memory management: O_DIRECT on one file, 2 MiB
// in sequence with one and with four requests under way, 4 KiB at random one at a time. One JSON line per
// row. usage: device_baseline DIR BYTES SECONDS     each row moves BYTES at most and lasts SECONDS at most
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "bench/outofcore/counters.h"
#include "bench/outofcore/rows.h"
#include "spillway/size.hpp"

namespace spillway::bench {
namespace {

constexpr uint64_t kLarge = uint64_t{2} << 20;

struct Row {
  const char* name;
  bool write;
  bool random;
  int depth;  // requests under way: one thread each
};
constexpr Row kRows[] = {
    {"write_2m_qd1", true, false, 1}, {"write_2m_qd4", true, false, 4}, {"read_2m_qd1", false, false, 1},
    {"read_2m_qd4", false, false, 4}, {"read_4k_qd1", false, true, 1},  {"write_4k_qd1", true, true, 1},
};

struct Aligned {
  void* at = std::aligned_alloc(kPageBytes, kLarge);
  Aligned() { std::memset(at, 0x5a, kLarge); }  // not zeroes: a host may not store those
  ~Aligned() { std::free(at); }
};

void measure(const Row& row, int fd, uint64_t file_bytes, double seconds) {
  const uint64_t block = row.random ? kPageBytes : kLarge;
  const uint64_t blocks = file_bytes / block;
  std::atomic<uint64_t> next{0}, done{0};
  const double start = now_seconds();
  auto worker = [&](int id) {
    Aligned buffer;
    Random random(static_cast<uint64_t>(id) + 1);
    for (uint64_t n = next++; n < blocks && now_seconds() < start + seconds; n = next++) {
      const auto at = static_cast<off_t>((row.random ? random.below(blocks) : n) * block);
      const ssize_t moved =
          row.write ? ::pwrite(fd, buffer.at, block, at) : ::pread(fd, buffer.at, block, at);
      if (moved != static_cast<ssize_t>(block)) die(row.write ? "pwrite" : "pread");
      ++done;
    }
  };
  std::vector<std::thread> workers;
  for (int id = 0; id < row.depth; ++id) workers.emplace_back(worker, id);
  for (std::thread& w : workers) w.join();
  std::printf("{\"row\": \"%s\", \"seconds\": %.6f, \"accesses\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n",
              row.name, now_seconds() - start, done.load(), done.load() * block);
  std::fflush(stdout);
}

}  // namespace
}  // namespace spillway::bench

int main(int argc, char** argv) {
  using namespace spillway;
  using namespace spillway::bench;
  const auto bytes = argc == 4 ? parse_size(argv[2]) : std::nullopt;
  if (!bytes || *bytes < kLarge || std::atof(argv[3]) <= 0) {
    std::fprintf(stderr, "usage: device_baseline DIR BYTES SECONDS\n");
    return 2;
  }
  std::string path = std::string(argv[1]) + "/device-XXXXXX";
  const int fd = ::mkostemp(path.data(), O_DIRECT);
  if (fd < 0) die(path.c_str());
  ::unlink(path.c_str());
  if (::posix_fallocate(fd, 0, static_cast<off_t>(*bytes)) != 0) die("posix_fallocate");
  // Written once before: the first write of preallocated space also converts extents in the file system.
  measure({"first_write_2m_qd4", true, false, 4}, fd, *bytes, 3600);
  for (const Row& row : kRows) measure(row, fd, *bytes, std::atof(argv[3]));
}

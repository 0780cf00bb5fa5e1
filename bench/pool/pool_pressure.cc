// pool_pressure.cc - the pool when memory is short: how fast it spills and reloads beside the bare device,
// what a get of a resident object takes meanwhile, and what a small object costs the daemon.
//   pool_pressure SOCKET_OF_SPILLWAYD [ROUNDS] [disk|gets|small]
// The daemon has a memory limit of 512 MiB or more, and its spill directory on the device to be measured; all
// rows are taken in turns. bench/pool/run starts it so.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <spillway/pool.hpp>
#include <thread>

namespace {

using namespace spillway;

constexpr size_t kMiB = 1 << 20, kObjectBytes = 32 * kMiB, kPiece = 2 * kMiB;
constexpr unsigned kObjects = 8, kThreads = 4;

double now_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}
double part_of(std::vector<double> v, double part) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  return v[std::min(v.size() - 1, static_cast<size_t>(static_cast<double>(v.size()) * part))];
}
void say(const char* name, double value, const char* unit) {
  std::printf("%-44s %10.3f %s\n", name, value, unit);
  std::fflush(stdout);
}
[[noreturn]] void die(const std::string& what) {
  std::perror(what.c_str());
  std::exit(2);
}

// --- the bare device: O_DIRECT, 2 MiB at a time, four under way
// ------------------------------------------------------

struct Aligned {
  void* at = std::aligned_alloc(kPiece, kPiece);
  explicit Aligned(bool huge_page) {
    if (huge_page) (void)::madvise(at, kPiece, MADV_HUGEPAGE);
    std::memset(at, 0x5a, kPiece);
  }
  ~Aligned() { std::free(at); }
};

// MiB a second over all of the files.
double device_rate(const std::vector<std::string>& files, bool write, bool huge_pages = false) {
  std::vector<int> fds;
  for (const std::string& file : files) {
    const int fd = ::open(file.c_str(), (write ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY) | O_DIRECT, 0600);
    if (fd < 0) die(file);
    fds.push_back(fd);
  }
  constexpr size_t kPieces = kObjectBytes / kPiece;
  std::atomic<size_t> next{0};
  const double start = now_us();
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      Aligned buffer(huge_pages);
      for (size_t n = next++; n < fds.size() * kPieces; n = next++) {
        const int fd = fds[n / kPieces];
        const auto at = static_cast<off_t>(n % kPieces * kPiece);
        const ssize_t moved =
            write ? ::pwrite(fd, buffer.at, kPiece, at) : ::pread(fd, buffer.at, kPiece, at);
        if (moved != static_cast<ssize_t>(kPiece)) die(write ? "pwrite" : "pread");
      }
    });
  for (std::thread& t : threads) t.join();
  if (write)
    for (const int fd : fds) (void)::fdatasync(fd);
  const double seconds = (now_us() - start) / 1e6;
  for (const int fd : fds) ::close(fd);
  return static_cast<double>(fds.size() * kObjectBytes / kMiB) / seconds;
}

void flush_and_forget(const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    const int fd = ::open(file.c_str(), O_RDONLY);
    if (fd < 0) die(file);
    (void)::fdatasync(fd);
    (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

void disk(Pool& pool, int rounds) {
  std::vector<double> spill, reload, device_write, device_read, best_read, spill_ratio, reload_ratio;
  std::vector<char> data(kObjectBytes);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 2654435761u >> 13);
  for (int r = 0; r < rounds; ++r) {
    std::vector<DRef> drefs;
    for (unsigned i = 0; i < kObjects; ++i) drefs.push_back(pool.set(data));
    std::vector<std::string> files, rivals;
    double start = now_us();
    for (const DRef& d : drefs) files.push_back(pool.move_to_disk(d).path);
    for (const std::string& file : files) {  // what is still on its way counts
      const int fd = ::open(file.c_str(), O_RDONLY);
      (void)::fdatasync(fd);
      ::close(fd);
    }
    const double mib = kObjects * static_cast<double>(kObjectBytes / kMiB);
    spill.push_back(mib / ((now_us() - start) / 1e6));
    for (const std::string& file : files) rivals.push_back(file + ".rival");
    device_write.push_back(device_rate(rivals, true));
    for (const std::string& file : rivals) ::unlink(file.c_str());
    flush_and_forget(files);
    device_read.push_back(device_rate(files, false));
    best_read.push_back(device_rate(files, false, true));
    start = now_us();
    for (const DRef& d : drefs) (void)pool.get(d);
    reload.push_back(mib / ((now_us() - start) / 1e6));
    spill_ratio.push_back(spill.back() / device_write.back());
    reload_ratio.push_back(reload.back() / device_read.back());
  }
  say("device, writing", part_of(device_write, 0.5), "MiB/s");
  say("spill", part_of(spill, 0.5), "MiB/s");
  say("spill / device", part_of(spill_ratio, 0.5), "x (want 0.8)");
  say("device, reading", part_of(device_read, 0.5), "MiB/s");
  say("device, reading into huge pages", part_of(best_read, 0.5), "MiB/s");
  say("reload", part_of(reload, 0.5), "MiB/s");
  say("reload / device", part_of(reload_ratio, 0.5), "x (want 0.8)");
}

// Times of gets that ask the daemon each time, for half a second.
void look(Pool& uncached, const DRef& dref, std::vector<double>& times) {
  const double until = now_us() + 5e5;
  for (double t = now_us(); t < until;) {
    (void)uncached.get(dref.ref());
    const double after = now_us();
    times.push_back(after - t);
    ::usleep(100);
    t = now_us();
  }
}

void gets_while_spilling(Pool& pool, const char* socket, int rounds) {
  const std::vector<char> bytes(kMiB, 'r');
  const DRef resident = pool.set(bytes);
  pool.keep_resident(resident);
  Pool uncached({.socket = socket, .start = false, .cached_objects = 1});
  std::vector<double> idle, spilling;
  const uint64_t before = pool.stat_of("spilled_bytes");
  for (int r = 0; r < rounds; ++r) {
    look(uncached, resident, idle);
    const pid_t writer = ::fork();
    if (writer == 0) {
      Pool mine({.socket = socket, .start = false});
      const std::vector<char> data(8 * kMiB, 'w');
      std::vector<DRef> made;
      while (true) {
        made.push_back(mine.set(data));
        if (made.size() > 200) made.erase(made.begin(), made.begin() + 100);
      }
    }
    for (const uint64_t start = pool.stat_of("spills"); pool.stat_of("spills") < start + 4;) ::usleep(10'000);
    look(uncached, resident, spilling);
    ::kill(writer, SIGKILL);
    (void)::waitpid(writer, nullptr, 0);
    while (pool.stat_of("clients") > 2 || pool.stat_of("disk_used_bytes") > 0) ::usleep(10'000);
  }
  say("spilled meanwhile", static_cast<double>(pool.stat_of("spilled_bytes") - before) / kMiB, "MiB");
  say("get of a resident object, idle, median", part_of(idle, 0.5), "us");
  say("get of a resident object, idle, p99", part_of(idle, 0.99), "us");
  say("... while others spill, median", part_of(spilling, 0.5), "us");
  say("... while others spill, p99", part_of(spilling, 0.99), "us");
  say("p99 while spilling / idle", part_of(spilling, 0.99) / part_of(idle, 0.99), "x (want at most 2)");
}

void small_objects(Pool& pool) {
  constexpr unsigned kMany = 200'000;
  const std::string value(1024, 'v');
  const auto grown = [&](auto&& make) {
    const uint64_t before = pool.stat_of("daemon_private_bytes");
    make();
    return static_cast<double>(pool.stat_of("daemon_private_bytes") - before) / kMany;
  };
  std::vector<DRef> held;
  say("daemon, for each object of 1 KiB", grown([&] {
        for (unsigned i = 0; i < kMany; ++i) held.push_back(pool.set(value));
      }),
      "bytes (want 200)");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: pool_pressure SPILLWAYD_SOCKET [ROUNDS]\n"), 2;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 5;
  const std::string parts = argc > 3 ? argv[3] : "";  // one of them alone
  Pool pool({.socket = argv[1], .start = false});
  if (parts.empty() || parts == "disk") disk(pool, rounds);
  if (parts.empty() || parts == "gets") gets_while_spilling(pool, argv[1], rounds);
  if (parts.empty() || parts == "small") small_objects(pool);
  return 0;
}

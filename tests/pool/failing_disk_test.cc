// A disk that fails now and then, under random operations, against a model of what must be there. The seed is
// printed with a failure; SPILLWAY_SEED sets it, SPILLWAY_SOAK multiplies the steps.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;

namespace {

// As tests/victims/plugins/failing_disk.c has it.
enum Kind { kWriteError = 1, kShortWrite = 2, kReadError = 4, kSyncError = 8, kSlowSync = 16 };
struct Control {
  int kinds, error, one_in, counted, failed;
};

class FailingDisk {
 public:
  FailingDisk() : path_(dir_ / "control") {
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ::ftruncate(fd, sizeof(Control)) != 0) throw std::runtime_error("no control file");
    void* const at = ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (at == MAP_FAILED) throw std::runtime_error("no control file");
    control_ = static_cast<Control*>(at);
    fail(0);
  }
  ~FailingDisk() { ::munmap(control_, sizeof(Control)); }

  // One call in so many of these kinds fails.
  void fail(int kinds, int error = EIO, int one_in = 1) {
    std::atomic_ref(control_->kinds) = 0;
    std::atomic_ref(control_->error) = error;
    std::atomic_ref(control_->one_in) = one_in;
    std::atomic_ref(control_->kinds) = kinds;
  }
  int failed() const { return std::atomic_ref(control_->failed); }
  std::vector<std::string> env(const std::string& directory) const {
    return {"LD_PRELOAD=" + build_dir() + "/victims/failing_disk.so", "FAILING_DISK=" + path_,
            "FAILING_DISK_DIR=" + directory};
  }

 private:
  ScratchDir dir_;
  std::string path_;
  Control* control_ = nullptr;
};

// A sanitizer's daemon wants to be loaded before everything else.
bool can_preload() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  skip("nothing is preloaded into a sanitizer's build");
  return false;
#else
  return true;
#endif
}

unsigned setting(const char* name, unsigned otherwise) {
  const char* const text = ::getenv(name);
  return text != nullptr && atoi(text) > 0 ? static_cast<unsigned>(atoi(text)) : otherwise;
}

size_t bytes_of(uint32_t seed) { return seed % 3 == 0 ? (1 << 20) + seed % 1'500'000 : 1 + seed % 60'000; }

// True: done. False: the disk's fault, or that of a pool which is full because of it.
template <typename Call>
bool attempt(Call&& call) {
  try {
    call();
    return true;
  } catch (const Error& error) {
    const spillway_status s = error.status();
    if (s == SPILLWAY_IO || s == SPILLWAY_DISK_FULL || s == SPILLWAY_FULL) return false;
    throw;
  }
}

}  // namespace

TEST_CASE("whatever the disk refuses, nothing is lost, mixed up or counted wrong", "[run]") {
  if (!can_preload()) return;
  const unsigned seed = setting("SPILLWAY_SEED", static_cast<unsigned>(::getpid()));
  INFO("SPILLWAY_SEED=" << seed);
  std::mt19937 random(seed);
  FailingDisk disk;
  Daemon daemon({"--memory-limit", "8M"}, [&](const std::string& spill) { return disk.env(spill); });
  Pool pool = daemon.pool(16);
  std::map<std::string, uint32_t> model;  // name -> seed of its bytes
  std::map<std::string, DRef> held;
  unsigned done = 0, refused = 0;
  const unsigned steps = 400 * setting("SPILLWAY_SOAK", 1);
  for (unsigned step = 0; step < steps; ++step) {
    if (step % 20 == 0) {
      const struct {
        int kinds, error;
      } ways[] = {{0, 0},
                  {kWriteError, EIO},
                  {kWriteError, ENOSPC},
                  {kShortWrite, 0},
                  {kReadError, EIO},
                  {kSyncError, EIO},
                  {kWriteError | kReadError, EIO}};
      const auto& way = ways[random() % std::size(ways)];
      disk.fail(way.kinds, way.error, 1 + static_cast<int>(random() % 3));
    }
    const std::string name = "n" + std::to_string(random() % 24);
    const uint32_t s = random();
    INFO("step " << step << ", " << name);
    bool ok = true;
    switch (random() % 6) {
      case 0:
      case 1: {
        const uint32_t flags = s % 4 == 0 ? static_cast<uint32_t>(SPILLWAY_DURABLE) : 0u;
        ok = attempt([&] {
          DRef d = pool.set(some_bytes(bytes_of(s), s), {.name = name, .flags = flags});
          held.insert_or_assign(name, std::move(d));
          model[name] = s;
        });
        break;
      }
      case 2:
      case 3:
        if (!model.contains(name)) continue;
        ok = attempt([&] {
          if (!same(pool.get(name).bytes(), some_bytes(bytes_of(model[name]), model[name])))
            throw std::runtime_error("other bytes");
        });
        break;
      case 4:
        if (!model.contains(name)) continue;
        ok = attempt([&] { s % 2 ? pool.move_to_disk(held.at(name)) : pool.copy_to_disk(held.at(name)); });
        break;
      case 5:
        ok = attempt([&] { pool.erase(name); });
        if (!ok) break;
        model.erase(name), held.erase(name);
        break;
    }
    ++(ok ? done : refused);
  }
  INFO(disk.failed() << " calls failed, " << done << " operations done, " << refused << " refused");
  REQUIRE(disk.failed() > 0);
  REQUIRE(done > refused);
  // The disk is well again, and all is as the model says, in this daemon and in the next.
  disk.fail(0);
  const auto all_there = [&](Pool& p) {
    for (const auto& [name, s] : model) {
      INFO(name);
      REQUIRE(same(p.get(name).bytes(), some_bytes(bytes_of(s), s)));
    }
    REQUIRE(p.list().size() == model.size());
  };
  all_there(pool);
  for (auto& [name, dref] : held) pool.copy_to_disk(dref);
  daemon.kill();
  daemon.start();
  Pool again = daemon.pool();
  all_there(again);
  for (const auto& [name, s] : model) again.erase(name);
  held.clear();
  REQUIRE(wait_until([&] {
    return again.stat_of("memory_used_bytes") == 0 && again.stat_of("disk_used_bytes") == 0 &&
           again.stat_of("objects") == 0 && daemon.spill_files().empty();
  }));
}

TEST_CASE("a write that fails wakes everybody who waits for it, with the reason", "[run]") {
  if (!can_preload()) return;
  FailingDisk disk;
  Daemon daemon({"--memory-limit", "8M"}, [&](const std::string& spill) { return disk.env(spill); });
  Pool pool = daemon.pool(), other = daemon.pool();
  const DRef a = pool.set(some_bytes(3 << 20, 1), {.name = "a"}), b = pool.set(some_bytes(3 << 20, 2));
  disk.fail(kWriteError, EIO);
  REQUIRE(failure_of(SPILLWAY_IO, [&] { pool.copy_to_disk(a); }).find("Input/output error") !=
          std::string::npos);
  REQUIRE(failure_of(SPILLWAY_IO, [&] {
            (void)pool.set(some_bytes(4 << 20, 3), {.when_full = SPILLWAY_FAIL});
          }).find("Input/output error") != std::string::npos);
  failure_of(SPILLWAY_IO, [&] {
    (void)other.set(std::string("durable"), {.name = "durable", .flags = SPILLWAY_DURABLE});
  });
  REQUIRE(pool.stat_of("memory_used_bytes") == 6 << 20);
  REQUIRE(pool.stat_of("disk_used_bytes") == 0);
  disk.fail(0);
  pool.move_to_disk(a);
  disk.fail(kReadError);
  failure_of(SPILLWAY_IO, [&] { (void)other.get("a"); });
  disk.fail(0);
  REQUIRE(same(other.get("a").bytes(), some_bytes(3 << 20, 1)));
  REQUIRE(same(pool.get(b).bytes(), some_bytes(3 << 20, 2)));
}

TEST_CASE("sixteen clients that put durable objects share flushes", "[run]") {
  if (!can_preload()) return;
  FailingDisk disk;
  Daemon daemon({}, [&](const std::string& spill) { return disk.env(spill); });
  constexpr uint32_t kClients = 16, kEach = 25;
  (void)daemon.pool().set(std::string("x"),
                          {.name = "first", .flags = SPILLWAY_DURABLE | SPILLWAY_UNCOUNTED});
  const uint64_t commits = daemon.stats().at("commits");
  REQUIRE(commits == 1);
  disk.fail(kSlowSync);  // so that it does not depend on the disk who comes while a flush runs
  std::vector<std::thread> clients;
  for (uint32_t c = 0; c < kClients; ++c)
    clients.emplace_back([&, c] {
      Pool pool = daemon.pool();
      for (uint32_t i = 0; i < kEach; ++i)
        (void)pool.set(some_bytes(1000, c * kEach + i), {.name = "d" + std::to_string(c * kEach + i),
                                                         .flags = SPILLWAY_DURABLE | SPILLWAY_UNCOUNTED});
    });
  for (std::thread& client : clients) client.join();
  // Who comes while one flush runs is served by the next: two of them for all, at worst; and the kernel is
  // asked for as many, and for those of a few segments that were filled.
  REQUIRE(daemon.stats().at("commits") - commits <= 2 * kEach + 10);
  REQUIRE(disk.failed() <= 3 * static_cast<int>(kEach) + 20);
  daemon.kill();
  daemon.start();
  Pool pool = daemon.pool();
  for (uint32_t i = 0; i < kClients * kEach; ++i)
    REQUIRE(same(pool.get("d" + std::to_string(i)).bytes(), some_bytes(1000, i)));
}

TEST_CASE("a client that is killed while its durable object waits for the flush leaves nothing behind",
          "[run][fork]") {
  if (!can_preload()) return;
  FailingDisk disk;
  Daemon daemon({}, [&](const std::string& spill) { return disk.env(spill); });
  Pool pool = daemon.pool();
  disk.fail(kSlowSync);
  for (int i = 0; i < 10; ++i) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const pid_t child = in_child([&] {
      Pool p = daemon.pool();
      (void)!::write(ends[1], "r", 1);
      (void)p.set(some_bytes(1000, 1), {.name = "n", .flags = SPILLWAY_DURABLE});
      ::pause();
    });
    char byte;
    REQUIRE(::read(ends[0], &byte, 1) == 1);
    ::usleep(static_cast<useconds_t>(i) * 2500);
    ::kill(child, SIGKILL);
    REQUIRE(wait_for(child) == -SIGKILL);
    ::close(ends[0]), ::close(ends[1]);
  }
  disk.fail(0);
  REQUIRE(wait_until([&] { return pool.stat_of("clients") == 1 && pool.stat_of("objects") <= 1; }));
  pool.erase("n");  // the last may have been published
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == 0 && pool.stat_of("disk_used_bytes") == 0; }));
}

TEST_CASE(
    "when the disk refuses a flush, only what waited for it fails, and the store goes on with a well disk",
    "[run]") {
  if (!can_preload()) return;
  constexpr uint32_t kDurable = SPILLWAY_DURABLE | SPILLWAY_UNCOUNTED;
  FailingDisk disk;
  Daemon daemon({}, [&](const std::string& spill) { return disk.env(spill); });
  Pool pool = daemon.pool();
  for (uint32_t i = 0; i < 50; ++i)
    (void)pool.set(some_bytes(2000, i), {.name = "k" + std::to_string(i), .flags = kDurable});
  disk.fail(kSyncError);
  REQUIRE(failure_of(SPILLWAY_IO, [&] {
            (void)pool.set(some_bytes(10, 1), {.name = "k7", .flags = kDurable});
          }).find("Input/output error") != std::string::npos);
  failure_of(SPILLWAY_IO, [&] { (void)pool.set(some_bytes(10, 1), {.name = "new", .flags = kDurable}); });
  for (uint32_t i = 0; i < 50; ++i)
    REQUIRE(same(pool.get("k" + std::to_string(i)).bytes(), some_bytes(2000, i)));
  disk.fail(0);
  (void)pool.set(some_bytes(10, 2), {.name = "later", .flags = kDurable});
  daemon.kill();
  daemon.start();
  Pool next = daemon.pool();
  REQUIRE(next.list().size() == 51);
  failure_of(SPILLWAY_NOT_FOUND, [&] { (void)next.get("new"); });
  REQUIRE(same(next.get("later").bytes(), some_bytes(10, 2)));
  for (uint32_t i = 0; i < 50; ++i)
    REQUIRE(same(next.get("k" + std::to_string(i)).bytes(), some_bytes(2000, i)));
}

TEST_CASE("a disk that refuses the store of small names never has anybody read what a name meant before",
          "[run]") {
  if (!can_preload()) return;
  for (const int error : {EIO, ENOSPC})
    for (const bool erase : {false, true}) {
      INFO("error " << error << (erase ? ", erased" : ", replaced"));
      FailingDisk disk;
      Daemon daemon({}, [&](const std::string& spill) { return disk.env(spill); });
      Pool pool = daemon.pool(), reader = daemon.pool();
      (void)pool.set(some_bytes(100, 1), {.name = "n", .flags = SPILLWAY_UNCOUNTED});
      (void)pool.set(some_bytes(200, 1), {.name = "other", .flags = SPILLWAY_UNCOUNTED});
      const Pin held = reader.get("n");
      REQUIRE(pool.stat_of("gets") == 0);
      disk.fail(kWriteError, error);
      if (erase) {
        pool.erase("n");
        failure_of(SPILLWAY_NOT_FOUND, [&] { (void)reader.get("n"); });
      } else {
        (void)pool.set(some_bytes(100, 2), {.name = "n", .flags = SPILLWAY_UNCOUNTED});
        REQUIRE(same(reader.get("n").bytes(), some_bytes(100, 2)));
      }
      REQUIRE(pool.stat_of("gets") == 1);
      REQUIRE(disk.failed() > 0);
      disk.fail(0);
      REQUIRE(daemon.log().find(" no_small_names ") != std::string::npos);
      REQUIRE(::access((daemon.spill_dir() + "/names").c_str(), F_OK) != 0);
      // All else goes on, by messages.
      REQUIRE(same(held.bytes(), some_bytes(100, 1)));
      REQUIRE(same(reader.get("other").bytes(), some_bytes(200, 1)));
      (void)pool.set(some_bytes(300, 3), {.name = "n", .flags = SPILLWAY_UNCOUNTED});
      REQUIRE(same(reader.get("n").bytes(), some_bytes(300, 3)));
      REQUIRE(same(daemon.pool().get("n").bytes(), some_bytes(300, 3)));
      REQUIRE(pool.stat_of("small_names_disk_bytes") == 0);
    }
}

TEST_CASE("a pool whose disk has no room, or refuses from the start, tells names by messages", "[run]") {
  const auto check = [](const Daemon& daemon) {
    Pool pool = daemon.pool(), reader = daemon.pool();
    for (uint32_t i = 1; i <= 3; ++i) {
      (void)pool.set(some_bytes(100, i), {.name = "n", .flags = SPILLWAY_UNCOUNTED});
      REQUIRE(same(reader.get("n").bytes(), some_bytes(100, i)));
      REQUIRE(pool.stat_of("gets") == i);
    }
    REQUIRE(::access((daemon.spill_dir() + "/names").c_str(), F_OK) != 0);
  };
  check(Daemon({"--disk-limit", "1M"}));
  check(Daemon({"--disk-least-free", "1000T"}));
  if (!can_preload()) return;
  FailingDisk disk;
  disk.fail(kWriteError);
  check(Daemon({}, [&](const std::string& spill) { return disk.env(spill); }));
}

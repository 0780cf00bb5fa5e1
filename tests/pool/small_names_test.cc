// Small objects by name, which clients read for themselves in the daemon's store of them.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <spillway/store.hpp>
#include <thread>

#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

constexpr uint32_t kUncounted = SPILLWAY_UNCOUNTED;

// The daemon stands still meanwhile, so whoever needs an answer waits for ever: SIGALRM ends the process.
template <typename Call>
void without_daemon(const Daemon& daemon, Call&& call) {
  ::alarm(30);
  ::kill(daemon.pid(), SIGSTOP);
  try {
    call();
  } catch (...) {
    ::kill(daemon.pid(), SIGCONT);
    throw;
  }
  ::kill(daemon.pid(), SIGCONT);
  ::alarm(0);
}

bool is_missing(Pool& pool, const std::string& name) {
  try {
    (void)pool.get(name);
  } catch (const Error& error) {
    if (error.status() == SPILLWAY_NOT_FOUND) return true;
    throw;
  }
  return false;
}

void expect(bool good, const char* what) {
  if (!good) throw std::runtime_error(what);
}

std::string store_of(const Daemon& daemon) { return daemon.spill_dir() + "/names"; }

}  // namespace

TEST_CASE("a small object by name needs no daemon, for the first get in a process and for all others",
          "[fork]") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const size_t sizes[] = {0, 1, 100, 2048, 4096};
  for (const size_t bytes : sizes)
    (void)pool.set(some_bytes(bytes, static_cast<uint32_t>(bytes)),
                   {.name = "n" + std::to_string(bytes), .tag = "t" + std::to_string(bytes)});
  const pid_t child = in_child([&] {
    Pool fresh = daemon.pool();
    without_daemon(daemon, [&] {
      for (int times = 0; times < 3; ++times)
        for (const size_t bytes : sizes) {
          const Pin pin = fresh.get("n" + std::to_string(bytes));
          expect(same(pin.bytes(), some_bytes(bytes, static_cast<uint32_t>(bytes))), "other bytes");
          expect(pin.tag() == "t" + std::to_string(bytes), "another tag");
          expect(reinterpret_cast<uintptr_t>(pin.bytes().data()) % 64 == 0, "not aligned");
        }
    });
  });
  REQUIRE(wait_for(child) == 0);
  ::kill(daemon.pid(), SIGCONT);
  REQUIRE(pool.stat_of("gets") == 0);
}

TEST_CASE("a program with threads reads by name without the daemon soon after it opened the pool", "[fork]") {
  Daemon daemon;
  Pool pool = daemon.pool();
  for (int i = 0; i < 2000; ++i) (void)pool.set(i, {.name = "n" + std::to_string(i), .flags = kUncounted});
  REQUIRE(wait_for(in_child([&] {
            std::atomic<bool> done = false;
            std::thread other([&] {
              while (!done) ::usleep(100);
            });
            Pool fresh = daemon.pool();
            int i = 0;
            // Whatever was asked for before is held, so each is a first get.
            const bool is_ready = wait_until([&] {
              const uint64_t gets = fresh.stat_of("gets");
              for (int end = i + 10; i < end; ++i)
                expect(fresh.get_as<int>("n" + std::to_string(i)).value == i, "another value");
              return fresh.stat_of("gets") == gets || i > 1900;
            });
            expect(is_ready && i < 1900, "it still asks");
            without_daemon(daemon, [&] {
              for (; i < 2000; ++i)
                expect(fresh.get_as<int>("n" + std::to_string(i)).value == i, "another value");
            });
            done = true;
            other.join();
          })) == 0);
  ::kill(daemon.pid(), SIGCONT);
}

TEST_CASE("what is read by name is what the daemon would tell") {
  Daemon daemon;
  Pool pool = daemon.pool(), reader = daemon.pool(), asker = daemon.pool(1);
  for (const size_t bytes : {0, 100, 4096})
    for (const char* filters : {"", "lz4", "zstd,checksum"}) {
      const DRef dref =
          pool.set(some_bytes(bytes, 7), {.name = "n", .tag = std::string("a\0b", 3), .filters = filters});
      const uint64_t gets = pool.stat_of("gets");
      const Pin read = reader.get("n");
      REQUIRE(pool.stat_of("gets") == gets);
      const Pin told = asker.get(dref.ref());
      REQUIRE(pool.stat_of("gets") == gets + 1);
      REQUIRE(same(read.bytes(), told.bytes()));
      REQUIRE(read.tag() == told.tag());
      REQUIRE(read.version() == told.version());
      REQUIRE((read.ref().id == dref.id() && read.ref().key == dref.ref().key));
      pool.set_tag(dref, "another");
      REQUIRE(reader.get("n").tag() == "another");
      REQUIRE(pool.stat_of("gets") == gets + 1);
    }
}

TEST_CASE("the reference of what was read by name holds the object when the name means another") {
  Daemon daemon;
  Pool pool = daemon.pool(), reader = daemon.pool();
  (void)pool.set(some_bytes(100, 1), {.name = "n", .flags = kUncounted});
  const Pin pin = reader.get("n");
  REQUIRE(same(reader.get(pin.ref()).bytes(), some_bytes(100, 1)));
  {
    const DRef kept = reader.keep(pin);
    (void)pool.set(some_bytes(100, 2), {.name = "n", .flags = kUncounted});
    REQUIRE(same(pool.get(kept.ref()).bytes(), some_bytes(100, 1)));
    REQUIRE(same(reader.get("n").bytes(), some_bytes(100, 2)));
  }
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == 1; }));
  REQUIRE(same(pin.bytes(), some_bytes(100, 1)));
}

TEST_CASE("a name given anew is the new object for everybody at once, and who holds the old one keeps it") {
  Daemon daemon;
  Pool pool = daemon.pool(), other = daemon.pool();
  std::vector<std::pair<Pin, uint32_t>> held;
  std::vector<size_t> sizes;
  uint32_t version = 0;
  // In the store, not in it, and back.
  for (const size_t bytes : {size_t{10}, size_t{20}, size_t{0}, size_t{4096}, size_t{4097}, size_t{5},
                             size_t{2} << 20, size_t{3}, size_t{600'000}, size_t{4}}) {
    ++version;
    (void)pool.set(some_bytes(bytes, version), {.name = "n", .flags = kUncounted});
    const uint64_t gets = pool.stat_of("gets");
    for (Pool* reader : {&other, &pool}) {
      held.emplace_back(reader->get("n"), version);
      sizes.push_back(bytes);
      REQUIRE(same(held.back().first.bytes(), some_bytes(bytes, version)));
    }
    REQUIRE(pool.stat_of("gets") == gets + (bytes > 4096 ? 2 : 0));
  }
  pool.erase("n");
  REQUIRE(is_missing(other, "n"));
  REQUIRE(is_missing(pool, "n"));
  for (size_t i = 0; i < held.size(); ++i)
    REQUIRE(same(held[i].first.bytes(), some_bytes(sizes[i], held[i].second)));
  // Who waits for it is told.
  std::thread setter([&] { (void)pool.set(some_bytes(7, 99), {.name = "n", .flags = kUncounted}); });
  REQUIRE(same(other.get("n", {.timeout = std::chrono::seconds(60)}).bytes(), some_bytes(7, 99)));
  setter.join();
  pool.cleanup();
  REQUIRE(is_missing(other, "n"));
}

TEST_CASE("a small object that left memory is asked for, and read without asking once it is back") {
  Daemon daemon({"--memory-limit", "1M"});
  Pool pool = daemon.pool(), reader = daemon.pool();
  const auto fill = [&] {
    std::vector<DRef> others;
    for (uint32_t i = 0; i < 400; ++i) others.push_back(pool.set(some_bytes(10'000, i)));
    return others;
  };
  (void)pool.set(some_bytes(3000, 1), {.name = "spilled", .flags = kUncounted});
  (void)pool.set(some_bytes(3000, 2),
                 {.name = "recomputable", .hint = SPILLWAY_RECOMPUTABLE, .flags = kUncounted});
  (void)pool.set(some_bytes(3000, 3), {.name = "pinned", .hint = SPILLWAY_RECOMPUTABLE, .flags = kUncounted});
  const DRef later = pool.set(some_bytes(3000, 4), {.name = "pinned later"});
  REQUIRE(same(reader.get("pinned later").bytes(), some_bytes(3000, 4)));
  pool.set_hint(later, SPILLWAY_RECOMPUTABLE);
  // What would be gone for good is held by a pin of the daemon's.
  const Pin pins[] = {reader.get("pinned"), reader.get("pinned later")};
  (void)fill();
  for (const char* name : {"pinned", "pinned later"}) REQUIRE(pool.get(name).size() == 3000);
  const uint64_t gets = pool.stat_of("gets");
  REQUIRE(same(reader.get("spilled").bytes(), some_bytes(3000, 1)));
  REQUIRE(pool.stat_of("gets") == gets + 1);
  failure_of(SPILLWAY_EVICTED, [&] { (void)reader.get("recomputable"); });
  const uint64_t before = pool.stat_of("gets");
  Pool fresh = daemon.pool();
  REQUIRE(same(fresh.get("spilled").bytes(), some_bytes(3000, 1)));
  REQUIRE(pool.stat_of("gets") == before);
}

TEST_CASE("what is read by name is used, and leaves memory after what is not") {
  Daemon daemon({"--memory-limit", "1M"});
  Pool pool = daemon.pool(), reader = daemon.pool();
  for (const char* name : {"used", "idle", "used too", "idle too"})
    (void)pool.set(some_bytes(4'000, 1), {.name = name, .flags = kUncounted});
  const uint64_t gets = pool.stat_of("gets");
  std::vector<DRef> others;
  for (uint32_t i = 0; i < 200; ++i) {
    others.push_back(pool.set(some_bytes(10'000, i)));
    for (const char* name : {"used", "used too"}) REQUIRE(reader.get(name).size() == 4'000);
  }
  REQUIRE(pool.stat_of("gets") == gets);
  REQUIRE(pool.stat("used").state != SPILLWAY_SPILLED);
  REQUIRE(pool.stat("used too").state != SPILLWAY_SPILLED);
  REQUIRE(pool.stat("idle").state == SPILLWAY_SPILLED);
  REQUIRE(pool.stat("idle too").state == SPILLWAY_SPILLED);
}

TEST_CASE("a forked child reads by name for itself, and lets its parent's pins be", "[fork]") {
  Daemon daemon;
  Pool pool = daemon.pool(), other = daemon.pool();
  (void)other.set(std::string("first"), {.name = "n", .flags = kUncounted});
  std::optional<Pin> pin = pool.get("n");
  const pid_t child = in_child([&] {
    expect(pin->text() == "first", "the parent's pin");
    pin.reset();
    expect(pool.get("n").text() == "first", "a get");
    Pool mine = daemon.pool();
    (void)mine.set(std::string("second"), {.name = "n", .flags = kUncounted});
    expect(pool.get("n").text() == "second", "a get after a set");
  });
  REQUIRE(wait_for(child) == 0);
  REQUIRE(pool.get("n").text() == "second");
  REQUIRE(pin->text() == "first");
}

TEST_CASE("a pool for several users keeps no store that all could read") {
  Daemon daemon({"--system-wide", "1"});
  Pool pool = daemon.pool(), reader = daemon.pool();
  for (const uint32_t mode : {0600u, 0644u}) {
    (void)pool.set(some_bytes(100, mode), {.name = "n", .mode = mode, .flags = kUncounted});
    const uint64_t gets = pool.stat_of("gets");
    REQUIRE(same(reader.get("n").bytes(), some_bytes(100, mode)));
    REQUIRE(pool.stat_of("gets") == gets + 1);
  }
  REQUIRE_FALSE(fs::exists(store_of(daemon)));
}

TEST_CASE("the store is there with the first small object, for its user alone, and goes with the daemon") {
  Daemon daemon;
  {
    Pool pool = daemon.pool();
    (void)pool.set(some_bytes(100, 1));
    (void)pool.set(some_bytes(100'000, 1), {.name = "large", .flags = kUncounted});
    REQUIRE_FALSE(fs::exists(store_of(daemon)));
    REQUIRE(pool.stat_of("small_names_disk_bytes") == 0);
    (void)pool.set(some_bytes(100, 1), {.name = "small", .flags = kUncounted});
    REQUIRE(fs::status(store_of(daemon)).permissions() == fs::perms(0700));
    REQUIRE(pool.stat_of("small_names_disk_bytes") > 0);
    REQUIRE(pool.stat_of("small_names_disk_bytes") <= 16 << 20);
  }
  daemon.stop();
  REQUIRE_FALSE(fs::exists(store_of(daemon)));
}

TEST_CASE("after a kill nothing is found that the next daemon does not say, and nothing is left behind") {
  Daemon daemon;
  Pool reader = daemon.pool();
  for (uint32_t round = 1; round <= 5; ++round) {
    Pool pool = daemon.pool();
    (void)pool.set(some_bytes(100, round), {.name = "n", .flags = kUncounted});
    (void)pool.set(some_bytes(200, round), {.name = "gone", .flags = kUncounted});
    (void)pool.set(some_bytes(300, round), {.name = "kept", .flags = kUncounted | SPILLWAY_DURABLE});
    REQUIRE(same(reader.get("n").bytes(), some_bytes(100, round)));
    const Pin held = reader.get("gone");
    // What a client has that does not notice for long.
    auto late = spillway::Store::open_reader(store_of(daemon));
    REQUIRE(late);
    REQUIRE(late->get("gone")->found());
    REQUIRE(daemon.shared_files().size() == 2);  // of the names, and of what is durable
    daemon.kill();
    daemon.start();
    REQUIRE_FALSE(late->get("gone")->found());
    REQUIRE_FALSE(late->get("n")->found());
    Pool next = daemon.pool();
    (void)next.set(some_bytes(100, round + 100), {.name = "n", .flags = kUncounted});
    // Whether or not it has noticed the new daemon.
    REQUIRE(same(reader.get("n").bytes(), some_bytes(100, round + 100)));
    REQUIRE(is_missing(reader, "gone"));
    REQUIRE(same(reader.get("kept").bytes(), some_bytes(300, round)));
    REQUIRE(same(held.bytes(), some_bytes(200, round)));
  }
  daemon.stop();
  REQUIRE_FALSE(fs::exists(store_of(daemon)));
  REQUIRE(daemon.shared_files().empty());
}

TEST_CASE("readers never see a name older than what was answered, whoever replaces and erases it", "[fork]") {
  constexpr int kNames = 4, kReaders = 2;
  constexpr uint64_t kSteps = 3000;
  // Step `s` of a name sets it, every fifth erases it; `begun` before the call and `done` after it. What one
  // reader has seen, the others find, too.
  struct Shared {
    std::atomic<uint64_t> begun[kNames], done[kNames], seen[kNames];
    std::atomic<int> writing;
  };
  void* const at = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at != MAP_FAILED);
  auto& shared = *new (at) Shared{};
  const auto name_of = [](int n) { return "stress/" + std::to_string(n); };
  const auto is_erased_at = [](uint64_t step) { return step % 5 == 0; };
  const auto bytes_at = [](uint64_t step) {
    return 16 + step * 2654435761u % (step % 7 == 0 ? 40'000 : 3000);
  };
  shared.writing = kNames;
  Daemon daemon({"--memory-limit", "1M"});
  std::vector<pid_t> children;
  for (int n = 0; n < kNames; ++n)
    children.push_back(in_child([&, n] {
      Pool pool = daemon.pool();
      std::vector<uint64_t> words;
      for (uint64_t step = 1; step <= kSteps; ++step) {
        shared.begun[n] = step;
        if (is_erased_at(step)) {
          pool.erase(name_of(n));
        } else {
          words.assign(bytes_at(step) / 8, step);
          words[0] = static_cast<uint64_t>(n);
          (void)pool.set(std::span<const uint64_t>(words), {.name = name_of(n), .flags = kUncounted});
        }
        shared.done[n] = step;
      }
      --shared.writing;
    }));
  for (int r = 0; r < kReaders; ++r)
    children.push_back(in_child([&, r] {
      Pool pool = daemon.pool();
      std::mt19937 random(static_cast<uint32_t>(r));
      uint64_t found = 0;
      while (shared.writing > 0) {
        const int n = static_cast<int>(random() % kNames);
        const uint64_t least = std::max<uint64_t>(shared.done[n], shared.seen[n]);
        try {
          const Pin pin = pool.get(name_of(n));
          const std::span<const uint64_t> words = pin.as<uint64_t>();
          const uint64_t step = words[words.size() - 1];
          expect(step >= least, "an older one");
          expect(step <= shared.begun[n] && !is_erased_at(step), "one that never was");
          expect(words.size() == bytes_at(step) / 8 && words[0] == static_cast<uint64_t>(n), "another's");
          for (size_t i = 1; i < words.size(); ++i) expect(words[i] == step, "a mixture");
          for (uint64_t seen = shared.seen[n];
               seen < step && !shared.seen[n].compare_exchange_weak(seen, step);) {
          }
          ++found;
        } catch (const Error& error) {
          if (error.status() != SPILLWAY_NOT_FOUND) throw;
          const uint64_t most = shared.begun[n];
          bool may_be = least == 0;
          for (uint64_t step = least; step <= most; ++step) may_be = may_be || is_erased_at(step);
          expect(may_be, "it is missing");
        }
      }
      expect(found > 100, "hardly anything was found");
    }));
  int bad = 0;
  for (const pid_t child : children) bad += wait_for(child) != 0;
  REQUIRE(bad == 0);
  ::munmap(at, sizeof(Shared));
}

// Who leaves memory, when, and what a full pool says.
#include <stdlib.h>

#include <unistd.h>

#include <atomic>
#include <list>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "base/core/units.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;

namespace {

std::vector<std::byte> mib(size_t n, uint32_t seed = 1) { return some_bytes(n * kMiB, seed); }

bool in_memory(Pool& pool, const DRef& dref) {
  const spillway_state state = pool.stat(dref).state;
  return state == SPILLWAY_RESIDENT || state == SPILLWAY_BOTH;
}

}  // namespace

TEST_CASE("the least recently used leave, only as many as must, for small objects and large") {
  for (const size_t unit : {size_t{1}, kMiB}) {
    Daemon daemon({"--memory-limit", std::to_string(20 * unit)});
    Pool pool = daemon.pool(1);
    const DRef one = pool.set(some_bytes(10 * unit, 1));
    const DRef fits = pool.set(some_bytes(10 * unit, 2));
    REQUIRE(in_memory(pool, one));
    const DRef more = pool.set(some_bytes(unit, 3));  // 11 more than `one` leaves room for
    REQUIRE_FALSE(in_memory(pool, one));
    REQUIRE(in_memory(pool, fits));
    REQUIRE(in_memory(pool, more));
  }
}

TEST_CASE("a touch reverses the order, also one that cost no message") {
  Daemon daemon({"--memory-limit", "20M"});
  Pool pool = daemon.pool();
  const DRef one = pool.set(mib(5)), two = pool.set(mib(5)), three = pool.set(mib(10));
  (void)pool.get(one);
  (void)pool.get(two);
  (void)pool.get(one);  // in this process's cache
  const DRef four = pool.set(mib(11, 2));
  REQUIRE(in_memory(pool, one));
  REQUIRE_FALSE(in_memory(pool, three));
  REQUIRE_FALSE(in_memory(pool, two));
  REQUIRE(in_memory(pool, four));
}

TEST_CASE("limit 80: 16, 24 and 40 stay; 8 more spill only the oldest") {
  for (const size_t unit : {size_t{1}, kMiB}) {
    Daemon daemon({"--memory-limit", std::to_string(80 * unit)});
    Pool pool = daemon.pool();
    const DRef a = pool.set(some_bytes(16 * unit, 1)), b = pool.set(some_bytes(24 * unit, 2)),
               c = pool.set(some_bytes(40 * unit, 3));
    REQUIRE(pool.stat_of("memory_used_bytes") == 80 * unit);
    REQUIRE(pool.stat_of("spills") == 0);
    const DRef d = pool.set(some_bytes(8 * unit, 4));
    REQUIRE(pool.stat(a).state == SPILLWAY_SPILLED);
    for (const DRef& other : {b, c, d}) REQUIRE(pool.stat(other).state == SPILLWAY_RESIDENT);
    // A get protects its object from the next eviction, and brings a spilled one back.
    (void)pool.get(b);
    REQUIRE(same(pool.get(a).bytes(), some_bytes(16 * unit, 1)));
    REQUIRE(in_memory(pool, b));
    REQUIRE_FALSE(in_memory(pool, c));
  }
}

TEST_CASE("the victims of any one put are those of the reference model, for each policy") {
  for (const std::string policy : {"lru", "mru", "scan-resistant"}) {
    const unsigned seed = 12345;
    INFO("policy " << policy << ", seed " << seed);
    Daemon daemon({"--memory-limit", "100000", "--policy", policy});
    // Scan resistance counts uses, and a get of what is held at home is told late: there, none is.
    Pool pool = daemon.pool(policy == "scan-resistant" ? 1 : 4096);
    std::mt19937 random(seed);
    struct Entry {
      DRef dref;
      size_t bytes;
      bool twice = false;
    };
    std::vector<Entry> all;
    std::list<size_t> order, protected_order;  // oldest first
    const auto bytes_of = [&](const std::list<size_t>& l) {
      size_t sum = 0;
      for (size_t i : l) sum += all[i].bytes;
      return sum;
    };
    const auto forget = [&](size_t i) {
      order.remove(i);
      protected_order.remove(i);
    };
    const auto limit_protected = [&] {
      while (bytes_of(protected_order) > (bytes_of(order) + bytes_of(protected_order)) / 5 * 4 &&
             protected_order.size() > 1) {
        order.push_back(protected_order.front());
        protected_order.pop_front();
      }
    };
    const auto make_room = [&](size_t bytes) {
      while (bytes_of(order) + bytes_of(protected_order) + bytes > 100'000) {
        std::list<size_t>& from = order.empty() ? protected_order : order;
        policy == "mru" ? from.pop_back() : from.pop_front();
      }
    };
    const auto use = [&](size_t i) {
      const bool there =
          std::find(order.begin(), order.end(), i) != order.end() ||
          std::find(protected_order.begin(), protected_order.end(), i) != protected_order.end();
      if (!there) {
        make_room(all[i].bytes);
        order.push_back(i);
      }
      forget(i);
      if (policy == "scan-resistant") {
        protected_order.push_back(i);
        limit_protected();
      } else {
        order.push_back(i);
      }
    };
    for (int step = 0; step < 400; ++step) {
      if (all.empty() || random() % 3 == 0) {
        // Up to 50 have to leave at once.
        const size_t bytes = random() % 10 == 0 ? 30'000 + random() % 20'000 : 600 + random() % 2000;
        make_room(bytes);
        all.push_back({pool.set(some_bytes(bytes, static_cast<uint32_t>(step))), bytes});
        order.push_back(all.size() - 1);
        // It is published without a message, and counts as used when the daemon hears of it: before the next.
        (void)pool.stat_of("puts");
      } else {
        const size_t i = random() % all.size();
        REQUIRE(pool.get(all[i].dref).size() == all[i].bytes);
        use(i);
      }
      if (step % 5 != 0) continue;
      std::set<uint64_t> expected, found;
      for (size_t i : order) expected.insert(all[i].dref.id());
      for (size_t i : protected_order) expected.insert(all[i].dref.id());
      for (const Info& info : pool.list_all())
        if (info.state == SPILLWAY_RESIDENT || info.state == SPILLWAY_BOTH) found.insert(info.ref.id);
      INFO("step " << step);
      REQUIRE(found == expected);
    }
  }
}

TEST_CASE("what is pinned stays, pins nest, and when all is pinned the contract decides") {
  Daemon daemon({"--memory-limit", "10M"});
  Pool pool = daemon.pool(), other = daemon.pool();
  const DRef held = pool.set(mib(8));
  Pin one = pool.get(held);
  { const Pin two = pool.get(held); }
  const std::string why =
      failure_of(SPILLWAY_FULL, [&] { (void)other.set(mib(4), {.when_full = SPILLWAY_FAIL}); });
  REQUIRE(why.find("process " + std::to_string(::getpid())) != std::string::npos);
  REQUIRE(why.find("pins 8.0 MiB in 1 object") != std::string::npos);
  failure_of(SPILLWAY_FULL,
             [&] { (void)other.set(mib(4), {.when_full = SPILLWAY_WAIT, .timeout = Milliseconds(30)}); });
  const DRef on_disk = other.set(mib(4, 9), {.when_full = SPILLWAY_SPILL});
  REQUIRE(other.stat(on_disk).state == SPILLWAY_SPILLED);
  REQUIRE(same(other.get(on_disk).bytes(), mib(4, 9)));  // read in its file
  REQUIRE(in_memory(pool, held));
  std::thread waiter([&] {
    const DRef d = other.set(mib(4), {.when_full = SPILLWAY_WAIT, .timeout = std::chrono::seconds(60)});
    if (!in_memory(other, d)) throw std::runtime_error("it is not in memory");
  });
  REQUIRE(wait_until([&] { return pool.stat_of("waiting_for_room") == 1; }));
  one.release();
  waiter.join();
  REQUIRE_FALSE(in_memory(pool, held));
}

TEST_CASE("an object kept resident does not leave until it is let go") {
  Daemon daemon({"--memory-limit", "10M"});
  Pool pool = daemon.pool();
  const DRef kept = pool.set(mib(6));
  pool.keep_resident(kept);
  failure_of(SPILLWAY_FULL, [&] { (void)pool.set(mib(6), {.when_full = SPILLWAY_FAIL}); });
  pool.keep_resident(kept, false);
  (void)pool.set(mib(6), {.when_full = SPILLWAY_FAIL});
  REQUIRE_FALSE(in_memory(pool, kept));
  failure_of(SPILLWAY_INVALID, [&] { pool.keep_resident(kept, false); });
}

TEST_CASE("larger than memory goes straight to disk; larger than both is refused and changes nothing") {
  Daemon daemon({"--memory-limit", "4M", "--disk-limit", "20M"});
  Pool pool = daemon.pool();
  const auto data = mib(10, 3);
  const DRef large = pool.set(data);
  REQUIRE(pool.stat(large).state == SPILLWAY_SPILLED);
  REQUIRE(same(pool.get(large).bytes(), data));
  Builder builder = pool.create(6 * kMiB);
  builder.as<char>()[6 * kMiB - 1] = 'z';
  const DRef built = std::move(builder).seal();
  REQUIRE(pool.get(built).text().back() == 'z');
  const uint64_t used = pool.stat_of("disk_used_bytes");
  failure_of(SPILLWAY_TOO_LARGE, [&] { (void)pool.set(mib(30)); });
  REQUIRE(pool.stat_of("disk_used_bytes") == used);
  REQUIRE(pool.stat_of("memory_used_bytes") == 0);
  REQUIRE(daemon.spill_files().size() == 2);
}

TEST_CASE("the disk limit is enforced, and second copies give way") {
  Daemon daemon({"--memory-limit", "8M", "--disk-limit", "9M"});
  Pool pool = daemon.pool();
  const DRef a = pool.set(mib(4, 1)), b = pool.set(mib(4, 2));
  const DRef c = pool.set(mib(4, 3)), d = pool.set(mib(4, 4));  // a, b spilled
  const std::string why =
      failure_of(SPILLWAY_DISK_FULL, [&] { (void)pool.set(mib(4, 5), {.when_full = SPILLWAY_FAIL}); });
  REQUIRE(why.find("room for") != std::string::npos);
  pool.erase(b);
  const DRef e = pool.set(mib(4, 5), {.when_full = SPILLWAY_FAIL});
  REQUIRE(same(pool.get(a).bytes(), mib(4, 1)));
  REQUIRE(same(pool.get(e).bytes(), mib(4, 5)));
  REQUIRE(pool.device("disk0").used <= 9 * kMiB);
}

TEST_CASE("recomputable objects are deleted, not spilled") {
  Daemon daemon({"--memory-limit", "10M"});
  Pool pool = daemon.pool();
  const DRef cheap = pool.set(mib(6), {.hint = SPILLWAY_RECOMPUTABLE});
  const DRef marked = pool.set(mib(2));
  pool.destroy_on_evict(marked);
  (void)pool.set(mib(9));
  REQUIRE(failure_of(SPILLWAY_EVICTED, [&] { (void)pool.get(cheap); }).find("make it again") !=
          std::string::npos);
  failure_of(SPILLWAY_EVICTED, [&] { (void)pool.get(marked); });
  REQUIRE(pool.stat_of("spills") == 0);
  REQUIRE(daemon.spill_files().empty());
}

TEST_CASE("hints come before the policy") {
  Daemon daemon({"--memory-limit", "10M"});
  Pool pool = daemon.pool();
  const DRef keep = pool.set(mib(3), {.hint = SPILLWAY_KEEP}), plain = pool.set(mib(3)),
             first = pool.set(mib(3), {.hint = SPILLWAY_FIRST_TO_GO});
  (void)pool.get(first);
  (void)pool.set(mib(3));
  REQUIRE_FALSE(in_memory(pool, first));
  REQUIRE(in_memory(pool, plain));
  (void)pool.set(mib(6));
  REQUIRE_FALSE(in_memory(pool, plain));
  REQUIRE(in_memory(pool, keep));
}

TEST_CASE("spilling again what has not changed writes nothing") {
  Daemon daemon({"--memory-limit", "10M"});
  Pool pool = daemon.pool();
  const DRef a = pool.set(mib(6, 1)), b = pool.set(mib(6, 2));
  for (int i = 0; i < 6; ++i) REQUIRE(same(pool.get(i % 2 ? b : a).bytes(), mib(6, i % 2 ? 2 : 1)));
  REQUIRE(pool.stat_of("spills") == 2);
}

TEST_CASE("an object that is being written can be read meanwhile") {
  Daemon daemon({"--memory-limit", "600M"});
  Pool pool = daemon.pool(), reader = daemon.pool();
  const std::string bytes(200 * kMiB, 'r');
  bool seen = false;
  for (int tries = 0; tries < 50 && !seen; ++tries) {
    const DRef dref = pool.set(bytes);
    std::atomic<bool> written{false};
    std::thread writer([&] {
      pool.copy_to_disk(dref);
      written = true;
    });
    while (!written && !seen) {
      if (reader.stat(dref).state != SPILLWAY_SPILLING) continue;
      const Pin pin = reader.get(dref);
      REQUIRE(pin.text().substr(199 * kMiB, 3) == "rrr");
      seen = !written;
    }
    writer.join();
    REQUIRE(reader.stat(dref).state == SPILLWAY_BOTH);
  }
  REQUIRE(seen);
}

TEST_CASE("above a limit that was lowered nothing stays that nobody pins any more") {
  Daemon daemon({"--memory-limit", "8M"});
  Pool pool = daemon.pool();
  const DRef one = pool.set(some_bytes(3 * kMiB, 1)), other = pool.set(some_bytes(2 * kMiB, 2));
  std::optional<Pin> pin(pool.get(one));
  pool.configure("memory_limit", "1M");
  REQUIRE(wait_until([&] { return pool.stat_of("memory_used_bytes") == 3 * kMiB; }));
  pin.reset();
  REQUIRE(wait_until([&] { return pool.stat_of("memory_used_bytes") == 0; }));
  REQUIRE(same(pool.get(one).bytes(), some_bytes(3 * kMiB, 1)));
}

TEST_CASE("with watermarks room is made ahead of need") {
  Daemon daemon({"--memory-limit", "20M", "--high-watermark", "80", "--low-watermark", "50"});
  Pool pool = daemon.pool();
  std::vector<DRef> drefs;
  for (uint32_t i = 0; i < 17; ++i) drefs.push_back(pool.set(mib(1, i)));
  REQUIRE(wait_until([&] { return pool.stat_of("memory_used_bytes") <= 10 * kMiB; }));
  for (uint32_t i = 0; i < 17; ++i) REQUIRE(same(pool.get(drefs[i]).bytes(), mib(1, i)));
}

TEST_CASE("settings are checked, and some change while it runs") {
  Daemon daemon({"--memory-limit", "20M"});
  Pool pool = daemon.pool();
  const DRef a = pool.set(mib(8, 1)), b = pool.set(mib(8, 2));
  REQUIRE(pool.configure("memory_limit") == std::vector<std::string>{"memory_limit = 20971520"});
  pool.configure("memory_limit", "10M");
  (void)pool.set(std::string("x"), {.when_full = SPILLWAY_WAIT, .timeout = std::chrono::seconds(30)});
  REQUIRE(wait_until([&] { return pool.stat_of("memory_used_bytes") <= 10 * kMiB; }));
  REQUIRE(failure_of(SPILLWAY_INVALID, [&] { pool.configure("memory_limit", "much"); }).find("64MiB") !=
          std::string::npos);
  failure_of(SPILLWAY_INVALID, [&] { pool.configure("io_threads", "4"); });
  failure_of(SPILLWAY_INVALID, [&] { pool.configure("low_watermark", "101"); });
  REQUIRE(failure_of(SPILLWAY_NOT_FOUND, [&] { pool.configure("memory"); }).find("memory_limit") !=
          std::string::npos);
  pool.configure("client_limit", "20M");
  REQUIRE(failure_of(SPILLWAY_FULL, [&] { (void)pool.set(mib(8)); }).find("client_limit") !=
          std::string::npos);
}

TEST_CASE("daemon and objects together stay under the limit while clients put and get at random", "[fork]") {
  // The sanitizers' own memory would be counted.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr size_t kLimit = 1024 * kMiB;
#else
  constexpr size_t kLimit = 72 * kMiB;
#endif
  const char* const factor = ::getenv("SPILLWAY_SOAK");
  const int soak = factor && atoi(factor) > 0 ? atoi(factor) : 1;
  Daemon daemon({"--memory-limit", "48M", "--total-limit", std::to_string(kLimit)});
  std::vector<pid_t> children;
  for (uint32_t c = 0; c < 8; ++c)
    children.push_back(in_child([&, c] {
      std::mt19937 random(c);
      Pool pool = daemon.pool();
      std::vector<std::pair<DRef, uint32_t>> made;
      const auto bytes_of = [](uint32_t seed) {
        return seed % 3 == 0 ? kMiB + seed % (4 * kMiB) : 1 + seed % 90'000;
      };
      for (int i = 0; i < 75 * soak; ++i) {
        if (made.empty() || random() % 2) {
          const uint32_t seed = random();
          made.push_back({pool.set(some_bytes(bytes_of(seed), seed)), seed});
        } else {
          const auto& [dref, seed] = made[random() % made.size()];
          if (!same(pool.get(dref).bytes(), some_bytes(bytes_of(seed), seed)))
            throw std::runtime_error("other bytes");
        }
        if (made.size() > 40) made.erase(made.begin() + static_cast<ptrdiff_t>(random() % made.size()));
      }
    }));
  Pool pool = daemon.pool();
  uint64_t most = 0, most_together = 0;
  std::atomic<bool> ended{false};
  std::thread look([&] {
    while (!ended) {
      most = std::max(most, pool.stat_of("memory_used_bytes"));
      most_together = std::max(most_together, daemon.memory_file_bytes() + daemon.private_bytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  int bad = 0;
  for (pid_t child : children) bad += wait_for(child) != 0;
  ended = true;
  look.join();
  REQUIRE(bad == 0);
  INFO("at most " << most / kMiB << " MiB of objects, " << most_together / kMiB << " MiB with the daemon");
  REQUIRE(most <= 48 * kMiB);
  REQUIRE(most > 30 * kMiB);
  REQUIRE(most_together <= kLimit);
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == 0 && pool.stat_of("memory_used_bytes") == 0; }));
  REQUIRE(wait_until([&] { return pool.stat_of("disk_used_bytes") == 0; }));
}

// Memory that is used again, and objects that are published without a message: as exact, as safe and as
// visible as all others.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <deque>
#include <random>
#include <thread>

#include "base/core/units.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;

namespace {}

TEST_CASE("an erased object's memory is the same program's next object", "[threads]") {
  Daemon daemon({"--memory-limit", "64M"});
  Pool pool = daemon.pool();
  Pool other = daemon.pool();
  for (uint32_t i = 0; i < 5; ++i) {
    const size_t bytes = 3 * kMiB + i * 7001;
    const DRef dref = pool.set(some_bytes(bytes, i));
    REQUIRE(same(pool.get(dref).bytes(), some_bytes(bytes, i)));
    REQUIRE(same(other.get(dref.ref()).bytes(), some_bytes(bytes, i)));
    REQUIRE(pool.stat_of("memory_used_bytes") == (bytes + 4095) / 4096 * 4096);
  }
  REQUIRE(wait_until([&] { return pool.stat_of("memory_used_bytes") == 0; }));
  const uint64_t idle = pool.stat_of("idle_buffer_bytes");
  REQUIRE(idle > 0);
  REQUIRE(idle <= 16 * kMiB);  // a quarter of the limit
  // It is nobody's when objects need the room.
  std::vector<DRef> all;
  for (uint32_t i = 0; i < 60; ++i) all.push_back(other.set(some_bytes(kMiB, i)));
  REQUIRE(pool.stat_of("memory_used_bytes") + pool.stat_of("idle_buffer_bytes") <= 64 * kMiB);
  REQUIRE(pool.stat_of("spills") == 0);
  for (uint32_t i = 0; i < 60; ++i) REQUIRE(same(pool.get(all[i].ref()).bytes(), some_bytes(kMiB, i)));
}

TEST_CASE("memory that is used again is not seen through a pin on what was there before", "[threads]") {
  Daemon daemon;
  Pool pool = daemon.pool(), reader = daemon.pool();
  std::vector<Pin> held;
  for (uint32_t i = 0; i < 8; ++i) {
    const DRef dref = pool.set(some_bytes(2 * kMiB, i));
    held.push_back(reader.get(dref.ref()));
  }
  for (uint32_t i = 0; i < 8; ++i) REQUIRE(same(held[i].bytes(), some_bytes(2 * kMiB, i)));
  held.clear();
  REQUIRE(wait_until([&] { return pool.stat_of("memory_used_bytes") == 0; }));
}

TEST_CASE(
    "a program that writes through an old pointer to what it has sealed ends; the object does not change",
    "[fork]") {
  Daemon daemon;
  Pool pool = daemon.pool();
  std::string token;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = in_child([&] {
    ::signal(SIGSEGV, SIG_DFL);
    Pool mine = daemon.pool();
    for (int i = 0; i < 2; ++i) {  // the second time in memory of the first
      Builder builder = mine.create(kMiB);
      std::fill(builder.as<char>().begin(), builder.as<char>().end(), 'a');
      volatile char* const old = builder.as<char>().data();
      const DRef dref = std::move(builder).seal();
      if (i == 0) continue;
      const std::string text = dref.token();
      (void)!::write(ends[1], text.data(), text.size());
      *old = 'b';
    }
  });
  REQUIRE(wait_for(child) == -SIGSEGV);
  char text[128] = {};
  REQUIRE(::read(ends[0], text, sizeof text - 1) > 0);
  ::close(ends[0]), ::close(ends[1]);
  const DRef dref = pool.from_token(text);
  REQUIRE(pool.get(dref).text() == std::string(kMiB, 'a'));
}

TEST_CASE("what other users may read, and all where recycling is off, has memory that is used once") {
  Daemon daemon({"--recycle", "0"});
  {
    Pool pool = daemon.pool();
    (void)pool.set(some_bytes(2 * kMiB, 1));
    for (uint32_t i = 0; i < 40; ++i) (void)pool.set(some_bytes(100, i));
    REQUIRE(wait_until([&] { return pool.stat_of("objects") == 0; }));
    REQUIRE(pool.stat_of("idle_buffer_bytes") == 0);
    REQUIRE(pool.stat_of("leased_bytes") == 0);
    (void)pool.configure("recycle", "25");
    (void)pool.set(some_bytes(2 * kMiB, 1), {.mode = 0644});
    REQUIRE(wait_until([&] { return pool.stat_of("objects") == 0; }));
    REQUIRE(pool.stat_of("idle_buffer_bytes") == 0);
  }
}

TEST_CASE("small objects that no message announced are found at once by everybody, counted, and go",
          "[threads]") {
  Daemon daemon;
  Pool pool = daemon.pool(), other = daemon.pool();
  uint64_t sum = 0;
  std::vector<DRef> all;
  for (uint32_t i = 0; i < 3000; ++i) {
    const size_t bytes = 1 + i * 7 % 5000;
    all.push_back(pool.set(some_bytes(bytes, i)));
    sum += bytes;
    if (i % 7 == 0) REQUIRE(same(other.get(all.back().ref()).bytes(), some_bytes(bytes, i)));
  }
  REQUIRE(other.stat_of("objects") == 3000);
  REQUIRE(other.stat_of("memory_used_bytes") == sum);
  REQUIRE(other.stat_of("leased_bytes") > 0);
  REQUIRE(other.list_all().size() == 3000);
  const DRef kept = other.from_token(all[1234].token());
  all.clear();
  REQUIRE(wait_until([&] { return other.stat_of("objects") == 1; }));
  REQUIRE(same(other.get(kept).bytes(), some_bytes(1 + 1234 * 7 % 5000, 1234)));
  other.move_to_disk(kept);
  REQUIRE(same(other.get(kept).bytes(), some_bytes(1 + 1234 * 7 % 5000, 1234)));
}

TEST_CASE("threads that put, get and erase small and large objects at random see what they put",
          "[threads]") {
  Daemon daemon({"--memory-limit", "24M"});
  Pool pool = daemon.pool();
  const unsigned seed = static_cast<unsigned>(::getpid());
  INFO("seed " << seed);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(seed + t);
      std::deque<std::pair<DRef, uint32_t>> mine;
      const auto bytes_of = [](uint32_t s) { return s % 100 ? s % 4000 + 1 : kMiB + s % kMiB; };
      try {
        for (int i = 0; i < 600; ++i) {
          const uint32_t s = static_cast<uint32_t>(random());
          mine.emplace_back(pool.set(some_bytes(bytes_of(s), s)), s);
          const auto& [dref, was] = mine[random() % mine.size()];
          if (!same(pool.get(dref).bytes(), some_bytes(bytes_of(was), was))) ++wrong;
          if (mine.size() > 100) mine.pop_front();
          if (random() % 50 == 0) mine.clear();
        }
      } catch (const Error& error) {
        fprintf(stderr, "%s\n", error.what());
        ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  REQUIRE(wrong == 0);
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == 0 && pool.stat_of("memory_used_bytes") == 0; }));
}

TEST_CASE("a daemon that is started again knows nothing of what was leased before, and nothing is mixed up",
          "[threads]") {
  Daemon daemon;
  Pool pool = daemon.pool();
  std::vector<DRef> before;
  for (uint32_t i = 0; i < 100; ++i) before.push_back(pool.set(some_bytes(1000, i)));
  const DRef large = pool.set(some_bytes(2 * kMiB, 7));
  daemon.kill();
  daemon.start();
  // As long as the session's end has not been seen, these go where the former daemon leased.
  std::vector<DRef> unknown, after;
  for (uint32_t i = 0; i < 100; ++i) {
    try {
      unknown.push_back(pool.set(some_bytes(1000, 500 + i)));
    } catch (const Error&) {
    }
  }
  (void)pool.stats();
  for (uint32_t i = 0; i < 200; ++i) after.push_back(pool.set(some_bytes(1000, 1000 + i)));
  for (uint32_t i = 0; i < 100; ++i) failure_of(SPILLWAY_LOST, [&] { (void)pool.get(before[i]); });
  failure_of(SPILLWAY_LOST, [&] { (void)pool.get(large); });
  for (uint32_t i = 0; i < 200; ++i) REQUIRE(same(pool.get(after[i]).bytes(), some_bytes(1000, 1000 + i)));
  const DRef again = pool.set(some_bytes(2 * kMiB, 8));
  REQUIRE(same(pool.get(again).bytes(), some_bytes(2 * kMiB, 8)));
}

// What the handles of pool.hpp promise whatever is done to them: moved, assigned, empty, outlived by their
// pool.
#include <atomic>
#include <optional>
#include <thread>

#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;

TEST_CASE("assigning to a pin or a builder that is the last to hold its pool releases it before the pool") {
  Daemon daemon;
  const auto pin = [&] {
    Pool own = daemon.pool();
    return own.get(own.set(some_bytes(2 << 20, 1), {.name = "p"}));
  };
  Pin held = pin();
  held = pin();
  REQUIRE(same(held.bytes(), some_bytes(2 << 20, 1)));
  held = Pin();
  for (const size_t bytes : {size_t{100}, size_t{2} << 20}) {
    const auto build = [&] { return daemon.pool().create(bytes, {.name = "b"}); };
    Builder builder = build();
    builder = build();
    builder.bytes()[0] = std::byte{7};
    const DRef dref = std::move(builder).seal();
    builder = build();
    REQUIRE(daemon.pool().get("b").bytes()[0] == std::byte{7});
  }
  // Nothing of theirs is left behind.
  Pool pool = daemon.pool();
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == 2 && pool.clients().size() <= 2; }));
}

TEST_CASE("assigning to a watch closes the old one before its function goes, also while names change") {
  Daemon daemon;
  Pool pool = daemon.pool(), other = daemon.pool();
  std::atomic<bool> over{false};
  std::thread changes([&] {
    while (!over) (void)other.set(1, {.name = "w", .flags = SPILLWAY_UNCOUNTED});
  });
  std::atomic<int> calls{0};
  const auto watch = [&](Pool& of) {
    // Larger than what a std::function has room for.
    return of.watch("w", [&calls, text = std::string(100, 'x')](const Change&) {
      calls += text.size() == 100 && text.back() == 'x';
    });
  };
  Watch watched = watch(pool);
  for (int i = 0; i < 200; ++i) watched = watch(pool);
  const int before = calls;
  REQUIRE(wait_until([&] { return calls > before; }));
  for (int i = 0; i < 20; ++i) {
    Pool own = daemon.pool();
    watched = watch(own);
  }
  over = true;
  changes.join();
}

TEST_CASE("a span or an array of fixed length is read only from an object of that length") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const DRef two = pool.set(std::vector<double>{1, 2}), three = pool.set(std::vector<double>{1, 2, 3});
  using Three = std::span<const double, 3>;
  const Pin pin = pool.get(three);
  REQUIRE(pin.value<Three>()[2] == 3);
  REQUIRE(pin.value<std::array<double, 3>>()[2] == 3);
  REQUIRE(failure_of(SPILLWAY_CORRUPT, [&] {
            (void)pool.get(two).value<Three>();
          }).find("array of this length") != std::string::npos);
  failure_of(SPILLWAY_CORRUPT, [&] { (void)pool.get(two).value<std::array<double, 3>>(); });
  failure_of(SPILLWAY_CORRUPT, [&] { (void)pool.get_as<std::span<const double, 0>>(two); });
}

TEST_CASE("a string literal, a pointer to its text and a string are the same object's bytes") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const char* const pointer = "hello";
  const char unended[3] = {'a', 'b', 'c'};
  char room[64] = "hello";
  REQUIRE(pool.get(pool.set("hello")).text() == "hello");
  REQUIRE(pool.get(pool.set(pointer)).text() == "hello");
  REQUIRE(pool.get(pool.set(room)).text() == "hello");
  REQUIRE(pool.get(pool.set(std::string("hello"))).text() == "hello");
  REQUIRE(pool.get(pool.set(std::string_view("hello"))).text() == "hello");
  REQUIRE(pool.get(pool.set(unended)).text() == "abc");
  REQUIRE(pool.get(pool.set("")).size() == 0);
  const unsigned char bytes[3] = {1, 0, 2};
  REQUIRE(pool.get(pool.set(bytes)).size() == 3);
}

TEST_CASE("a function that was to run after an object goes with its pool when that is closed first") {
  Daemon daemon;
  Pool other = daemon.pool();
  const auto alive = std::make_shared<int>(1);
  std::atomic<int> calls{0};
  {
    Pool pool = daemon.pool();
    DRef kept = pool.set(std::string("kept"), {.name = "kept"}), brief = pool.set(std::string("brief"));
    pool.on_destroy(kept, [alive, &calls] { ++calls; });
    pool.on_destroy(brief, [alive, &calls] { ++calls; });
    failure_of(SPILLWAY_NOT_FOUND, [&] { pool.on_destroy(DRef(), [alive] {}); });
    REQUIRE(alive.use_count() == 3);
    brief = DRef();
    REQUIRE(wait_until([&] { return calls == 1 && alive.use_count() == 2; }));
  }
  REQUIRE(alive.use_count() == 1);
  REQUIRE(calls == 1);
  other.erase("kept");
}

// Many sessions, many objects. SPILLWAY_SOAK multiplies them (10: 1,000 idle sessions, 64 busy ones,
// 1,000,000 objects).
#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <random>
#include <thread>

#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;

namespace {

unsigned soak() {
  const char* const text = ::getenv("SPILLWAY_SOAK");
  return text && atoi(text) > 0 ? static_cast<unsigned>(std::min(atoi(text), 10)) : 1;
}

}  // namespace

TEST_CASE("many idle sessions cost the busy ones nothing, and all busy ones get on", "[fork]") {
  Daemon daemon({"--memory-limit", "64M"});
  Pool pool = daemon.pool();
  // The first small name brings what all share.
  (void)pool.set(1, {.name = "first", .flags = SPILLWAY_UNCOUNTED});
  pool.erase("first");
  const size_t fds = daemon.open_fds();
  {
    const unsigned idle_sessions = 100 * soak(), busy_sessions = std::min(12 * soak(), 64u);
    std::vector<Pool> idle;
    std::vector<DRef> theirs;
    for (unsigned i = 0; i < idle_sessions; ++i) {
      idle.push_back(daemon.pool());
      theirs.push_back(idle.back().set(some_bytes(100, i)));
    }
    std::vector<pid_t> busy;
    for (unsigned c = 0; c < busy_sessions; ++c)
      busy.push_back(in_child([&, c] {
        Pool mine = daemon.pool();
        std::vector<DRef> held(20);
        for (uint32_t i = 0; i < 200; ++i) {
          const size_t bytes = i % 40 == 0 ? (1 << 20) + c : 10 + i;
          held[i % 20] = mine.set(some_bytes(bytes, c + i), {.name = i % 10 ? "" : "n" + std::to_string(c)});
          if (!same(mine.get(held[i % 20]).bytes(), some_bytes(bytes, c + i)))
            throw std::runtime_error("other bytes");
        }
      }));
    int bad = 0;
    for (pid_t child : busy) bad += wait_for(child) != 0;
    REQUIRE(bad == 0);
    REQUIRE(pool.stat_of("clients") >= idle_sessions + 1);
    for (unsigned i = 0; i < idle_sessions; ++i)
      REQUIRE(same(pool.get(theirs[i].ref()).bytes(), some_bytes(100, i)));
  }
  REQUIRE(wait_until([&] { return pool.stat_of("clients") == 1; }));
  for (const Info& info : pool.list()) pool.erase(info.name);
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == 0 && pool.stat_of("memory_used_bytes") == 0; }));
  REQUIRE(wait_until([&] {
    (void)daemon.pool();  // the end of a session gives back the slabs that were kept for the next object
    return daemon.open_fds() <= fds;
  }));
}

TEST_CASE("very many small objects, listed by prefix, in order, while others work") {
  Daemon daemon({"--memory-limit", "2G"});
  Pool pool = daemon.pool();
  // The first small name brings what all share.
  (void)pool.set(1, {.name = "first", .flags = SPILLWAY_UNCOUNTED});
  pool.erase("first");
  const uint64_t before = pool.stat_of("daemon_private_bytes");
  const unsigned named = 5'000 * soak(), unnamed = 95'000 * soak();
  const std::string value(1024, 'v');
  std::vector<DRef> all;
  for (unsigned i = 0; i < unnamed; ++i) all.push_back(pool.set(value));
  char name[32];
  for (unsigned i = 0; i < named; ++i) {
    snprintf(name, sizeof name, "%s/%08u", i % 5 ? "many" : "few", i);
    (void)pool.set(value, {.name = name, .flags = SPILLWAY_UNCOUNTED});
  }
  REQUIRE(pool.stat_of("objects") == named + unnamed);
  const uint64_t each = (pool.stat_of("daemon_private_bytes") - before) / (named + unnamed);
  INFO(each << " bytes of daemon for each object");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  REQUIRE(each <= 200);
#endif
  std::string last;
  unsigned found = 0;
  for (const Info& info : pool.list("few/")) {
    REQUIRE(info.name > last);
    last = info.name;
    ++found;
  }
  REQUIRE(found == named / 5);
  REQUIRE(pool.list_all().size() == named + unnamed);
  all.clear();
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == named; }));
}

// Segment stores that the daemon writes for programs that open them shared.
#include <catch2/catch.hpp>
#include <spillway/store.hpp>

#include "tests/pool/daemon.h"
#include "tests/support/paths.h"

using namespace spillway;
using namespace spillway::test;

namespace {

// Not in this process: the daemon is started while it has no store open.
std::string printed(std::vector<std::string> words) {
  words.insert(words.begin(), {spillway_bin(), "store"});
  const Outcome outcome = run({.argv = words});
  INFO(outcome.text());
  REQUIRE(outcome.exit_code == 0);
  return outcome.out;
}

}  // namespace

TEST_CASE("the daemon writes the stores it is given, and others go on without it") {
  ScratchDir dir;
  Daemon daemon({"--stores", dir / "one" + "," + (dir / "two")});
  for (const char* name : {"one", "two"}) {
    printed({"put", dir / name, "colour", name});
    StoreResult<Store> store = Store::open_shared(dir / name);
    REQUIRE(store.ok());
    REQUIRE(store->put("through", "the daemon").ok());
    CHECK(store->state()->writer_pid == static_cast<uint64_t>(daemon.pid()));
    CHECK(store->get("colour")->view() == name);
    CHECK(printed({"get", dir / name, "through"}) == "the daemon");
  }
  StoreResult<Store> store = Store::open_shared(dir / "one");
  REQUIRE(store.ok());
  daemon.kill();
  REQUIRE(store->put("then", "by ourselves").ok());
  CHECK(store->state()->writer_pid == static_cast<uint64_t>(::getpid()));
  daemon.start();  // it has one again, and leaves the other to us
  CHECK(store->put("and then", "still").ok());
  CHECK(printed({"get", dir / "one", "then"}) == "by ourselves");
  printed({"put", dir / "one", "from", "outside"});
  CHECK(store->get("from")->view() == "outside");
}

TEST_CASE("a daemon whose store cannot be had says which and why") {
  ScratchDir dir;
  CHECK_THROWS_WITH(Daemon({"--stores", "relative"}), Catch::Contains("begin with /"));
  StoreResult<Store> alone = Store::open(dir / "one");
  REQUIRE(alone.ok());
  CHECK_THROWS_WITH(Daemon({"--stores", dir / "one"}),
                    Catch::Contains(dir / "one") && Catch::Contains("writes to this store"));
}

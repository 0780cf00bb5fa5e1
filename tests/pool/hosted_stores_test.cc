// Segment stores that the daemon writes for programs that open them shared.
#include <filesystem>
#include <fstream>
#include <spillway/pool.hpp>
#include <spillway/store.hpp>

#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/paths.h"

using namespace spillway::test;

namespace {

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
  const std::string writer = "process " + std::to_string(daemon.pid()) + "\n";
  for (const char* name : {"one", "two"}) {
    printed({"put", dir / name, "colour", name});
    CHECK(printed({"get", dir / name, "colour"}) == name);
    CHECK_THAT(printed({"stat", dir / name}), Catch::Contains(writer));
  }
  daemon.kill();
  printed({"put", dir / "one", "then", "without it"});
  daemon.start();
  CHECK_THAT(printed({"stat", dir / "one"}),
             Catch::Contains("process " + std::to_string(daemon.pid()) + "\n"));
  CHECK(printed({"get", dir / "one", "then"}) == "without it");
  CHECK(printed({"get", dir / "two", "colour"}) == "two");
}

TEST_CASE("one program uses the pool and a store together") {
  ScratchDir dir;
  Daemon daemon({"--stores", dir / "both"});
  spillway::Pool pool({.socket = daemon.socket()});
  const spillway::DRef object = pool.set(std::string("blue"), {.name = "colour"});
  auto store = spillway::Store::open_shared(dir / "both");
  REQUIRE(store);
  REQUIRE(store->put("colour", pool.get_as<std::string>(object).value, spillway::PutOptions{}));
  CHECK(printed({"get", dir / "both", "colour"}) == "blue");
}

TEST_CASE("a daemon whose store cannot be had says which and why") {
  ScratchDir dir;
  CHECK_THROWS_WITH(Daemon({"--stores", "relative"}), Catch::Contains("begin with /"));
  std::filesystem::create_directory(dir / "full");
  std::ofstream(dir / "full/mine") << "x";
  CHECK_THROWS_WITH(Daemon({"--stores", dir / "full"}),
                    Catch::Contains(dir / "full") && Catch::Contains("not empty (mine)"));
}

// Programs that start programs, and daemons.
#include "tests/support/catch.h"
#include "tests/support/leftovers.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"

using namespace spillway::test;

TEST_CASE("programs are started in every way, under Spillway too, and leave the starter's data alone") {
  for (const char* how : {"vfork", "vfork-and-_exit", "fork", "posix_spawn", "posix_spawn-of-nothing",
                          "system", "popen", "forkpty", "grandchild"}) {
    same_on_every_backing("starts_programs", {how});
  }
}
TEST_CASE("a daemon works on with the blocks it had") {
  for (const std::string& backing : kBackings) {
    for (const char* how : {"daemon", "double-fork"}) {
      ScratchDir regions, reports;
      Running first(preloaded(environment_of(backing, {"SPILLWAY_DIR=" + regions.path()}),
                              {victim("becomes_a_daemon"), how, reports / "report"}));
      const Outcome of_first = first.wait();
      REQUIRE(wait_for_descendants());
      INFO(backing << " " << how << ": " << of_first.text());
      CHECK(of_first.exit_code == 0);
      CHECK(reports.read("report") == "ok\n");
      CHECK(first.err() == "");
      CHECK(leftovers(regions.path()) == "");
    }
  }
}

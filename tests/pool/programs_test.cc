// What the daemon does for programs under `spillway run`: together they keep to one budget.
#include "base/core/units.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"
#include "tests/support/wait.h"

using namespace spillway::test;
using spillway::kMiB;

namespace {

uint64_t anonymous_bytes(const Running& program) {
  const std::string status = read_file("/proc/" + std::to_string(program.pid()) + "/status");
  const size_t at = status.find("RssAnon:");
  return at == std::string::npos ? 0 : std::stoull(status.substr(at + 8)) * 1024;
}

}  // namespace

TEST_CASE("programs that spill share one budget, and the one that stays has all of it again", "[run]") {
  if (!needs_root()) return;
  Daemon daemon({"--programs-limit", "80M"});
  ScratchDir dir;
  const Command command =
      preloaded({"SPILLWAY_BACKING=managed", "SPILLWAY_LIMIT=64M", "SPILLWAY_COMPRESS=off",
                 "SPILLWAY_SOCKET=" + daemon.socket(), "SPILLWAY_DIR=" + dir.path()},
                {victim("goes_round_forever"), "160M"});
  Running first(command);
  REQUIRE(wait_until([&] { return anonymous_bytes(first) > 56 * kMiB; }));
  {
    Running second(command);
    // What is no large block is theirs besides.
    CHECK(wait_until([&] {
      return anonymous_bytes(second) > 30 * kMiB && anonymous_bytes(second) < 50 * kMiB &&
             anonymous_bytes(first) < 50 * kMiB;
    }));
  }
  CHECK(wait_until([&] { return anonymous_bytes(first) > 56 * kMiB; }));
  {
    // By weight: 16 each, and of the other 48 a quarter for the first and the rest for the third.
    Command heavier = command;
    heavier.env.push_back("SPILLWAY_WEIGHT=300");
    Running third(heavier);
    CHECK(
        wait_until([&] { return anonymous_bytes(third) > 46 * kMiB && anonymous_bytes(first) < 36 * kMiB; }));
  }
  {
    // What is its least it gets in any case.
    Command modest = command;
    modest.env.insert(modest.env.end(), {"SPILLWAY_WEIGHT=1", "SPILLWAY_MINIMUM=56M"});
    Running fourth(modest);
    CHECK(wait_until(
        [&] { return anonymous_bytes(fourth) > 50 * kMiB && anonymous_bytes(first) < 34 * kMiB; }));
  }
  CHECK_FALSE(first.ended());
}

// However a process ends, no file and no process stays behind.
#include <poll.h>
#include <signal.h>

#include <random>

#include "tests/support/catch.h"
#include "tests/support/leftovers.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"
#include "tests/support/wait.h"

using namespace spillway::test;

TEST_CASE("every ordinary and extraordinary end leaves nothing and keeps its exit status") {
  for (const std::string mask : {"", "tmpfile"}) {
    for (const char* how :
         {"return", "_exit", "quick_exit", "abort", "exec", "segfault", "SIGTERM", "SIGKILL", "SIGXCPU"}) {
      const Outcome plain = run_plainly("ends_by", {how});
      for (const std::string& backing : kBackings) {
        const Outcome got = run_victim(backing, "ends_by", {how}, {"SPILLWAY_MASK=" + mask});
        INFO(backing << " " << how << ": " << got.text());
        CHECK(got.exit_code == plain.exit_code);
        CHECK(got.signal == plain.signal);
        CHECK(got.out == "ok\n");
        CHECK(got.err == "");
      }
    }
  }
}

TEST_CASE("SIGKILL at 100 random moments leaves no file and no process") {
  std::mt19937 random(20240611);
  std::uniform_int_distribution<int> delay_ms(0, 60);
  ScratchDir regions;
  for (int i = 0; i < 100; ++i) {
    // Named files are unlinked a moment after they were made: the mask makes sure that moment is met too.
    const std::string mask = i % 4 == 3 ? "SPILLWAY_MASK=tmpfile" : "SPILLWAY_MASK=";
    Running churn(
        preloaded({"SPILLWAY_DIR=" + regions.path(), "SPILLWAY_BACKING=file", mask, "SPILLWAY_LIMIT=32M"},
                  {victim("churns_forever")}));
    if (i % 2) REQUIRE(wait_until([&] { return !churn.out().empty() || churn.ended(); }));
    ::poll(nullptr, 0, delay_ms(random));  // the moment; nothing is waited for
    churn.kill(SIGKILL);
    const Outcome got = churn.wait();
    INFO("round " << i << ": " << got.text());
    REQUIRE(got.signal == SIGKILL);
    REQUIRE(got.err == "");
    // Its children end by themselves, having finished their work without complaint.
    REQUIRE(wait_for_descendants());
    REQUIRE(churn.err() == "");
    REQUIRE(regions.files().empty());
  }
  CHECK(leftovers(regions.path()) == "");
}
TEST_CASE("SIGTERM at random moments leaves no file and no process") {
  std::mt19937 random(7);
  std::uniform_int_distribution<int> delay_ms(0, 40);
  ScratchDir regions;
  for (int i = 0; i < 10; ++i) {
    Running churn(
        preloaded({"SPILLWAY_DIR=" + regions.path(), "SPILLWAY_BACKING=file"}, {victim("churns_forever")}));
    REQUIRE(wait_until([&] { return !churn.out().empty() || churn.ended(); }));
    ::poll(nullptr, 0, delay_ms(random));
    churn.kill(SIGTERM);
    const Outcome got = churn.wait();
    INFO(got.text());
    REQUIRE(got.signal == SIGTERM);
    REQUIRE(wait_for_descendants());
  }
  CHECK(leftovers(regions.path()) == "");
}

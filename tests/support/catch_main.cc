// catch_main.cc - the main() of every test program: Catch2, plus tidying before the first and after each
// test.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include "tests/support/leftovers.h"
#include "tests/support/program.h"

namespace {

// A failed test may leave processes running (a daemon it was about to stop); the next test must not meet
// them.
struct KillStrays : Catch::TestEventListenerBase {
  using TestEventListenerBase::TestEventListenerBase;
  void testCaseEnded(const Catch::TestCaseStats&) override { spillway::test::kill_descendants(); }
};
CATCH_REGISTER_LISTENER(KillStrays)

}  // namespace

int main(int argc, char** argv) {
  spillway::test::remove_stale_leftovers();
  return Catch::Session().run(argc, argv);
}

// <spillway/preload.h>: hints and questions of programs that know the preload.
#include "tests/support/catch.h"
#include "tests/support/needs.h"
#include "tests/support/victims.h"

using namespace spillway::test;

TEST_CASE("a plain run has none of the hints, and says so") {
  require_ok(run_plainly("preload_hints", {"plain"}));
}
TEST_CASE("hints for managed blocks are followed, and change no byte") {
  if (!needs_root()) return;
  require_ok(run_victim("managed+24M", "preload_hints"));
}
TEST_CASE("hints for blocks in files and in plain memory change no byte") {
  require_ok(run_victim("file+24M", "preload_hints", {"files"}));
  require_ok(run_victim("plain+24M", "preload_hints", {"files"}));
}

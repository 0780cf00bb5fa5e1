// exm's own interface, and descriptors that the program takes for its own.
#include <algorithm>
#include <sstream>

#include "tests/support/catch.h"
#include "tests/support/leftovers.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"

using namespace spillway::test;

TEST_CASE("exm's functions do what exm's do") {
  ScratchDir other;
  require_ok(run_victim("file", "exm_interface", {other.path(), "file"}));
  require_ok(run_victim("plain", "exm_interface", {other.path()}));
  CHECK(leftovers(other.path()) == "");
}
TEST_CASE("a program that uses exm's interface runs without the preload") {
  require_ok(run_plainly("exm_interface"));
}
TEST_CASE("exm_debug_list lists the living blocks on stderr") {
  for (const std::string& backing : kBackings) {
    const Outcome got = run_victim(backing, "exm_lists_blocks");
    INFO(got.text());
    CHECK(got.exit_code == 0);
    std::istringstream addresses(got.out);
    std::string one, other;
    addresses >> one >> other;
    CHECK(got.err.find(one) != std::string::npos);
    CHECK(got.err.find(other) != std::string::npos);
    // One line each; a headline may come first.
    const auto lines = std::count(got.err.begin(), got.err.end(), '\n');
    CHECK((lines == 2 || lines == 3));
  }
}
TEST_CASE("a program that closes every descriptor and opens files of its own keeps them to itself") {
  ScratchDir own;
  same_on_every_backing("closes_all_fds", {own.path()});
  for (const char* mask : {"SPILLWAY_MASK=punch", "SPILLWAY_MASK=tmpfile"})
    require_ok(run_victim("file", "closes_all_fds", {own.path()}, {mask, "SPILLWAY_LIMIT=8M"}));
}

// EXM_CHILD_COW: what a forked child has.
#include "tests/support/catch.h"
#include "tests/support/victims.h"

using namespace spillway::test;

namespace {

const std::string kApart = "the parent does not see what the child wrote\nok\n";
const std::string kSnapshot = "the child does not see what the parent wrote\n";

}  // namespace

TEST_CASE("by default a child has an exact snapshot") {
  const Outcome got = run_victim("plain", "fork_mode");
  require_ok(got);
  CHECK(got.out == kSnapshot + kApart);
  const Outcome in_files = run_victim("file", "fork_mode");
  require_ok(in_files);
  CHECK(in_files.out.find("does not see") != std::string::npos);
  CHECK(in_files.out.find(" sees") == std::string::npos);
}
TEST_CASE("EXM_CHILD_COW=1 gives a child an exact snapshot") {
  for (const std::string& backing : kBackings) {
    for (const char* variable : {"EXM_CHILD_COW=1", "SPILLWAY_CHILD_COW=1"}) {
      const Outcome got = run_victim(backing, "fork_mode", {}, {variable});
      require_ok(got);
      CHECK(got.out.starts_with(kSnapshot));
      CHECK(got.out.ends_with(kApart));
    }
  }
}
TEST_CASE("EXM_CHILD_COW=0 lets parent and child share their blocks") {
  for (const std::string& backing : kBackings) {
    for (const char* variable : {"EXM_CHILD_COW=0", "SPILLWAY_CHILD_COW=0"}) {
      const Outcome got = run_victim(backing, "fork_mode", {}, {variable});
      INFO(backing << " " << variable);
      require_ok(got);
      if (backing == "plain") {
        // Private memory cannot be shared after the fact: the snapshot is what there is.
        CHECK(got.out == kSnapshot + kApart);
        continue;
      }
      CHECK(got.out ==
            "the child sees what the parent wrote\nthe child's block is in the parent's file\n"
            "the parent sees what the child wrote\nok\n");
    }
  }
}
TEST_CASE("EXM_CHILD_COW=2 gives a child a copy in a file of its own") {
  for (const char* variable : {"EXM_CHILD_COW=2", "SPILLWAY_CHILD_COW=2"}) {
    const Outcome got = run_victim("file", "fork_mode", {}, {variable});
    require_ok(got);
    CHECK(got.out == kSnapshot + "the child's block is in another file\n" + kApart);
  }
}
TEST_CASE("SPILLWAY_CHILD_COW wins over EXM_CHILD_COW") {
  const Outcome got = run_victim("file", "fork_mode", {}, {"EXM_CHILD_COW=0", "SPILLWAY_CHILD_COW=1"});
  require_ok(got);
  CHECK(got.out.starts_with(kSnapshot));
}
TEST_CASE("exm_cow sets the mode of later forks") {
  const Outcome shared = run_victim("file", "fork_mode", {"0"});
  require_ok(shared);
  CHECK(shared.out.starts_with("the child sees what the parent wrote\n"));
  const Outcome duplicate = run_victim("file", "fork_mode", {"2"});
  require_ok(duplicate);
  CHECK(duplicate.out.find("the child's block is in another file\n") != std::string::npos);
  const Outcome snapshot = run_victim("file", "fork_mode", {"1"}, {"EXM_CHILD_COW=0"});
  require_ok(snapshot);
  CHECK(snapshot.out.starts_with(kSnapshot));
}
TEST_CASE("every mode leaves the parent's data and files alone whatever the child does") {
  for (const char* mode : {"SPILLWAY_CHILD_COW=1", "SPILLWAY_CHILD_COW=2"}) {
    for (const char* what :
         {"grows", "shrinks-to-small", "frees-and-allocates", "copies", "writes", "exits", "is-killed"})
      require_ok(run_victim("file", "child_does", {what, "spilled"}, {mode}));
  }
  // Sharing means that writes are seen; what a child does to its own view of a block is still its own.
  for (const char* what : {"frees", "ends-at-once"})
    require_ok(run_victim("file", "child_does", {what}, {"SPILLWAY_CHILD_COW=0"}));
}

// Fork is a snapshot, both ways, whatever either side does next.
#include "base/core/units.h"
#include "tests/support/catch.h"
#include "tests/support/leftovers.h"
#include "tests/support/memory_cap.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"

using namespace spillway::test;
using spillway::kMiB;

namespace {

// The victim in a memory cgroup, without any limit of ours.
void ok_under_a_cap(const std::string& backing, size_t cap_bytes, const std::string& name,
                    const Words& args) {
  if (!MemoryCap::possible()) return;
  ScratchDir regions;
  MemoryCap cap(cap_bytes);
  const Words all = {"SPILLWAY_BACKING=" + backing, "SPILLWAY_DIR=" + regions.path()};
  Words argv = {victim(name)};
  argv.insert(argv.end(), args.begin(), args.end());
  Command command = preloaded(all, argv);
  command.cap = &cap;
  const Outcome got = run(command);
  INFO(backing << ", cap " << cap_bytes / kMiB << " MiB, OOM kills " << cap.oom_kills());
  require_ok(got);
  CHECK(leftovers(regions.path()) == "");
}

void ok_under_a_cap(size_t cap_bytes, const std::string& name, const Words& args) {
  for (const char* backing : {"auto", "file"}) ok_under_a_cap(backing, cap_bytes, name, args);
}

}  // namespace

TEST_CASE("a fork is a snapshot for parent, child and grandchild, of resident data") {
  same_on_every_backing("fork_is_a_snapshot", {"resident"});
}
TEST_CASE("a fork is a snapshot for parent, child and grandchild, of spilled data") {
  same_on_every_backing("fork_is_a_snapshot", {"spilled"});
}
TEST_CASE("a fork is a snapshot while data are being sent out under a limit") {
  same_on_every_backing("fork_is_a_snapshot", {"spilled"}, {"SPILLWAY_LIMIT=8M"});
}
TEST_CASE("a fork is a snapshot where files cannot be punched or made without a name") {
  same_on_every_backing("fork_is_a_snapshot", {"spilled"}, {"SPILLWAY_MASK=punch,tmpfile,fallocate"});
}
TEST_CASE("eight generations each see what their parent wrote") { same_on_every_backing("fork_chain"); }
TEST_CASE("a child made by _Fork, which calls no fork handlers, has a snapshot") {
  same_on_every_backing("forks_without_handlers");
}
TEST_CASE("a program may fork while eight threads allocate") {
  same_on_every_backing("fork_while_threads_allocate");
}
TEST_CASE("a program may fork while eight threads allocate under a limit") {
  require_ok(run_victim("file", "fork_while_threads_allocate", {}, {"SPILLWAY_LIMIT=16M"}));
}
TEST_CASE("a fork keeps protections, and what the program mapped in place of pages") {
  same_on_every_backing("fork_keeps_protections");
  same_on_every_backing("fork_keeps_protections", {}, {"EXM_CHILD_COW=2"});
  same_on_every_backing("fork_keeps_protections", {}, {"SPILLWAY_LIMIT=16M"});
}
TEST_CASE("several threads may fork at once") { same_on_every_backing("threads_fork"); }

TEST_CASE("nothing a child does with its blocks hurts its parent") {
  for (const char* what : {"grows", "shrinks", "shrinks-to-small", "frees", "frees-and-allocates", "copies",
                           "writes", "reads-into"}) {
    same_on_every_backing("child_does", {what}, {}, {"4M"});
    same_on_every_backing("child_does", {what, "spilled"}, {}, {"64k"});
  }
}
TEST_CASE("no way in which a child ends hurts its parent") {
  for (const char* what :
       {"exits", "exits-quickly", "_exits", "aborts", "is-killed", "executes", "forks-and-ends"}) {
    same_on_every_backing("child_does", {what, "spilled"}, {}, {"4M"});
  }
}
TEST_CASE("nothing a parent does with its blocks hurts its child") {
  for (const char* what : {"frees", "frees-and-allocates", "grows", "shrinks", "writes"})
    same_on_every_backing("parent_does", {what});
}
TEST_CASE("no way in which a parent ends hurts its child") {
  for (const std::string& backing : kBackings) {
    for (const char* what : {"exits", "_exits", "aborts", "is-killed", "executes"}) {
      ScratchDir regions;
      Running parent(preloaded(environment_of(backing, {"SPILLWAY_DIR=" + regions.path()}),
                               {victim("parent_does"), what}));
      const Outcome of_parent = parent.wait();
      REQUIRE(wait_for_descendants());
      INFO(backing << ", the parent " << what << ": " << of_parent.text());
      CHECK(parent.out() == "ok\n");
      CHECK(parent.err() == "");
      CHECK(leftovers(regions.path()) == "");
    }
  }
}

TEST_CASE("what a child writes can leave memory") {
  ok_under_a_cap(96 * kMiB, "writes_after_fork", {"child", "128M"});
}
TEST_CASE("what a parent writes after a fork can leave memory") {
  ok_under_a_cap(96 * kMiB, "writes_after_fork", {"parent", "128M"});
}
TEST_CASE("what both sides write after a fork can leave memory") {
  ok_under_a_cap(96 * kMiB, "writes_after_fork", {"both", "128M"});
}
TEST_CASE("twenty children of one parent do not multiply its memory by twenty") {
  ok_under_a_cap(192 * kMiB, "family_of_children", {"20", "64M", "1M"});
}
TEST_CASE("twenty children that write all of their block spill what they wrote") {
  ok_under_a_cap("file", 192 * kMiB, "family_of_children", {"20", "24M", "24M"});
  // The pager needs some 12 MiB in each process.
  ok_under_a_cap("auto", 384 * kMiB, "family_of_children", {"20", "24M", "24M"});
  ok_under_a_cap("auto", 256 * kMiB, "family_of_children", {"4", "100M", "100M"});
}

// The kernel and other processes reach into spilled memory as into any other.
#include <signal.h>

#include <sstream>

#include "tests/support/catch.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"
#include "tests/support/wait.h"

using namespace spillway::test;

namespace {

// With a limit far below the victims' blocks, most of what they touch is out when they touch it.
const Words kUnder8M = {"SPILLWAY_LIMIT=8M"};

}  // namespace

TEST_CASE("read, write and their kin work on spilled buffers, vectors and paths") {
  same_on_every_backing("io_files");
  same_on_every_backing("io_files", {}, kUnder8M);
}
TEST_CASE("pipes and sockets carry data between spilled blocks") {
  same_on_every_backing("io_pipes_and_sockets");
  same_on_every_backing("io_pipes_and_sockets", {}, kUnder8M);
}
TEST_CASE("O_DIRECT transfers work on spilled memory") {
  same_on_every_backing("io_direct");
  same_on_every_backing("io_direct", {}, kUnder8M);
}
TEST_CASE("getrandom fills spilled memory") {
  same_on_every_backing("io_getrandom");
  same_on_every_backing("io_getrandom", {}, kUnder8M);
}
TEST_CASE("futex words in spilled memory wake their waiters") {
  same_on_every_backing("io_futex");
  same_on_every_backing("io_futex", {}, {"SPILLWAY_LIMIT=1M"});
}
TEST_CASE("memcpy and memmove work inside and between spilled blocks") {
  same_on_every_backing("copies_between_spilled_blocks");
  same_on_every_backing("copies_between_spilled_blocks", {}, kUnder8M);
}
TEST_CASE("an instruction may need several extents at once") {
  same_on_every_backing("needs_several_extents_at_once");
  same_on_every_backing("needs_several_extents_at_once", {}, kUnder8M);
}
TEST_CASE("signal handlers may touch spilled memory and run on it") {
  same_on_every_backing("signal_handlers_touch_blocks");
  same_on_every_backing("signal_handlers_touch_blocks", {}, kUnder8M);
}
TEST_CASE("signals without SA_RESTART make no allocation fail") {
  same_on_every_backing("allocates_under_signals");
}
TEST_CASE("a program that waits for its signals gets them all") {
  same_on_every_backing("takes_signals_itself", {}, {"SPILLWAY_LIMIT=16M"});
}
TEST_CASE("threads run and fork on stacks taken from malloc") { same_on_every_backing("stacks_in_blocks"); }
TEST_CASE("malloc, realloc and free are no cancellation points") {
  same_on_every_backing("cancelled_threads_allocate");
}
TEST_CASE("process_vm_readv and process_vm_writev reach spilled blocks") {
  same_on_every_backing("read_by_process_vm_readv");
}

TEST_CASE("gdb reads spilled memory") {
  if (!needs_program("gdb")) return;
  for (const std::string& backing : kBackings) {
    ScratchDir regions;
    Running target(preloaded(environment_of(backing, {"SPILLWAY_DIR=" + regions.path()}),
                             {victim("waits_for_a_debugger")}));
    REQUIRE(wait_until([&] { return target.out().ends_with("ready\n") || target.ended(); }));
    Command gdb = {.argv = {"gdb", "--batch", "-nx", "-p", std::to_string(target.pid())}};
    std::istringstream lines(target.out());
    Words values;
    for (std::string address, value; lines >> address >> value;) {
      gdb.argv.insert(gdb.argv.end(), {"-ex", "x/gx " + address});
      values.push_back(value);
    }
    REQUIRE(values.size() == 3);
    const Outcome got = run(gdb);
    INFO(target.out() << got.text());
    for (const std::string& value : values) CHECK(got.out.find("\t" + value) != std::string::npos);
    target.kill(SIGKILL);
    CHECK(target.wait().signal == SIGKILL);
  }
}

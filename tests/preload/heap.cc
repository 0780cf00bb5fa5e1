// Small blocks that can spill (--heap): nothing else may be different.
#include <signal.h>

#include "tests/support/catch.h"
#include "tests/support/memory_cap.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"

using namespace spillway::test;

namespace {

const char* const kHeapUnder24M = "managed+24M";
const Words kHeap = {"SPILLWAY_HEAP=1"};

void same_with_small_blocks_on_disk(const std::string& name, const Words& args = {}) {
  const Outcome plain = run_plainly(name, args);
  require_ok(plain);
  const Outcome got = run_victim(kHeapUnder24M, name, args, kHeap);
  require_ok(got);
  CHECK(got.out == plain.out);
}

}  // namespace

TEST_CASE("small blocks of nearly three times the limit are what they were, in one thread and in four") {
  if (!managed_is_possible()) return;
  same_with_small_blocks_on_disk("small_blocks", {"64"});
  same_with_small_blocks_on_disk("small_blocks", {"64", "threads"});
}
TEST_CASE("small blocks on disk: children and their children see and change their own") {
  if (!managed_is_possible()) return;
  same_with_small_blocks_on_disk("small_blocks", {"64", "fork"});
  same_with_small_blocks_on_disk("small_blocks", {"64", "streams"});
}
TEST_CASE("small blocks on disk: everything else goes on") {
  if (!managed_is_possible()) return;
  for (const char* name :
       {"any_function_takes_any_block", "calloc_is_zero_when_recycled", "thread_exit_destructors",
        "signal_handlers_touch_blocks", "cancelled_threads_allocate", "fork_chain",
        "fork_while_threads_allocate", "forks_without_handlers"})
    same_with_small_blocks_on_disk(name);
}
TEST_CASE("small blocks spill under a memory cap, and without --heap they cannot") {
  if (!managed_is_possible() || !MemoryCap::possible()) return;
  const auto run_under_a_cap = [](const Words& environment) {
    ScratchDir dir;
    MemoryCap cap(96 << 20);
    Words all = environment_of("managed", {"SPILLWAY_DIR=" + dir.path()});
    all.insert(all.end(), environment.begin(), environment.end());
    Command command = preloaded(all, {victim("small_blocks"), "160"});
    command.cap = &cap;
    return run(command);
  };
  require_ok(run_under_a_cap(kHeap));
  CHECK(run_under_a_cap({}).signal == SIGKILL);
}
TEST_CASE("small blocks that cannot be spilled stay in memory, and a line says why") {
  for (const char* backing : {"file", "plain"}) {
    const Outcome got = run_victim(backing, "works_as_usual", {}, kHeap);
    INFO(got.text());
    CHECK(got.exit_code == 0);
    CHECK(got.err.find("small blocks stay in memory: only the managed backing") != std::string::npos);
    CHECK(got.err.find('\n') == got.err.size() - 1);
  }
  if (managed_is_possible()) {
    Command command = preloaded(kHeap, {victim("works_as_usual")});
    command.limits = {{RLIMIT_AS, rlim_t{1} << 30}};
    const Outcome limited = run(command);
    INFO(limited.text());
    CHECK(limited.exit_code == 0);
    CHECK(limited.err == "spillway: small blocks stay in memory: Cannot allocate memory (see ulimit -v)\n");
  }
  const Outcome masked = run_victim("auto", "works_as_usual", {}, {"SPILLWAY_HEAP=1", "SPILLWAY_MASK=uffd"});
  CHECK(masked.exit_code == 0);
  CHECK(masked.err.find("small blocks stay in memory: userfaultfd") != std::string::npos);
}

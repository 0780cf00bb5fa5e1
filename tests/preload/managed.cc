// The managed backing with a limit so small that most of a victim's blocks are on disk most of the time:
// everything must be as on plain memory, and the limit must hold.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "tests/support/catch.h"
#include "tests/support/loop_disk.h"
#include "tests/support/memory_cap.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"
#include "tests/support/wait.h"

using namespace spillway::test;

namespace {

const char* const kTight = "managed+24M";
// As with kernels from 5.7 on: not for O_DIRECT (base/os/userfault.h).
const char* const kOldKernel = "managed+24M-move,poison";

void same_under_a_tight_limit(const std::string& name, const Words& args = {}) {
  const Outcome plain = run_plainly(name, args);
  require_ok(plain);
  for (const std::string backing : {kTight, kOldKernel}) {
    if (backing == kOldKernel && name == "io_direct") continue;
    INFO(name << " on " << backing);
    const Outcome got = run_victim(backing, name, args);
    require_ok(got);
    CHECK(got.out == plain.out);
  }
}

}  // namespace

TEST_CASE("managed blocks that are on disk: the family of malloc") {
  if (!managed_is_possible()) return;
  same_under_a_tight_limit("any_function_takes_any_block");
  same_under_a_tight_limit("family_blocks_do_not_overlap");
  same_under_a_tight_limit("realloc_keeps_data_across_threshold");
  same_under_a_tight_limit("realloc_grows_in_place");
  same_under_a_tight_limit("calloc_is_zero_when_recycled");
  same_under_a_tight_limit("copies_between_spilled_blocks");
}
TEST_CASE("managed blocks that are on disk: system calls read and write them") {
  if (!managed_is_possible()) return;
  for (const char* victim : {"io_files", "io_direct", "io_pipes_and_sockets", "io_getrandom", "io_futex"})
    same_under_a_tight_limit(victim);
}
TEST_CASE("managed blocks that are on disk: the program's own memory calls") {
  if (!managed_is_possible()) return;
  for (const char* victim : {"madvise_as_on_plain_memory", "madvise_dontneed_gives_zeros", "mprotect_part",
                             "mlock_block", "mremap_of_blocks", "mremap_of_own_mappings", "mappings_grow"})
    same_under_a_tight_limit(victim);
}
TEST_CASE("managed blocks that are on disk: pages of other protections in their extents") {
  if (!managed_is_possible()) return;
  for (const char* where : {"one", "each"}) same_under_a_tight_limit("mprotect_pages", {where});
}
TEST_CASE("managed blocks that are on disk: threads and signals") {
  if (!managed_is_possible()) return;
  same_under_a_tight_limit("threads_touch_one_extent");
  same_under_a_tight_limit("signal_handlers_touch_blocks");
  same_under_a_tight_limit("stacks_in_blocks");
  require_ok(run_victim(kTight, "threads_exchange_blocks", {"8", "500"}));
}
TEST_CASE("managed blocks that are on disk: a fork is exact for parent, child and grandchild") {
  if (!managed_is_possible()) return;
  for (const char* victim : {"fork_is_a_snapshot", "fork_chain", "threads_fork",
                             "fork_while_threads_allocate", "forks_without_handlers", "family_of_children"})
    same_under_a_tight_limit(victim);
  for (const char* what : {"frees", "grows", "writes"}) same_under_a_tight_limit("child_does", {what});
  for (const char* what : {"frees", "grows", "writes"}) same_under_a_tight_limit("parent_does", {what});
}
TEST_CASE("managed blocks that are on disk: churn of verified pages by threads, with forks in between") {
  if (!managed_is_possible()) return;
  require_ok(run_victim(kTight, "churns_pages", {"8", "4"}));
  require_ok(run_victim(kOldKernel, "churns_pages", {"6", "4"}));
  require_ok(run_victim("managed+48M", "churns_pages", {"6", "4"}));
  // Some compress, some do not, and pages become longer.
  require_ok(run_victim(kTight, "churns_pages", {"4", "4", "96M", "0"}));
  // Lines are read and written one at a time then.
  require_ok(run_victim(kTight, "churns_pages", {"6", "2"}, {"SPILLWAY_MASK=uring"}));
}
TEST_CASE("managed blocks under a memory cap make room for what else the program takes") {
  if (!managed_is_possible() || !MemoryCap::possible()) return;
  const auto ok_under_a_cap = [](const std::string& name, const Words& args) {
    ScratchDir dir;
    MemoryCap cap(256 << 20);
    Words argv = {victim(name)};
    argv.insert(argv.end(), args.begin(), args.end());
    Command command = preloaded({"SPILLWAY_DIR=" + dir.path()}, argv);
    command.cap = &cap;
    const Outcome got = run(command);
    INFO(name << " " << args[0] << " " << args[1] << ": OOM kills " << cap.oom_kills());
    require_ok(got);
  };
  // Small blocks that come slowly and fast, before and after the pager has started.
  ok_under_a_cap("small_blocks_grow", {"400M", "20M", "64k"});
  ok_under_a_cap("small_blocks_grow", {"400M", "150M", "64k"});
  ok_under_a_cap("small_blocks_grow", {"150M", "150M", "200"});
  ok_under_a_cap("small_blocks_grow", {"100M", "120M", "1k"});
  // Memory that the program maps itself.
  ok_under_a_cap("mappings_grow", {"400M", "100M", "256k"});
  ok_under_a_cap("mappings_grow", {"400M", "100M", "20M"});
  // Copies that forks cause.
  ok_under_a_cap("churns_pages", {"4", "8"});
}
TEST_CASE("managed blocks that are on disk: programs that close all descriptors") {
  if (!managed_is_possible()) return;
  ScratchDir dir;
  same_under_a_tight_limit("closes_all_fds", {dir.path()});
}
TEST_CASE(
    "managed blocks on a disk that fails: what cannot be read is SIGBUS, in words, and nothing is wrong") {
  if (!managed_is_possible() || !LoopDisk::possible()) return;
  for (const char* backing : {kTight, kOldKernel}) {
    LoopDisk disk(160 << 20);
    ScratchDir dir;
    REQUIRE(::mkfifo((dir / "go").c_str(), 0600) == 0);
    Running program(preloaded(environment_of(backing, {"SPILLWAY_DIR=" + disk.path()}),
                              {victim("reads_lost_pages"), "64M", dir / "go"}));
    REQUIRE(wait_until([&] { return program.out() == "ready\n" || program.ended(); }));
    disk.fail();
    const int go = ::open((dir / "go").c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(::write(go, "x", 1) == 1);
    const Outcome got = program.wait();
    ::close(go);
    INFO(backing << ": " << got.text());
    CHECK(got.exit_code == 0);
    CHECK(got.out == "ready\nok\n");
    CHECK_THAT(got.err, Catch::Contains("cannot read 4096 bytes at offset ") &&
                            Catch::Contains(disk.path()) && Catch::Contains("Input/output error") &&
                            Catch::Contains("SIGBUS"));
  }
}
TEST_CASE("where pinned pages cannot be told, nobody gets the managed backing unasked") {
  if (!managed_is_possible()) return;
  for (const char* mask : {"SPILLWAY_MASK=move", "SPILLWAY_MASK=poison"}) {
    const Outcome got =
        run_victim("auto", "churns_pages", {"2", "1"}, {mask, "SPILLWAY_STATS=1", "SPILLWAY_LIMIT=24M"});
    INFO(got.text());
    CHECK(got.exit_code == 0);
    CHECK(got.err.find("  storage ") != std::string::npos);
    CHECK(got.err.find("  pager ") == std::string::npos);
  }
}
TEST_CASE("without userfaultfd the managed backing says so once and uses files") {
  const Outcome got = run_victim("managed", "works_as_usual", {}, {"SPILLWAY_MASK=uffd"});
  CHECK(got.exit_code == 0);
  CHECK(got.err.find("userfaultfd") != std::string::npos);
  CHECK(std::count(got.err.begin(), got.err.end(), '\n') == 1);
}

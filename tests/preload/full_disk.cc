// The disk of the region files is full: ENOMEM or business as usual, the data right, never SIGBUS.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/core/units.h"
#include "tests/support/catch.h"
#include "tests/support/leftovers.h"
#include "tests/support/loop_disk.h"
#include "tests/support/paths.h"
#include "tests/support/victims.h"
#include "tests/support/wait.h"

using namespace spillway::test;
using spillway::kMiB;

namespace {

// A full disk may be worth one line of a process and one of its child, not more.
void ok_with_few_words(const Outcome& got) {
  INFO(got.text());
  CHECK(got.exit_code == 0);
  CHECK(got.signal == 0);
  CHECK(got.out.ends_with("ok\n"));
  CHECK(std::count(got.err.begin(), got.err.end(), '\n') <= 2);
  CHECK((got.err.empty() || got.err.starts_with("spillway: ")));
}

}  // namespace

TEST_CASE("a program that fills the disk is refused with ENOMEM or goes on, and its data stay right") {
  if (!LoopDisk::possible()) return;
  const std::string backing = GENERATE("file", "managed");
  for (const std::string mask : {"", "tmpfile", "fallocate", "punch"}) {
    for (const std::string limit : {"", "16M"}) {
      LoopDisk disk(64 * kMiB);
      INFO(backing << ", mask " << mask << ", limit " << limit);
      Words env = {"SPILLWAY_DIR=" + disk.path(), "SPILLWAY_BACKING=" + backing, "SPILLWAY_MASK=" + mask};
      if (!limit.empty()) env.push_back("SPILLWAY_LIMIT=" + limit);
      ok_with_few_words(run(preloaded(env, {victim("fills_the_disk"), "4M", "40"})));
      CHECK(open_files_below(disk.path()).empty());
    }
  }
}
TEST_CASE("many small regions fill the disk without harm") {
  if (!LoopDisk::possible()) return;
  LoopDisk disk(64 * kMiB);
  ok_with_few_words(
      run(preloaded({"SPILLWAY_DIR=" + disk.path(), "SPILLWAY_BACKING=file", "SPILLWAY_THRESHOLD=64k"},
                    {victim("fills_the_disk"), "100k", "900"})));
}
TEST_CASE("another process fills the disk after the program got its memory") {
  if (!LoopDisk::possible()) return;
  const std::string backing = GENERATE("file", "managed+24M");
  for (const std::string mask : {"", "fallocate"}) {
    LoopDisk disk(96 * kMiB);
    ScratchDir dir;
    REQUIRE(::mkfifo((dir / "go").c_str(), 0600) == 0);
    Running program(
        preloaded(environment_of(backing, {"SPILLWAY_DIR=" + disk.path(), "SPILLWAY_MASK=" + mask}),
                  {victim("disk_fills_up_later"), dir / "go"}));
    REQUIRE(wait_until([&] { return program.out() == "ready\n" || program.ended(); }));
    disk.fill_up();
    REQUIRE(disk.free_bytes() < kMiB);
    const int go = ::open((dir / "go").c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(::write(go, "x", 1) == 1);
    INFO(backing << ", mask " << mask);
    ok_with_few_words(program.wait());
    ::close(go);
  }
}
TEST_CASE("a disk that is full from the start is answered with ENOMEM or another place, in one line") {
  if (!LoopDisk::possible()) return;
  LoopDisk disk(32 * kMiB);
  disk.fill_up();
  const Outcome got = run(preloaded({"SPILLWAY_DIR=" + disk.path(), "SPILLWAY_BACKING=file"}, {"/bin/true"}));
  CHECK(got.exit_code == 0);
  const Outcome refused =
      run(preloaded({"SPILLWAY_DIR=" + disk.path(), "SPILLWAY_BACKING=file"}, {victim("works_as_usual")}));
  INFO(refused.text());
  // Either it ran on, or the victim complained about the ENOMEM it got; it was not killed.
  CHECK(refused.signal == 0);
  if (refused.exit_code != 0) CHECK(refused.out.find("Cannot allocate memory") != std::string::npos);
  CHECK(std::count(refused.err.begin(), refused.err.end(), '\n') <= 1);
}

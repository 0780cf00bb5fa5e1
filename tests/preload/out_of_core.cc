// A block four times the budget: the right bytes, in every order of access, and a bounded peak.
#include "base/core/units.h"
#include "tests/support/catch.h"
#include "tests/support/memory_cap.h"
#include "tests/support/paths.h"
#include "tests/support/victims.h"

using namespace spillway::test;
using spillway::kMiB;

namespace {

constexpr size_t kLimit = 128 * kMiB;

void block_of_four_times_the_limit(const std::string& order, const std::string& threads) {
  const Words args = {order, threads, "512M"};
  const Outcome plain = run_plainly("out_of_core", args);
  require_ok(plain);
  // What the program needs besides the block: the same program with a small one.
  const size_t baseline = run_plainly("out_of_core", {order, threads, "1M"}).max_rss_bytes;

  for (const std::string backing : {"file", "managed"}) {
    const Outcome got = run_victim(backing, "out_of_core", args, {"SPILLWAY_LIMIT=128M", "SPILLWAY_QUIET=1"});
    require_ok(got);
    CHECK(got.out == plain.out);
    INFO(backing << ", baseline " << baseline / kMiB << " MiB, " << got.text());
    // The pager admits what comes in; files are let go of after they came in.
    const size_t tolerance = backing == "managed" && got.err.empty() ? kLimit / 20 : kLimit / 4;
    CHECK(got.max_rss_bytes <= kLimit + tolerance + baseline);
  }
}

}  // namespace

TEST_CASE("one thread working forward on four times the limit stays under it") {
  block_of_four_times_the_limit("forward", "1");
}
TEST_CASE("one thread working backward on four times the limit stays under it") {
  block_of_four_times_the_limit("backward", "1");
}
TEST_CASE("one thread working in strides on four times the limit stays under it") {
  block_of_four_times_the_limit("strided", "1");
}
TEST_CASE("one thread working at random on four times the limit stays under it") {
  block_of_four_times_the_limit("random", "1");
}
TEST_CASE("8 threads working forward on four times the limit stay under it") {
  block_of_four_times_the_limit("forward", "8");
}
TEST_CASE("8 threads working backward on four times the limit stay under it") {
  block_of_four_times_the_limit("backward", "8");
}
TEST_CASE("8 threads working in strides on four times the limit stay under it") {
  block_of_four_times_the_limit("strided", "8");
}
TEST_CASE("8 threads working at random on four times the limit stay under it") {
  block_of_four_times_the_limit("random", "8");
}

TEST_CASE("a block four times a memory cgroup is right although no limit was set") {
  if (!MemoryCap::possible()) return;
  for (const char* order : {"forward", "backward", "strided", "random"}) {
    const Outcome plain = run_plainly("out_of_core", {order, "2", "256M"});
    MemoryCap cap(64 * kMiB);
    Command command = preloaded({"SPILLWAY_BACKING=file"}, {victim("out_of_core"), order, "2", "256M"});
    command.cap = &cap;
    const Outcome got = run(command);
    INFO(order << ": " << got.text() << " OOM kills " << cap.oom_kills());
    require_ok(got);
    CHECK(got.out == plain.out);
  }
}
TEST_CASE("the plain backing has the right bytes too") {
  same_on_every_backing("out_of_core", {"random", "8", "64M"});
}

TEST_CASE("16 threads that touch one extent on disk all go on after about one read") {
  same_on_every_backing("threads_touch_one_extent");
}

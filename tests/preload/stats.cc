// The report of SPILLWAY_STATS.
#include <algorithm>
#include <regex>

#include "tests/support/catch.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"

using namespace spillway::test;

namespace {

bool has_line(const std::string& report, const std::string& pattern) {
  return std::regex_search(report, std::regex("(^|\n)" + pattern + "(\n|$)"));
}

size_t count_of(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++n;
  return n;
}

}  // namespace

TEST_CASE("the report counts allocations, bytes and call sites") {
  for (const std::string& backing : kBackings) {
    const Outcome got = run_victim(backing, "allocates_for_stats", {}, {"SPILLWAY_STATS=1"});
    INFO(got.text());
    CHECK(got.exit_code == 0);
    CHECK(got.out == "ok\n");
    CHECK(has_line(got.err, R"(spillway: stats of \d+ \(allocates_for_stats\))"));
    CHECK(has_line(got.err, R"(  large allocations +8 \(frees 2, recycled [0-2]\))"));
    // 5 x 8 MiB and one of 32 MiB at the same time; head-room may count too.
    CHECK(has_line(got.err, R"(  managed bytes +peak (7[2-9]|8\d)(\.\d+)? MiB)"));
    CHECK(has_line(got.err, R"(  resident memory +peak \d+(\.\d+)? MiB)"));
    CHECK(has_line(got.err, R"(  storage +read \d+(\.\d+)? MiB, written \d+(\.\d+)? MiB)"));
    CHECK(has_line(got.err, R"(  major faults +\d+)"));
    CHECK(has_line(got.err, R"(  top call sites by bytes)"));
    CHECK(has_line(got.err, R"( +96(\.0+)? MiB in 3 calls .*three_large_ones.*)"));
    CHECK(has_line(got.err, R"( +40(\.0+)? MiB in 5 calls .*five_small_ones.*)"));
    CHECK(got.err.find("three_large_ones") < got.err.find("five_small_ones"));
  }
}
TEST_CASE("a report in a file is appended, one for each process") {
  ScratchDir dir;
  const std::string setting = "SPILLWAY_STATS=" + (dir / "report");
  require_ok(run_victim("file", "allocates_for_stats", {"with-a-child"}, {setting}));
  const std::string first = dir.read("report");
  INFO(first);
  CHECK(count_of(first, "spillway: stats of ") == 2);
  CHECK(has_line(first, R"( +16(\.0+)? MiB in 1 calls? .*main.*)"));
  require_ok(run_victim("file", "allocates_for_stats", {}, {setting}));
  const std::string second = dir.read("report");
  CHECK(second.starts_with(first));
  CHECK(count_of(second, "spillway: stats of ") == 3);
}
TEST_CASE("a report does not go into a file of the program that has the descriptor's number now") {
  ScratchDir dir;
  dir.write("precious", "");
  const Outcome got = run_victim("file", "allocates_for_stats", {dir / "precious"}, {"SPILLWAY_STATS=1"});
  INFO(got.text());
  CHECK(count_of(got.err, "spillway: stats of ") == 1);
  require_ok(
      run_victim("file", "allocates_for_stats", {dir / "precious"}, {"SPILLWAY_STATS=" + (dir / "report")}));
  CHECK(count_of(dir.read("report"), "spillway: stats of ") == 1);
  CHECK(dir.read("precious") == "");
}
TEST_CASE("a report that cannot be written costs one line and nothing else") {
  const Outcome got =
      run_victim("file", "allocates_for_stats", {}, {"SPILLWAY_STATS=/no/such/directory/report"});
  INFO(got.text());
  CHECK(got.exit_code == 0);
  CHECK(got.out == "ok\n");
  CHECK(std::count(got.err.begin(), got.err.end(), '\n') == 1);
  CHECK(got.err.find("/no/such/directory/report") != std::string::npos);
}
TEST_CASE("bytes that went to storage and back are counted") {
  const Outcome got =
      run_victim("file", "out_of_core", {"forward", "1", "128M"}, {"SPILLWAY_STATS=1", "SPILLWAY_LIMIT=32M"});
  INFO(got.text());
  CHECK(got.out.ends_with("ok\n"));
  CHECK(has_line(got.err, R"(  storage +read [1-9]\d*(\.\d+)? MiB, written [1-9]\d*(\.\d+)? MiB)"));
  CHECK(has_line(got.err, R"(  major faults +[1-9]\d*)"));
}
TEST_CASE("what the pager saw of the program is counted: streams, loops, waits, and what is on disk") {
  if (!managed_is_possible()) return;
  const Outcome got = run_victim("managed", "out_of_core", {"forward", "1", "128M"},
                                 {"SPILLWAY_STATS=1", "SPILLWAY_LIMIT=32M"});
  INFO(got.text());
  CHECK(got.out.ends_with("ok\n"));
  CHECK(has_line(
      got.err, R"(  pager's view +streams [1-9]\d*, loops \d+, threads waited \d+\.\d+ s for extents, .*)"));
  // All but what may be in memory, at least.
  CHECK(has_line(got.err, R"( +on disk at most (9[6-9]|1[0-2]\d)\.\d MiB, at the end \d+\.\d)"));
}

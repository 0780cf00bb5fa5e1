// SPILLWAY_TRACE and `spillway trace`: programs whose blocks are on disk most of the time, what the trace of
// them says, and what is refused.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <regex>

#include "tests/preload/command_helpers.h"
#include "tests/support/catch.h"
#include "tests/support/loop_disk.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"
#include "tests/support/wait.h"

using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

bool is_possible() {
  if (!needs_root()) return false;
  const Outcome got = run_victim("managed+24M", "works_as_usual");
  if (got.err.empty()) return true;
  skip(got.err);
  return false;
}

// The number behind some words in a report; 0: they are not there.
uint64_t number_after(const std::string& text, const std::string& words) {
  std::smatch found;
  const std::regex pattern(words + R"([ (]+(\d+))");
  return std::regex_search(text, found, pattern) ? std::stoull(found[1]) : 0;
}

std::string summary_of(const std::string& file) {
  const Outcome got = run(spillway_with_words({"trace", file}));
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  REQUIRE(got.err.empty());
  return got.out;
}

// Well-formed, by a parser that is not ours; says which text is in it.
std::string words_of_picture(const std::string& file) {
  const Outcome got =
      run({.argv = {"python3", "-c",
                    "import sys, xml.etree.ElementTree as tree\n"
                    "root = tree.parse(sys.argv[1]).getroot()\n"
                    "assert root.tag == '{http://www.w3.org/2000/svg}svg', root.tag\n"
                    "print('\\n'.join(t.text for t in root.iter() if t.text and t.text.strip()))\n",
                    file}});
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  return got.out;
}

}  // namespace

TEST_CASE("a trace has what the report counts, and a picture") {
  if (!is_possible()) return;
  for (const std::string order : {"forward", "strided", "random"}) {
    ScratchDir dir;
    const Outcome got = run_victim("managed+24M", "out_of_core", {order, "1", "80M"},
                                   {"SPILLWAY_STATS=1", "SPILLWAY_TRACE=" + (dir / "t")});
    const std::string& report = got.err;
    const std::string summary = summary_of(dir / "t");
    INFO(report << summary);
    REQUIRE(got.exit_code == 0);
    REQUIRE(got.out.ends_with("ok\n"));
    CHECK(summary.find("note:") == std::string::npos);

    // All of these end with the program's last touch.
    const uint64_t faults =
        number_after(summary, "first touches") + number_after(summary, "faults on what is on disk") +
        number_after(summary, "faults on what is under way") + number_after(report, R"(\(in staging)");
    CHECK(faults == number_after(report, "pager +faults"));
    CHECK(number_after(summary, "found in staging") ==
          number_after(report, R"(\(in staging)") + number_after(report, R"(\(found in staging)"));
    CHECK(number_after(summary, "asked for ahead") == number_after(report, R"(\(ahead)"));
    // What is read and written beside the program may go on between report and trace: as much as is under
    // way.
    const auto is_near = [](uint64_t a, uint64_t b) { return std::max(a, b) - std::min(a, b) <= 24; };
    CHECK(is_near(number_after(summary, "extents read") + number_after(summary, "extents zeroed"),
                  number_after(report, ", read")));
    CHECK(is_near(number_after(summary, "lines read"), number_after(report, "lines +read")));
    CHECK(is_near(number_after(summary, "writes"),
                  number_after(report, R"(ahead \d+\), written)") + number_after(report, "pages written")));
    CHECK(is_near(
        number_after(summary, "unchanged, not written"),
        number_after(report, R"(\n +unchanged)") + number_after(report, R"(pages written \d+, unchanged)")));
    CHECK(number_after(report, ", read") > 50);
    CHECK(number_after(summary, "evictions") > 40);
    CHECK(number_after(summary, "peak in memory") <= 24);
    if (order == "random") CHECK(number_after(summary, "lines read") > 500);

    const Outcome drawn = run(spillway_with_words({"trace", dir / "t", "-o", dir / "t.svg"}));
    INFO(drawn.text());
    CHECK(drawn.exit_code == 0);
    CHECK(drawn.out.ends_with("picture                     " + (dir / "t.svg") + "\n"));
    const std::string words = words_of_picture(dir / "t.svg");
    for (const char* part : {"out_of_core (process ", "limit 24 MiB", "address space in use", "MB/s",
                             "written", "evicted", "first touch", "time since the pager started"})
      CHECK_THAT(words, Catch::Contains(part));
    CHECK(fs::file_size(dir / "t.svg") < 1'000'000);
    // At another size, with the options first.
    const Outcome small = run(spillway_with_words(
        {"trace", "--width", "640", "--height=400", "--output=" + (dir / "s.svg"), dir / "t"}));
    CHECK(small.exit_code == 0);
    CHECK(dir.read("s.svg").find("width=\"640\" height=\"400\"") != std::string::npos);
    (void)words_of_picture(dir / "s.svg");
  }
}
TEST_CASE("each forked child that spills has a trace of its own") {
  if (!is_possible()) return;
  ScratchDir dir;
  require_ok(run_victim("managed+24M", "fork_is_a_snapshot", {}, {"SPILLWAY_TRACE=" + (dir / "t")}));
  const std::vector<std::string> files = dir.files();
  REQUIRE(files.size() >= 2);
  CHECK(files[0] == "t");
  CHECK(number_after(summary_of(dir / "t"), "forks") >= 1);
  for (size_t i = 1; i < files.size(); ++i) {
    const std::string summary = summary_of(dir / files[i]);
    CHECK_THAT(summary, Catch::Contains("(process " + files[i].substr(2) + ")"));
  }
}
TEST_CASE("the trace of a program that is killed, or still runs, can be read") {
  if (!is_possible()) return;
  ScratchDir dir;
  Running program(preloaded({"SPILLWAY_DIR=" + dir.path(), "SPILLWAY_BACKING=managed", "SPILLWAY_LIMIT=24M",
                             "SPILLWAY_TRACE=" + (dir / "t")},
                            {victim("churns_pages"), "100", "2"}));
  REQUIRE(wait_until([&] { return fs::exists(dir / "t") && fs::file_size(dir / "t") > 100'000; }));
  const uint64_t running = number_after(summary_of(dir / "t"), "evictions");
  CHECK(running > 0);
  program.kill(SIGKILL);
  (void)program.wait();
  CHECK(number_after(summary_of(dir / "t"), "evictions") >= running);
  CHECK(run(spillway_with_words({"trace", dir / "t", "-o", dir / "t.svg"})).exit_code == 0);
  (void)words_of_picture(dir / "t.svg");
}
TEST_CASE("a disk that fills up ends the trace, not the program") {
  if (!is_possible() || !LoopDisk::possible()) return;
  LoopDisk disk(16 << 20);
  disk.fill_up(16 << 10);
  const std::string file = disk.path() + "/t";
  const Outcome got =
      run_victim("managed+24M", "out_of_core", {"random", "1", "96M"}, {"SPILLWAY_TRACE=" + file});
  INFO(got.text());
  CHECK(got.exit_code == 0);
  CHECK(got.out.ends_with("ok\n"));
  CHECK_THAT(got.err, Catch::Contains("SPILLWAY_TRACE: cannot write " + file) &&
                          Catch::Contains("No space left on device"));
  CHECK(std::count(got.err.begin(), got.err.end(), '\n') == 1);
}
TEST_CASE("a trace of what is not managed is refused in one line, and the program runs") {
  for (const std::string backing : {"file", "plain"}) {
    ScratchDir dir;
    const Outcome got =
        run_victim(backing, "out_of_core", {"forward", "1", "48M"}, {"SPILLWAY_TRACE=" + (dir / "t")});
    INFO(got.text());
    CHECK(got.exit_code == 0);
    CHECK(got.out.ends_with("ok\n"));
    CHECK_THAT(got.err, Catch::Contains("SPILLWAY_TRACE: only the managed backing is traced"));
    CHECK(std::count(got.err.begin(), got.err.end(), '\n') == 1);
    CHECK(dir.files().empty());
  }
}
TEST_CASE("a trace that cannot be written costs one line and nothing else") {
  if (!is_possible()) return;
  const Outcome got = run_victim("managed+24M", "out_of_core", {"forward", "1", "48M"},
                                 {"SPILLWAY_TRACE=/no/such/directory/t"});
  INFO(got.text());
  CHECK(got.exit_code == 0);
  CHECK(got.out.ends_with("ok\n"));
  CHECK(std::count(got.err.begin(), got.err.end(), '\n') == 1);
  CHECK_THAT(got.err, Catch::Contains("/no/such/directory/t"));
}
TEST_CASE("spillway run --trace hands the file on, and refuses what it would spoil", "[command]") {
  ScratchDir dir;
  Command there = spillway_with("run --trace t env");
  there.dir = dir.path();
  CHECK(variable_seen("SPILLWAY_TRACE", there) == dir / "t");
  CHECK_FALSE(fs::exists(dir / "t"));
  dir.write("mine", "dear diary");
  for (const std::string& file :
       {dir / "mine", dir.path(), std::string("/no/such/t"), std::string("/dev/null")}) {
    requires_refusal(spillway_with_words({"run", "--trace", file, "true"}), 125,
                     "--trace: '" + file + "'*empty or a trace");
    requires_refusal(spillway_with("run true", "SPILLWAY_TRACE=" + file), 125, "SPILLWAY_TRACE*" + file);
  }
  CHECK(dir.read("mine") == "dear diary");
}
TEST_CASE("spillway trace refuses what it cannot show, in words", "[command]") {
  ScratchDir dir;
  dir.write("empty", "");
  dir.write("text", "dear diary, nobody traced me");
  dir.write("short", std::string("SPILTRAC") + std::string(20, '\0'));
  requires_refusal(spillway_with("trace " + (dir / "no")), 1, "No such file*fits in memory leaves none");
  requires_refusal(spillway_with("trace " + (dir / "empty")), 1, "is empty");
  requires_refusal(spillway_with("trace " + (dir / "text")), 1, "is no trace");
  requires_refusal(spillway_with("trace " + (dir / "short")), 1, "28 of 128 bytes");
  requires_refusal(spillway_with("trace " + dir.path()), 1, "is no file");
  requires_refusal(spillway_with("trace"), 125, "which file?");
  requires_refusal(spillway_with("trace a b"), 125, "one file, not b");
  requires_refusal(spillway_with("trace a -o b.png"), 125, "ends in .svg");
  requires_refusal(spillway_with("trace a -o b.svg --width 3"), 125, "3 x 800*--width 400 to 4000");
  requires_refusal(spillway_with("trace a --width x"), 125, "--width*x");
  requires_refusal(spillway_with("trace a --outptu b.svg"), 125, "did you mean --output?");
  dir.write("t.svg", "SPILTRAC");
  requires_refusal(spillway_with("trace " + (dir / "t.svg") + " -o " + (dir / "t.svg")), 125, "trace itself");
  CHECK(dir.read("t.svg") == "SPILTRAC");
}

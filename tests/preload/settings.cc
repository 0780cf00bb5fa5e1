// What the environment says, for a library that was preloaded by hand; and what the program must not notice.
#include <algorithm>

#include "tests/support/catch.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"

using namespace spillway::test;

namespace {

Outcome threshold_with(const Words& env) { return run(preloaded(env, {victim("says_its_threshold")})); }

void expect_threshold(const Words& env, const std::string& bytes) {
  const Outcome got = threshold_with(env);
  INFO(env.back() << ": " << got.text());
  CHECK(got.out == bytes + "\n");
  CHECK(got.err == "");
}

// One line that names the variable, its value and what would be accepted; and the default counts.
void expect_refused(const std::string& variable, const std::string& value, const std::string& accepted) {
  const Outcome got = threshold_with({variable + "=" + value});
  INFO(variable << "=" << value << ": " << got.text());
  CHECK(got.exit_code == 0);
  CHECK(got.out == "4194304\n");
  CHECK(got.err.starts_with("spillway: "));
  CHECK(std::count(got.err.begin(), got.err.end(), '\n') == 1);
  for (const std::string& part : {variable, value, accepted}) CHECK(got.err.find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("the threshold is 4 MiB unless a variable says otherwise") {
  expect_threshold({"LANG=C"}, "4194304");
}
TEST_CASE("sizes are understood in all their forms, under both names") {
  for (const std::string name : {"EXM_THRESHOLD=", "SPILLWAY_THRESHOLD="}) {
    expect_threshold({name + "100M"}, "104857600");
    expect_threshold({name + "64k"}, "65536");
    expect_threshold({name + "2G"}, "2147483648");
    expect_threshold({name + "1.5G"}, "1610612736");
    expect_threshold({name + "0x100000"}, "1048576");
    expect_threshold({name + "8388608"}, "8388608");
    expect_threshold({name + "64MiB"}, "67108864");
    expect_threshold({name + "512 KiB"}, "524288");
  }
}
TEST_CASE("SPILLWAY_THRESHOLD wins over EXM_THRESHOLD") {
  expect_threshold({"EXM_THRESHOLD=64M", "SPILLWAY_THRESHOLD=8M"}, "8388608");
}
TEST_CASE("what is no size is refused by name with the accepted forms") {
  for (const std::string name : {"EXM_THRESHOLD", "SPILLWAY_THRESHOLD"}) {
    for (const std::string value : {"abc", "-1", "1e9x", "64Q", "99999999999999999999"})
      expect_refused(name, value, "a size such as");
  }
  for (const std::string value : {"lots", "-5", "0%", "120%"})
    expect_refused("SPILLWAY_LIMIT", value, "a size such as");
}
TEST_CASE("what is no backing or fork mode is refused by name with the accepted forms") {
  expect_refused("SPILLWAY_BACKING", "disk", "file");
  expect_refused("SPILLWAY_BACKING", "disk", "plain");
  expect_refused("SPILLWAY_COMPRESS", "zip", "off");
  for (const std::string name : {"SPILLWAY_CHILD_COW", "EXM_CHILD_COW"}) expect_refused(name, "7", "0");
}
TEST_CASE("SPILLWAY_QUIET=1 silences complaints about settings") {
  const Outcome got = threshold_with({"SPILLWAY_THRESHOLD=abc", "SPILLWAY_QUIET=1"});
  CHECK(got.out == "4194304\n");
  CHECK(got.err == "");
}
TEST_CASE("a limit in percent of the machine's memory is accepted") {
  require_ok(run_victim("file", "works_as_usual", {}, {"SPILLWAY_LIMIT=50%"}));
}

TEST_CASE("a program that was started with a preload of its own keeps it, and so do the programs it starts") {
  for (const std::string& preload : {victim("plugin_allocates.so") + ":" + preload_lib(),
                                     preload_lib() + " " + victim("plugin_allocates.so"), preload_lib()}) {
    const Outcome got = run({.argv = {victim("says_its_environment")}, .env = {"LD_PRELOAD=" + preload}});
    CHECK(got.out == preload + "\n" + preload + "\n");
    CHECK(got.err == "");
  }
  const Outcome got = [] {
    Command command = under_spillway({}, {victim("says_its_environment")});
    command.env.push_back("LD_PRELOAD=" + victim("plugin_allocates.so"));
    return run(command);
  }();
  INFO(got.text());
  CHECK(got.exit_code == 0);
  const std::string first = got.out.substr(0, got.out.find('\n'));
  CHECK(first.find("plugin_allocates.so") != std::string::npos);
  CHECK(first.find("libspillway-preload.so") != std::string::npos);
  CHECK(got.out == first + "\n" + first + "\n");
}
TEST_CASE("stdout and stderr of a program carry nothing of ours") {
  for (const std::string& backing : kBackings) {
    const Words env = environment_of(backing, {"SPILLWAY_THRESHOLD=64k"});
    const Words talk = {"/bin/sh", "-c", "echo to stdout; echo to stderr >&2; ls /no/such/file; exit 7"};
    const Outcome plain = run({.argv = talk}), got = run(preloaded(env, talk));
    CHECK(got.exit_code == plain.exit_code);
    CHECK(got.out == plain.out);
    CHECK(got.err == plain.err);
  }
}
TEST_CASE("a statically linked program runs as if there were no preload") {
  const Outcome got = run(preloaded({}, {victim("static_program")}));
  CHECK(got.out == "ok\n");
  CHECK(got.err == "");
}

// The commands for people: every verb gets its answer, and says what is wrong in words.
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/paths.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

Outcome spillway_command(const Daemon& daemon, std::vector<std::string> words,
                         const std::string& input = "") {
  words.insert(words.begin(), spillway_bin());
  Command command;
  command.argv = std::move(words);
  command.env = {"SPILLWAY_SOCKET=" + daemon.socket()};
  command.input = input;
  return run(command);
}

}  // namespace

TEST_CASE("put and get stream bytes, from and to files and pipes") {
  Daemon daemon;
  const std::string text(3'000'000, 'q');
  Outcome got = spillway_command(daemon, {"put", "c/file", daemon.dir().write("in", text), "--tag", "t"});
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  REQUIRE(spillway_command(daemon, {"put", "c/stdin"}, "from a pipe").exit_code == 0);
  REQUIRE(spillway_command(daemon, {"put", "c/empty"}, "").exit_code == 0);
  REQUIRE(spillway_command(daemon, {"get", "c/file", daemon.dir() / "out"}).exit_code == 0);
  REQUIRE(daemon.dir().read("out") == text);
  REQUIRE(spillway_command(daemon, {"get", "c/stdin"}).out == "from a pipe");
  REQUIRE(spillway_command(daemon, {"get", "c/empty"}).out.empty());
  got = spillway_command(daemon, {"get", "c/file", daemon.dir() / "out"});
  REQUIRE(got.exit_code == 1);
  REQUIRE(got.err.find("--force") != std::string::npos);
  REQUIRE(spillway_command(daemon, {"get", "c/file", daemon.dir() / "out", "--force"}).exit_code == 0);
  got = spillway_command(daemon, {"put", "c/file", "--exclusive"}, "x");
  REQUIRE(got.exit_code == 1);
  REQUIRE(got.err.find("taken") != std::string::npos);
  got = spillway_command(daemon, {"get", "c/nothing"});
  REQUIRE(got.exit_code == 1);
  REQUIRE(got.err == "spillway: no object has the name c/nothing\n");
}

TEST_CASE("ls and stat tell what is there, for people and as JSON") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const DRef a = pool.set(std::string(2 << 20, 'a'), {.name = "a/1", .tag = "\"quoted\""}),
             b = pool.set(1, {.name = "b"}), c = pool.set(2);
  Outcome got = spillway_command(daemon, {"ls"});
  REQUIRE(got.out.find("2.0 MiB  resident") != std::string::npos);
  REQUIRE(got.out.find("a/1\n") != std::string::npos);
  auto list = nlohmann::json::parse(spillway_command(daemon, {"ls", "--json"}).out);
  REQUIRE(list.size() == 2);
  REQUIRE(list[0]["name"] == "a/1");
  REQUIRE(list[0]["bytes"] == 2 << 20);
  REQUIRE(list[0]["tag"] == "\"quoted\"");
  REQUIRE(nlohmann::json::parse(spillway_command(daemon, {"ls", "--json", "--all"}).out).size() == 3);
  REQUIRE(nlohmann::json::parse(spillway_command(daemon, {"ls", "b", "--json"}).out).size() == 1);
  got = spillway_command(daemon, {"stat", "a/1"});
  REQUIRE(got.out.find("state       resident") != std::string::npos);
  REQUIRE(nlohmann::json::parse(spillway_command(daemon, {"stat", "b", "--json"}).out)["name"] == "b");
}

TEST_CASE("rm, pin, unpin, spill, load, save, restore and drain do what they say") {
  Daemon daemon;
  Pool pool = daemon.pool();
  (void)pool.set(std::string("one"), {.name = "one", .flags = SPILLWAY_UNCOUNTED});
  (void)pool.set(std::string("two"), {.name = "two", .flags = SPILLWAY_UNCOUNTED});
  const auto ok = [&](std::vector<std::string> words) {
    const Outcome got = spillway_command(daemon, words);
    INFO(words[0] << ": " << got.text());
    REQUIRE(got.exit_code == 0);
    return got.out;
  };
  REQUIRE(fs::exists(ok({"spill", "one"}).substr(0, ok({"spill", "one"}).size() - 1)));
  REQUIRE(pool.stat("one").state == SPILLWAY_SPILLED);
  ok({"load", "one"});
  REQUIRE(pool.stat("one").state == SPILLWAY_BOTH);
  ok({"pin", "one"});
  REQUIRE(pool.stat("one").pins == 1);
  ok({"unpin", "one"});
  REQUIRE(pool.stat("one").pins == 0);
  REQUIRE(spillway_command(daemon, {"unpin", "one"}).exit_code == 1);
  ok({"save", "two", daemon.dir() / "saved"});
  ok({"restore", "three", daemon.dir() / "saved"});
  REQUIRE(pool.get("three").text() == "two");
  ok({"drain"});
  REQUIRE(pool.stat("two").state == SPILLWAY_BOTH);
  ok({"rm", "one", "two"});
  const Outcome got = spillway_command(daemon, {"rm", "one"});
  REQUIRE(got.exit_code == 1);
  REQUIRE(got.err.find("no object has the name one") != std::string::npos);
  ok({"rm", "-f", "one"});
  REQUIRE(ok({"top"}).find("LARGEST OBJECTS") != std::string::npos);
  REQUIRE(ok({"clients"}).find(std::to_string(::getpid())) != std::string::npos);
}

TEST_CASE("pool start, status, config and stop") {
  Daemon daemon;
  REQUIRE(spillway_command(daemon, {"pool", "start"}).out == daemon.socket() + "\n");
  REQUIRE(spillway_command(daemon, {"pool", "status"}).out.find("memory ") != std::string::npos);
  REQUIRE(nlohmann::json::parse(spillway_command(daemon, {"pool", "status", "--json"}).out)["objects"] == 0);
  REQUIRE(spillway_command(daemon, {"pool", "config", "policy", "mru"}).out == "policy = mru\n");
  REQUIRE(spillway_command(daemon, {"pool", "config"}).out.find("policy = mru\n") != std::string::npos);
  const Outcome bad = spillway_command(daemon, {"pool", "config", "policy", "fifo"});
  REQUIRE(bad.exit_code == 1);
  REQUIRE(bad.err.find("expected lru, mru or scan-resistant") != std::string::npos);
  REQUIRE(spillway_command(daemon, {"pool", "stop"}).exit_code == 0);
  REQUIRE(wait_until([&] { return !fs::exists(daemon.socket()); }));
  REQUIRE(spillway_command(daemon, {"pool", "stop"}).exit_code == 0);
  REQUIRE(spillway_command(daemon, {"pool", "status"}).exit_code == 125);
}

TEST_CASE("the daemon's options are checked, from flags, variables and file") {
  ScratchDir dir;
  const auto refused = [&](std::vector<std::string> words, std::vector<std::string> env = {}) {
    words.insert(words.begin(), build_dir() + "/bin/spillwayd");
    const Outcome got = run({.argv = words, .env = env});
    REQUIRE(got.exit_code == 2);
    return got.err;
  };
  REQUIRE(refused({"--memory-limit", "lots"}).find("--memory-limit: lots: expected a size such as") !=
          std::string::npos);
  REQUIRE(refused({"--memory"}).find("needs a value") != std::string::npos);
  REQUIRE(refused({"--colour", "red"}).find("no such option") != std::string::npos);
  REQUIRE(refused({"--low-watermark", "90", "--high-watermark", "80"}).find("above high_watermark") !=
          std::string::npos);
  REQUIRE(refused({"--spill-dirs", "relative"}).find("absolute") != std::string::npos);
  REQUIRE(refused({}, {"SPILLWAY_POOL_POLICY=fifo"}).find("SPILLWAY_POOL_POLICY") != std::string::npos);
  const std::string file = dir.write("c.toml", "memory_limit = \"1G\"\npolicy = \"mru\"\nio_thread = 4\n");
  REQUIRE(refused({"--config", file}).find("c.toml:3: io_thread: no such setting") != std::string::npos);
  REQUIRE(refused({"--config", dir.write("d.toml", "memory_limit = = 3\n")}).find("d.toml:1") !=
          std::string::npos);
  REQUIRE(run({.argv = {build_dir() + "/bin/spillwayd", "--help"}}).out.find("--memory-limit SIZE|PERCENT") !=
          std::string::npos);
}

TEST_CASE("the examples do what they say") {
  if (!fs::exists(build_dir() + "/examples")) return;  // not in the sanitizers' builds
  Daemon daemon({"--memory-limit", "64M"});
  for (const std::string example :
       {"hello_pool", "producer_consumer", "parameter_sweep", "out_of_core_map"}) {
    Command command;
    command.argv = {build_dir() + "/examples/" + example};
    if (example == "parameter_sweep") command.argv.push_back("32");
    command.env = {"SPILLWAY_SOCKET=" + daemon.socket()};
    const Outcome got = run(command);
    INFO(example << ": " << got.text());
    REQUIRE(got.exit_code == 0);
  }
}

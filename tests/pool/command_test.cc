// The commands for people: every verb gets its answer, and says what is wrong in words.
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

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

// Through sh, where $COMMAND is the command.
Outcome in_shell(const Daemon& daemon, const std::string& script) {
  Command command;
  command.argv = {"/bin/sh", "-c", script};
  command.env = {"SPILLWAY_SOCKET=" + daemon.socket(), "TMPDIR=" + daemon.dir().path()};
  command.env.push_back("COMMAND=" + spillway_bin());
  return run(command);
}

std::set<std::string> names_in(const std::string& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename());
  return names;
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

TEST_CASE("put reads a file to its end, whatever it says of its length") {
  Daemon daemon;
  Pool pool = daemon.pool();
  Outcome got = spillway_command(daemon, {"put", "proc", "/proc/version"});
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  REQUIRE(pool.get("proc").text().starts_with("Linux version"));
  // One that grows after it was looked at: the command waits for the daemon then.
  const std::string path = daemon.dir().write("grows", std::string(3'000'000, 'a'));
  ::kill(daemon.pid(), SIGSTOP);
  Command command;
  command.argv = {spillway_bin(), "put", "grown", path};
  command.env = {"SPILLWAY_SOCKET=" + daemon.socket()};
  Running put(command);
  REQUIRE(wait_until([&] {
    std::error_code gone;
    for (const auto& fd : fs::directory_iterator("/proc/" + std::to_string(put.pid()) + "/fd", gone))
      if (fs::read_symlink(fd.path(), gone).string().starts_with("socket:")) return true;
    return false;
  }));
  std::ofstream(path, std::ios::app) << std::string(2'000'000, 'b');
  ::kill(daemon.pid(), SIGCONT);
  REQUIRE(put.wait().exit_code == 0);
  const Pin pin = pool.get("grown");
  REQUIRE(pin.size() == 5'000'000);
  REQUIRE(pin.text()[2'999'999] == 'a');
  REQUIRE(pin.text().substr(3'000'000).find_first_not_of('b') == std::string_view::npos);
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == 2; }));
}

TEST_CASE("put takes from a pipe, or a file, what is much larger than memory in little memory") {
  Daemon daemon({"--memory-limit", "20M"});
  Pool pool = daemon.pool();
  const auto before = names_in(daemon.dir().path());
  for (const std::string script : {"head -c 200000000 /dev/zero | \"$COMMAND\" put n",
                                   "truncate -s 200000000 \"$TMPDIR/f\"; \"$COMMAND\" put n \"$TMPDIR/f\"; "
                                   "rm \"$TMPDIR/f\""}) {
    const Outcome got = in_shell(daemon, script);
    INFO(script << ": " << got.text());
    REQUIRE(got.exit_code == 0);
    REQUIRE(got.max_rss_bytes < (100u << 20));
    const Info info = pool.stat("n");
    REQUIRE(info.bytes == 200'000'000);
    pool.erase("n");
  }
  REQUIRE(names_in(daemon.dir().path()) == before);
  REQUIRE(in_shell(daemon,
                   "seq 1 400000 > \"$TMPDIR/s\"; cat \"$TMPDIR/s\" | \"$COMMAND\" put seq && "
                   "\"$COMMAND\" get seq | cmp - \"$TMPDIR/s\"")
              .exit_code == 0);
  const Outcome got = in_shell(daemon, "export TMPDIR=/nowhere; seq 1 400000 | \"$COMMAND\" put seq");
  REQUIRE(got.exit_code == 1);
  REQUIRE(got.err.find("/nowhere (keeps the input until its length is known; $TMPDIR): No such file") !=
          std::string::npos);
}

TEST_CASE("get replaces a file by a whole one or leaves it, also one that the object is read from") {
  Daemon daemon({"--memory-limit", "20M"});
  Pool pool = daemon.pool();
  std::string text(30'000'000, 'x');
  text += "end";
  const std::string path = daemon.dir().write("source", text);
  ::chmod(path.c_str(), 0640);
  REQUIRE(spillway_command(daemon, {"restore", "n", path}).exit_code == 0);
  Outcome got = spillway_command(daemon, {"get", "n", path, "--force"});
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  REQUIRE(daemon.dir().read("source") == text);
  struct stat st {};
  REQUIRE(::stat(path.c_str(), &st) == 0);
  REQUIRE((st.st_mode & 0777) == 0640);

  (void)pool.set(std::string(3'000'000, 'y'), {.name = "y", .flags = SPILLWAY_UNCOUNTED});
  const auto before = names_in(daemon.dir().path());
  const std::string limited = "trap '' XFSZ; ulimit -f 1000; \"$COMMAND\" get y ";
  got = in_shell(daemon, limited + "\"$TMPDIR/new\"");
  REQUIRE(got.exit_code == 1);
  REQUIRE(got.err.find("File too large") != std::string::npos);
  REQUIRE(in_shell(daemon, limited + "\"$TMPDIR/source\" --force").exit_code == 1);
  REQUIRE(daemon.dir().read("source") == text);
  REQUIRE(names_in(daemon.dir().path()) == before);

  // Links lead where they did; devices stay devices.
  fs::create_symlink(path, daemon.dir() / "link");
  REQUIRE(spillway_command(daemon, {"get", "y", daemon.dir() / "link", "--force"}).exit_code == 0);
  REQUIRE(fs::is_symlink(daemon.dir() / "link"));
  REQUIRE(daemon.dir().read("source") == std::string(3'000'000, 'y'));
  REQUIRE(spillway_command(daemon, {"get", "y", "/dev/null", "--force"}).exit_code == 0);
  REQUIRE(fs::is_character_file("/dev/null"));
  got = spillway_command(daemon, {"get", "y", daemon.dir().path(), "--force"});
  REQUIRE(got.exit_code == 1);
  REQUIRE(got.err.find("is a directory") != std::string::npos);
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

TEST_CASE("names, tags and paths that are no UTF-8 are shown with the others, as JSON too") {
  Daemon daemon;
  Pool pool = daemon.pool();
  (void)pool.set(1, {.name = "good", .flags = SPILLWAY_UNCOUNTED});
  (void)pool.set(1, {.name = "bad \xff\xfe", .tag = "\x80", .flags = SPILLWAY_UNCOUNTED});
  const std::string file = daemon.dir().write("file \xe4", "text");
  REQUIRE(spillway_command(daemon, {"restore", "file", file}).exit_code == 0);
  const auto list = nlohmann::json::parse(spillway_command(daemon, {"ls", "--json"}).out);
  REQUIRE(list.size() == 3);
  REQUIRE(list[0]["name"] == "bad \xef\xbf\xbd\xef\xbf\xbd");
  for (const char* const name : {"bad \xff\xfe", "file"}) {
    const Outcome got = spillway_command(daemon, {"stat", name, "--json"});
    INFO(got.text());
    REQUIRE(got.exit_code == 0);
    REQUIRE(nlohmann::json::parse(got.out)["bytes"] == 4);
  }
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

TEST_CASE("wrong usage is told with what would be right") {
  Daemon daemon;
  const auto refused = [&](std::vector<std::string> words) {
    const Outcome got = spillway_command(daemon, words);
    INFO(got.text());
    REQUIRE(got.exit_code == 125);
    REQUIRE(got.err.size() < 200);
    return got.err;
  };
  REQUIRE(refused({"pool", "foo"}) ==
          "spillway: pool foo: expected pool start, pool stop, pool status or pool config\n");
  REQUIRE(refused({"pool"}).find("pool start, pool stop") != std::string::npos);
  REQUIRE(spillway_command(daemon, {"pool", "--help"}).exit_code == 0);
  for (const std::string wrong : {"-1", "1e300", "nan", "inf", "soon", "1s", ""})
    REQUIRE(refused({"get", "n", "--wait", wrong}).find("expected seconds, such as 30 or 0.5") !=
            std::string::npos);
}

TEST_CASE("a daemon that could not be started is told by its last line, once") {
  ScratchDir dir;
  ::setenv("SPILLWAY_POOL_POLICY", "fifo", 1);
  Pool::Options options;
  options.socket = dir / "pool.sock";
  options.daemon = build_dir() + "/bin/spillwayd";
  options.start_timeout = Milliseconds(3000);
  fs::permissions(dir.path(), fs::perms(0700));
  const std::string why = failure_of(SPILLWAY_UNAVAILABLE, [&] { Pool pool(options); });
  ::unsetenv("SPILLWAY_POOL_POLICY");
  INFO(why);
  REQUIRE(why.find("SPILLWAY_POOL_POLICY") != std::string::npos);
  REQUIRE(why.find("SPILLWAY_POOL_POLICY") == why.rfind("SPILLWAY_POOL_POLICY"));
  REQUIRE(why.find('\n') == std::string::npos);
}

TEST_CASE("an object whose file was truncated is corrupt, and the message says so") {
  Daemon daemon({"--memory-limit", "20M"});
  Pool pool = daemon.pool();
  const std::string path = daemon.dir().write("f", std::string(30'000'000, 'x'));
  const DRef dref = pool.restore(path);  // more than memory: read from its file
  fs::resize_file(path, 1'000'000);
  REQUIRE(failure_of(SPILLWAY_CORRUPT, [&] { (void)pool.get(dref); }).find("truncated") != std::string::npos);
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
       {"hello_pool", "frames", "producer_consumer", "parameter_sweep", "out_of_core_map"}) {
    Command command;
    command.argv = {build_dir() + "/examples/" + example};
    if (example == "parameter_sweep") command.argv.push_back("32");
    command.env = {"SPILLWAY_SOCKET=" + daemon.socket()};
    const Outcome got = run(command);
    INFO(example << ": " << got.text());
    REQUIRE(got.exit_code == 0);
  }
}

// What the daemon's settings do, where they come from, and which the next daemon has.
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "base/core/units.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/paths.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

std::string value_of(const Daemon& daemon, const std::string& setting) {
  return daemon.pool().configure(setting).at(0);
}

Outcome spillway_with(const Daemon& daemon, std::vector<std::string> words) {
  Command command;
  command.argv = {spillway_bin()};
  command.argv.insert(command.argv.end(), words.begin(), words.end());
  command.env = {"SPILLWAY_SOCKET=" + daemon.socket(), "SPILLWAY_POOL_MEMORY_LIMIT=77M",
                 "SPILLWAY_POOL_SPILL_DIRS=" + daemon.dir() / "elsewhere"};
  return run(command);
}

}  // namespace

TEST_CASE("flags win over variables, and variables over the file") {
  Private dir;
  const std::string file = dir.write("settings.toml",
                                     "memory_limit = \"24M\"\n"
                                     "disk_limit = \"100M\"\n"
                                     "max_object = 3145728\n"
                                     "filters = \"lz4\"  # a comment\n"
                                     "spill_dirs = [\"" +
                                         dir / "one" + "\", \"" + dir / "two" + "=50M\"]\n");
  Daemon daemon({"--config", file, "--memory-limit", "26M"}, [](const std::string&) {
    return std::vector<std::string>{"SPILLWAY_POOL_MEMORY_LIMIT=25M", "SPILLWAY_POOL_DISK_LIMIT=99M"};
  });
  REQUIRE(value_of(daemon, "memory_limit") == "memory_limit = " + std::to_string(26 * kMiB));
  REQUIRE(value_of(daemon, "disk_limit") == "disk_limit = " + std::to_string(99 * kMiB));
  REQUIRE(value_of(daemon, "max_object") == "max_object = 3145728");
  REQUIRE(value_of(daemon, "filters") == "filters = lz4");
  // Below the flag that every daemon of a test has.
  REQUIRE(value_of(daemon, "spill_dirs") == "spill_dirs = " + daemon.spill_dir());
  Command alone;
  alone.argv = {build_dir() + "/bin/spillwayd", "--socket", dir / "s", "--config", file};
  Running other(alone);
  REQUIRE(wait_until([&] { return other.err().find(" ready ") != std::string::npos || other.ended(); }));
  {
    Pool pool({.socket = dir / "s", .start = false});
    REQUIRE(pool.configure("spill_dirs").at(0) ==
            "spill_dirs = " + dir / "one" + "," + dir / "two" + "=" + std::to_string(50 * kMiB));
  }
  other.kill(SIGTERM);
  REQUIRE(other.wait().exit_code == 0);
}

TEST_CASE("an object above max_object is refused, and one of as many bytes is not") {
  Daemon daemon({"--max-object", "2M"});
  Pool pool = daemon.pool();
  REQUIRE(pool.get(pool.set(std::string(2 * kMiB, 'x'))).size() == 2 * kMiB);
  REQUIRE(failure_of(SPILLWAY_TOO_LARGE, [&] {
            (void)pool.set(std::string(2 * kMiB + 1, 'x'));
          }).find("max_object") != std::string::npos);
  pool.configure("max_object", "100");
  failure_of(SPILLWAY_TOO_LARGE, [&] { (void)pool.set(std::string(101, 'x')); });
  (void)pool.set(std::string(100, 'x'));
}

TEST_CASE(
    "after a restart objects without a name wait for orphan_grace, and go unless somebody refers to them") {
  Daemon daemon;
  std::optional<Pool> forgets(daemon.pool());
  Pool claims = daemon.pool();
  std::optional<DRef> forgotten(forgets->set(some_bytes(kMiB, 1)));
  const DRef claimed = claims.set(some_bytes(kMiB, 2));
  (void)claims.set(some_bytes(kMiB, 3), {.name = "named", .flags = SPILLWAY_UNCOUNTED});
  claims.drain();
  daemon.kill();
  forgotten.reset();
  forgets.reset();
  daemon.start({"--orphan-grace", "2"});
  REQUIRE(same(claims.get(claimed).bytes(), some_bytes(kMiB, 2)));
  REQUIRE(claims.stat_of("objects") == 3);
  REQUIRE(wait_until([&] { return claims.stat_of("objects") == 2; }));
  REQUIRE(same(claims.get(claimed).bytes(), some_bytes(kMiB, 2)));
  REQUIRE(same(claims.get("named").bytes(), some_bytes(kMiB, 3)));
  REQUIRE(wait_until([&] { return daemon.spill_files().size() == 2; }));
}

TEST_CASE("the daemon that a client starts after a kill has the settings of the one before") {
  Daemon daemon({"--memory-limit", "24M", "--idle-exit", "60"});
  (void)daemon.pool().set(some_bytes(kMiB, 1), {.name = "n", .flags = SPILLWAY_DURABLE | SPILLWAY_UNCOUNTED});
  daemon.kill();
  // Who only looks starts none.
  for (std::vector<std::string> words : std::vector<std::vector<std::string>>{
           {"ls"}, {"top", "--once"}, {"clients"}, {"pool", "status"}, {"pool", "config"}}) {
    const Outcome got = spillway_with(daemon, words);
    INFO(words[0] << ": " << got.text());
    REQUIRE(got.exit_code == 125);
    REQUIRE(got.err.find("no daemon listens there") != std::string::npos);
  }
  REQUIRE(wait_for_descendants());
  for (int life = 0; life < 2; ++life) {  // also the one after that
    const Outcome got = spillway_with(daemon, {"get", "n"});
    INFO(got.err);
    REQUIRE(got.exit_code == 0);
    const auto want = some_bytes(kMiB, 1);
    REQUIRE(got.out == std::string(reinterpret_cast<const char*>(want.data()), want.size()));
    REQUIRE(value_of(daemon, "memory_limit") == "memory_limit = " + std::to_string(24 * kMiB));
    REQUIRE(value_of(daemon, "idle_exit") == "idle_exit = 60");
    REQUIRE(descendants().size() == 1);
    ::kill(*descendants().begin(), SIGKILL);
    REQUIRE(wait_for_descendants());
  }
  // One that somebody ended is not what the next is like.
  daemon.start();
  REQUIRE(fs::exists(daemon.socket() + ".settings"));
  daemon.stop();
  REQUIRE_FALSE(fs::exists(daemon.socket() + ".settings"));
  REQUIRE(spillway_with(daemon, {"pool", "start"}).exit_code == 0);
  REQUIRE(value_of(daemon, "memory_limit") == "memory_limit = " + std::to_string(77 * kMiB));
  REQUIRE(value_of(daemon, "idle_exit") == "idle_exit = 600");
  REQUIRE(spillway_with(daemon, {"pool", "stop"}).exit_code == 0);
  REQUIRE(wait_for_descendants());
}

TEST_CASE("with few descriptors objects go to disk, or the limit is named") {
  Private dir;
  Command command;
  command.argv = {build_dir() + "/bin/spillwayd",
                  "--socket",
                  dir / "s",
                  "--spill-dirs",
                  dir / "spill",
                  "--memory-limit",
                  "200M"};
  command.limits = {{RLIMIT_NOFILE, 64}};
  Running daemon(command);
  REQUIRE(wait_until([&] { return daemon.err().find(" ready ") != std::string::npos || daemon.ended(); }));
  {
    Pool pool({.socket = dir / "s", .start = false});
    std::vector<DRef> all;
    for (uint32_t i = 0; i < 80; ++i) all.push_back(pool.set(some_bytes(kMiB, i)));
    for (uint32_t i = 0; i < 80; ++i) {
      const Pin pin = pool.get(all[i]);
      REQUIRE(same(pin.bytes(), some_bytes(kMiB, i)));
    }
    REQUIRE(pool.stat_of("memory_used_bytes") > 0);
    REQUIRE(failure_of(SPILLWAY_NO_MEMORY, [&] {
              (void)pool.set(some_bytes(kMiB, 1), {.when_full = SPILLWAY_FAIL});
            }).find("may have 64 (ulimit -n)") != std::string::npos);
  }
  daemon.kill(SIGTERM);
  REQUIRE(daemon.wait().exit_code == 0);
}

TEST_CASE("what is kept resident is so after a restart, too") {
  Daemon daemon({"--memory-limit", "8M"});
  Pool pool = daemon.pool();
  const DRef kept = pool.set(some_bytes(3 * kMiB, 1), {.name = "kept"});
  pool.keep_resident(kept);
  daemon.stop();
  daemon.start();
  REQUIRE(pool.stat(kept).pins == 1);
  pool.load(kept);
  std::vector<DRef> others;
  for (uint32_t i = 0; i < 6; ++i) others.push_back(pool.set(some_bytes(3 * kMiB, i)));
  REQUIRE(pool.stat(kept).state == SPILLWAY_BOTH);
  pool.keep_resident(kept, false);
  daemon.stop();
  daemon.start();
  REQUIRE(pool.stat(kept).pins == 0);
  failure_of(SPILLWAY_INVALID, [&] { pool.keep_resident(kept, false); });
}

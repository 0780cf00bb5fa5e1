// How the daemon ends: what it acknowledged is there afterwards, and what it cannot write is not lost in
// silence.
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>

#include "base/core/units.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/paths.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

// Three clients that put as fast as they can until the daemon is gone; what they were told is there.
std::map<std::string, uint32_t> put_until_gone(Daemon& daemon, const std::function<void()>& stop) {
  std::mutex mutex;
  std::map<std::string, uint32_t> acknowledged;
  std::atomic<unsigned> busy{0};
  std::vector<std::thread> clients;
  for (const size_t bytes : {size_t{1000}, size_t{100'000}, size_t{1'200'000}})
    clients.emplace_back([&, bytes] {
      Pool pool = daemon.pool();
      try {
        for (uint32_t i = 0;; ++i) {
          const std::string name = std::to_string(bytes) + "/" + std::to_string(i);
          (void)pool.set(some_bytes(bytes, i), {.name = name, .flags = SPILLWAY_UNCOUNTED});
          std::lock_guard lock(mutex);
          acknowledged[name] = i;
          if (i == 20) ++busy;
        }
      } catch (const Error& error) {
        if (error.status() != SPILLWAY_UNAVAILABLE) throw;
      }
    });
  REQUIRE(wait_until([&] { return busy == 3; }));
  stop();
  for (std::thread& client : clients) client.join();
  return acknowledged;
}

Outcome spillway_at(const std::string& socket, std::vector<std::string> words) {
  Command command;
  command.argv = {spillway_bin()};
  command.argv.insert(command.argv.end(), words.begin(), words.end());
  command.env = {"SPILLWAY_SOCKET=" + socket};
  return run(command);
}

bool is_gone(const Daemon& daemon) { return ::kill(daemon.pid(), 0) != 0; }

}  // namespace

TEST_CASE("what is put while the daemon is stopped, and acknowledged, is there afterwards") {
  for (const bool by_signal : {true, false}) {
    Daemon daemon({"--memory-limit", "400M"});
    const auto acknowledged = put_until_gone(daemon, [&] {
      if (by_signal) return daemon.stop();
      const Outcome got = spillway_at(daemon.socket(), {"pool", "stop"});
      INFO(got.text());
      REQUIRE(got.exit_code == 0);
      daemon.kill();  // it has gone, or is about to
    });
    daemon.start();
    Pool pool = daemon.pool();
    for (const auto& [name, seed] : acknowledged) {
      INFO((by_signal ? "SIGTERM, " : "pool stop, ") << name);
      const size_t bytes = std::stoul(name);
      REQUIRE(same(pool.get(name).bytes(), some_bytes(bytes, seed)));
    }
  }
}

TEST_CASE("what is put without a name a moment before the stop is there afterwards") {
  Daemon daemon;
  Pool pool = daemon.pool();
  std::vector<DRef> all;
  for (uint32_t i = 0; i < 200; ++i) all.push_back(pool.set(some_bytes(500, i)));  // the last by the ring
  daemon.stop();
  daemon.start();
  for (uint32_t i = 0; i < 200; ++i) REQUIRE(same(pool.get(all[i]).bytes(), some_bytes(500, i)));
}

TEST_CASE("a daemon that cannot write everything is not stopped, unless forced, and says how much is lost") {
  Daemon daemon({"--disk-limit", "3M"});
  {
    Pool pool = daemon.pool();
    for (uint32_t i = 0; i < 4; ++i)
      (void)pool.set(some_bytes(kMiB + 1000, i),
                     {.name = "n" + std::to_string(i), .flags = SPILLWAY_UNCOUNTED});
  }
  Outcome got = spillway_at(daemon.socket(), {"pool", "stop"});
  INFO(got.text());
  REQUIRE(got.exit_code == 1);
  REQUIRE(got.err.find("2 objects") != std::string::npos);
  REQUIRE(got.err.find("do not fit on disk") != std::string::npos);
  REQUIRE_FALSE(is_gone(daemon));
  {
    Pool pool = daemon.pool();
    for (uint32_t i = 0; i < 4; ++i)
      REQUIRE(same(pool.get("n" + std::to_string(i)).bytes(), some_bytes(kMiB + 1000, i)));
    (void)pool.set(std::string("it serves"), {.name = "small"});
    pool.erase("small");
  }
  const bool forced = GENERATE(true, false);
  if (forced) REQUIRE(spillway_at(daemon.socket(), {"pool", "stop", "--force"}).exit_code == 0);
  REQUIRE_THROWS_WITH(daemon.stop(), Catch::Matchers::Contains("lost objects=2"));
  REQUIRE_THROWS_WITH(daemon.stop(), Catch::Matchers::Contains("exit status 4"));
  daemon.start({"--disk-limit", "100M"});
  REQUIRE(daemon.pool().list().size() == 2);  // what there was room for
}

TEST_CASE("an idle daemon stays as long as something could not be written, and ends after") {
  Daemon daemon({"--disk-limit", "1M", "--idle-exit", "1"});
  {
    Pool pool = daemon.pool();
    (void)pool.set(some_bytes(2 * kMiB, 1), {.name = "n", .flags = SPILLWAY_UNCOUNTED});
  }
  REQUIRE(wait_until([&] { return daemon.log().find("not_stopped") != std::string::npos; }));
  {
    Pool pool = daemon.pool();
    REQUIRE(same(pool.get("n").bytes(), some_bytes(2 * kMiB, 1)));
    pool.configure("disk_limit", "100M");
  }
  // Somebody who asks is told, too, and it goes on looking whether it is needed.
  const Outcome asked = spillway_at(daemon.socket(), {"pool", "stop"});
  INFO(asked.text());
  REQUIRE(asked.exit_code == 0);
  REQUIRE(wait_until([&] { return daemon.log().find(" ended") != std::string::npos; }));
  const std::string log = daemon.log();
  REQUIRE(log.find("not_stopped") == log.rfind("not_stopped"));
  daemon.kill();
  daemon.start({"--idle-exit", "1"});
  REQUIRE(same(daemon.pool().get("n").bytes(), some_bytes(2 * kMiB, 1)));
  REQUIRE(wait_until([&] { return daemon.log().find(" ended") != std::string::npos; }));
  REQUIRE(fs::exists(daemon.socket() + ".settings"));  // nobody wanted it to end
}

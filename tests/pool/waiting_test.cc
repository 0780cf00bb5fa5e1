// What a program that waits is told when its daemon does not answer, or has gone.
#include <signal.h>

#include <future>

#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
using Clock = std::chrono::steady_clock;

namespace {

// Stopped, so that it neither answers nor ends.
class Stopped {
 public:
  explicit Stopped(const Daemon& daemon) : pid_(daemon.pid()) { ::kill(pid_, SIGSTOP); }
  ~Stopped() { ::kill(pid_, SIGCONT); }

 private:
  pid_t pid_;
};

std::chrono::milliseconds time_of(const std::function<void()>& call) {
  const auto begun = Clock::now();
  call();
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun);
}

}  // namespace

TEST_CASE("a get, a wait and a put give up by themselves when the daemon does not answer in their time") {
  Daemon daemon;
  Pool pool = daemon.pool(), other = daemon.pool();
  const auto small = some_bytes(5000, 1), large = some_bytes(2 << 20, 2);
  const DRef a = other.set(small, {.name = "small"}), b = other.set(large, {.name = "large"});
  Event event = pool.event();
  const GetOptions brief{.timeout = Milliseconds(100)};
  const SetOptions put_briefly{.name = "put", .when_full = SPILLWAY_WAIT, .timeout = Milliseconds(100)};
  {
    const Stopped stopped(daemon);
    for (int round = 0; round < 2; ++round) {
      REQUIRE(time_of([&] {
                REQUIRE(failure_of(SPILLWAY_TIMED_OUT, [&] {
                          (void)pool.get("large", brief);
                        }).find("did not answer within 100 ms") != std::string::npos);
              }) < std::chrono::seconds(2));
      failure_of(SPILLWAY_TIMED_OUT, [&] { (void)pool.get("small", brief); });
      REQUIRE_FALSE(event.wait_for(Milliseconds(50)));
      failure_of(SPILLWAY_TIMED_OUT, [&] { (void)pool.set(small, put_briefly); });
      failure_of(SPILLWAY_TIMED_OUT, [&] { (void)pool.create(100, put_briefly).seal(); });
      failure_of(SPILLWAY_TIMED_OUT, [&] { (void)pool.create(2 << 20, put_briefly); });
    }
  }
  // Answers that came late were to nobody: they pin nothing, and are taken for no other.
  REQUIRE(same(pool.get("small", brief).bytes(), small));
  REQUIRE(same(pool.get("large", brief).bytes(), large));
  REQUIRE(wait_until([&] { return other.stat(a).pins == 0 && other.stat(b).pins == 0; }));
  event.set();
  REQUIRE(event.is_set());
  other.erase("small"), other.erase("large"), other.erase("put");
  REQUIRE(wait_until([&] { return other.stat_of("objects") == 0; }));
  REQUIRE(wait_until([&] { return other.stat_of("memory_used_bytes") == 0; }));
}

TEST_CASE("late answers are undone also when the program asks for nothing more") {
  Daemon daemon;
  Pool pool = daemon.pool(), other = daemon.pool();
  const DRef dref = other.set(some_bytes(2 << 20, 2), {.name = "large"});
  {
    const Stopped stopped(daemon);
    failure_of(SPILLWAY_TIMED_OUT, [&] { (void)pool.get("large", {.timeout = Milliseconds(10)}); });
    failure_of(SPILLWAY_TIMED_OUT, [&] { (void)pool.get(dref, {.timeout = Milliseconds(10)}); });
  }
  other.erase(dref);
  REQUIRE(wait_until([&] { return other.stat_of("memory_used_bytes") == 0; }));
}

TEST_CASE("a daemon that lives keeps the time itself: what takes long to read is not given up") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const auto data = some_bytes(100 << 20, 3);
  const DRef dref = pool.set(data, {.name = "n", .filters = "checksum"});
  pool.move_to_disk(dref);
  REQUIRE(same(pool.get("n", {.timeout = Milliseconds(1)}).bytes(), data));
}

TEST_CASE("who waits for a name waits on at the next daemon, and is told when none comes") {
  Daemon daemon;
  Pool pool = daemon.pool();
  auto waiting = std::async(std::launch::async, [&] {
    return std::string(pool.get("later", {.timeout = std::chrono::seconds(60)}).text());
  });
  REQUIRE(wait_until([&] { return daemon.pool().stat_of("gets") > 0; }));
  daemon.kill();
  daemon.start();
  (void)daemon.pool().set(std::string("there"), {.name = "later", .flags = SPILLWAY_UNCOUNTED});
  REQUIRE(waiting.get() == "there");

  auto in_vain = std::async(std::launch::async, [&] {
    std::string why;
    const auto time = time_of([&] {
      why = failure_of(SPILLWAY_UNAVAILABLE,
                       [&] { (void)pool.get("never", {.timeout = std::chrono::seconds(2)}); });
    });
    return std::pair(why, time);
  });
  REQUIRE(wait_until([&] { return daemon.pool().stat_of("gets") > 0; }));
  daemon.kill();
  const auto [why, time] = in_vain.get();
  INFO(why);
  REQUIRE(time > std::chrono::milliseconds(1900));
  REQUIRE(time < std::chrono::seconds(4));
  REQUIRE(why.find("no daemon listens there") != std::string::npos);
  REQUIRE(why.find("within 2000 ms") != std::string::npos);
  // What has no time to wait does not.
  REQUIRE(time_of([&] { failure_of(SPILLWAY_UNAVAILABLE, [&] { (void)pool.get("never"); }); }) <
          std::chrono::seconds(1));
}

TEST_CASE("events and futures end with their daemon: who waits is told that the owner has died") {
  Daemon daemon;
  Pool pool = daemon.pool();
  Event event = pool.event();
  auto future = pool.future<int>();
  auto one =
      std::async(std::launch::async, [&] { return failure_of(SPILLWAY_OWNER_DIED, [&] { event.wait(); }); });
  auto two = std::async(std::launch::async,
                        [&] { return failure_of(SPILLWAY_OWNER_DIED, [&] { (void)future.get(); }); });
  REQUIRE(one.wait_for(Milliseconds(50)) != std::future_status::ready);
  daemon.kill();
  REQUIRE(one.get().find("ended") != std::string::npos);
  REQUIRE(two.get().find("end") != std::string::npos);
  // Before there is another, and then.
  failure_of(SPILLWAY_OWNER_DIED, [&] { event.wait(); });
  daemon.start();
  failure_of(SPILLWAY_OWNER_DIED, [&] { event.wait(); });
}

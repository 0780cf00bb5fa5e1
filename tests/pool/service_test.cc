// Names, waiting, watching, tags, filters, devices, events and futures, refusals.
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>
#include <thread>

#include "base/core/units.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/loop_disk.h"
#include "tests/support/needs.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

int raw_connection(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    throw std::runtime_error("connect");
  return fd;
}

}  // namespace

TEST_CASE("a name means the newest version, and old readers keep theirs") {
  Daemon daemon;
  Pool writer = daemon.pool(), reader = daemon.pool();
  const DRef first = writer.set(std::string("one"), {.name = "n"});
  const Pin old = reader.get("n");
  DRef second = writer.set(std::string("two"), {.name = "n"});
  REQUIRE(old.text() == "one");
  const Pin fresh = reader.get("n");
  REQUIRE(fresh.text() == "two");
  REQUIRE(fresh.version() > old.version());
  REQUIRE(writer.get(first).text() == "one");
  failure_of(SPILLWAY_EXISTS, [&] { (void)writer.set(1, {.name = "n", .flags = SPILLWAY_EXCLUSIVE}); });
  // The name alone keeps it.
  second = DRef();
  writer = daemon.pool();
  REQUIRE(writer.get("n").text() == "two");
  REQUIRE(reader.list("n").size() == 1);
}

TEST_CASE("get waits for a name, and ends soon after its deadline") {
  Daemon daemon;
  Pool pool = daemon.pool(), other = daemon.pool();
  const auto start = std::chrono::steady_clock::now();
  failure_of(SPILLWAY_TIMED_OUT, [&] { (void)pool.get("later", {.timeout = Milliseconds(60)}); });
  REQUIRE(std::chrono::steady_clock::now() - start >= Milliseconds(60));
  // Its own deadline, and not that of somebody who waits for the same.
  std::atomic<bool> patient_has_ended{false};
  std::thread patient([&] {
    Pool third = daemon.pool();
    if (third.get("later still", {.timeout = std::chrono::seconds(60)}).text() != "here")
      throw std::runtime_error("other bytes");
    patient_has_ended = true;
  });
  REQUIRE(wait_until([&] { return pool.stat_of("clients") == 3; }));
  failure_of(SPILLWAY_TIMED_OUT, [&] { (void)pool.get("later still", {.timeout = Milliseconds(60)}); });
  REQUIRE_FALSE(patient_has_ended);
  const DRef ends_it = other.set(std::string("here"), {.name = "later still"});
  patient.join();
  failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.get("later"); });
  std::thread waiter([&] {
    if (pool.get("later", {.timeout = std::chrono::seconds(60)}).text() != "here")
      throw std::runtime_error("other bytes");
  });
  const DRef dref = other.set(std::string("here"), {.name = "later"});
  waiter.join();
}

TEST_CASE("list has the names with a prefix, in order, however many") {
  Daemon daemon;
  Pool pool = daemon.pool();
  std::vector<DRef> drefs;
  for (int i = 0; i < 3000; ++i) {
    char name[32];
    snprintf(name, sizeof name, "many/%05d", i);
    drefs.push_back(pool.set(i, {.name = name}));
  }
  drefs.push_back(pool.set(1, {.name = "other"}));
  const std::vector<Info> all = pool.list("many/");
  REQUIRE(all.size() == 3000);
  for (size_t i = 1; i < all.size(); ++i) REQUIRE(all[i - 1].name < all[i].name);
  REQUIRE(pool.list().size() == 3001);
  REQUIRE(pool.list("nothing").empty());
}

TEST_CASE("a watch sees create, replace and erase, in order") {
  Daemon daemon;
  Pool pool = daemon.pool(), watcher = daemon.pool();
  std::mutex mutex;
  std::vector<std::string> seen;
  {
    const Watch watch = watcher.watch("w/", [&](const Change& change) {
      std::lock_guard lock(mutex);
      seen.push_back(std::to_string(change.kind) + change.name);
    });
    const DRef a = pool.set(1, {.name = "w/a"}), elsewhere = pool.set(1, {.name = "x"});
    const DRef again = pool.set(2, {.name = "w/a"});
    pool.erase("w/a");
    REQUIRE(wait_until([&] {
      std::lock_guard lock(mutex);
      return seen.size() == 3;
    }));
  }
  REQUIRE(seen == std::vector<std::string>{"0w/a", "1w/a", "2w/a"});
  (void)pool.set(1, {.name = "w/b"});
  REQUIRE(seen.size() == 3);
}

TEST_CASE("a watcher that falls behind is told to list again", "[fork]") {
  Daemon daemon;
  Pool pool = daemon.pool();
  // The library reads on behalf of its program, so only a stopped process falls behind.
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = in_child([&] {
    Pool slow = daemon.pool();
    std::atomic<bool> missed{false};
    const Watch w = slow.watch("", [&](const Change& change) {
      if (change.kind == SPILLWAY_RESYNC) missed = true;
    });
    if (::write(ready[1], "r", 1) != 1) throw std::runtime_error("pipe");
    if (!wait_until([&] { return missed.load(); }, std::chrono::seconds(60)))
      throw std::runtime_error("no resync");
  });
  char byte;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  ::kill(child, SIGSTOP);
  const std::string long_name(1000, 'n');
  for (int i = 0; i < 3000; ++i) {
    const DRef dref = pool.set(i, {.name = long_name + std::to_string(i)});
    pool.erase(dref);
  }
  ::kill(child, SIGCONT);
  REQUIRE(wait_for(child) == 0);
  ::close(ready[0]), ::close(ready[1]);
}

TEST_CASE("tags are kept with the object, one for each device, and through disk") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const DRef dref = pool.set(std::string("x"), {.name = "t", .tag = "kind=matrix"});
  REQUIRE(pool.get(dref).tag() == "kind=matrix");
  pool.set_tag(dref, "on disk", "disk0");
  REQUIRE(pool.tag(dref, "disk0") == "on disk");
  REQUIRE(pool.tag(dref, "memory").empty());
  REQUIRE(failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.tag(dref, "tape"); }).find("disk0") !=
          std::string::npos);
  pool.move_to_disk(dref);
  daemon.kill();
  daemon.start();
  REQUIRE(pool.get("t").tag() == "kind=matrix");
  REQUIRE(pool.tag(dref, "disk0") == "on disk");
  // Also those that are set when it is on disk already.
  pool.set_tag(dref, "kind=vector");
  pool.set_tag(dref, "fast", "memory");
  daemon.kill();
  daemon.start();
  REQUIRE(pool.get("t").tag() == "kind=vector");
  REQUIRE(pool.tag(dref, "memory") == "fast");
  failure_of(SPILLWAY_INVALID, [&] { (void)pool.set(1, {.tag = std::string(3000, 't')}); });
}

TEST_CASE("a retained object's file outlives it, and that can be undone") {
  Daemon daemon;
  Pool pool = daemon.pool();
  for (const size_t bytes : {size_t{500}, size_t{2 << 20}}) {
    const auto data = some_bytes(bytes, 1);
    const DRef kept = pool.set(data, {.name = "kept/one"}), undone = pool.set(data, {.name = "undone"});
    const std::string path = pool.retain(kept);
    pool.retain(undone);
    pool.retain(undone, false);
    pool.erase(kept);
    pool.erase(undone);
    REQUIRE(wait_until([&] { return fs::exists(path); }));
    REQUIRE(wait_until([&] { return daemon.spill_files().empty(); }));
    const DRef back = pool.restore(path);
    REQUIRE(same(pool.get(back).bytes(), data));
    fs::remove(path);
  }
  REQUIRE(wait_until([&] { return pool.stat_of("disk_used_bytes") == 0; }));
}

TEST_CASE("filters apply in order and are undone, and the file says which") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const std::string text(3'000'000, 'a');
  for (const std::string chain : {"lz4", "zstd", "checksum", "lz4,checksum", "checksum,zstd"}) {
    const DRef dref = pool.set(text, {.filters = chain});
    const FileRef file = pool.move_to_disk(dref);
    REQUIRE(pool.stat(dref).filters == chain);
    if (chain != "checksum") REQUIRE(fs::file_size(file.path) < 200'000);
    REQUIRE(pool.get(file).text() == text);
    REQUIRE(pool.get(dref).text() == text);
    pool.erase(dref);
  }
  failure_of(SPILLWAY_INVALID, [&] { (void)pool.set(text, {.filters = "rot13"}); });
  // A pair of the user's own.
  const auto flip = [](void*, const void* in, size_t bytes, void** out, size_t* out_bytes) {
    auto* const copy = static_cast<char*>(malloc(bytes));
    for (size_t i = 0; i < bytes; ++i) copy[i] = static_cast<const char*>(in)[i] ^ 0x55;
    *out = copy, *out_bytes = bytes;
    return 0;
  };
  check(spillway_add_filter(pool.c_pool(), "flip", flip, flip, nullptr));
  const DRef dref = pool.set(text);
  const FileRef file = pool.save_to_disk(dref, daemon.dir() / "flipped", {.filters = "flip,lz4"});
  REQUIRE(pool.get(file).text() == text);
  Pool stranger = daemon.pool();
  REQUIRE(failure_of(SPILLWAY_CORRUPT, [&] { (void)stranger.get(file); }).find("flip") != std::string::npos);
}

TEST_CASE("devices tell capacity, use and room") {
  Daemon daemon({"--memory-limit", "20M", "--disk-limit", "50M"});
  Pool pool = daemon.pool();
  const DRef dref = pool.set(some_bytes(4 * kMiB, 1));
  REQUIRE(pool.device("memory").capacity == 20 * kMiB);
  REQUIRE(pool.device("memory").used == 4 * kMiB);
  REQUIRE(pool.device("memory").available == 16 * kMiB);
  pool.move_to_disk(dref);
  REQUIRE(pool.device("disk0").capacity == 50 * kMiB);
  REQUIRE(pool.device("disk0").used >= 4 * kMiB);
  REQUIRE(failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.device("gpu"); }).find("memory, disk0") !=
          std::string::npos);
}

TEST_CASE("an event is set once, for all, and a dead owner is an error") {
  Daemon daemon;
  Pool pool = daemon.pool(), other = daemon.pool();
  Event event = pool.event();
  REQUIRE_FALSE(event.is_set());
  REQUIRE_FALSE(event.wait_for(Milliseconds(20)));
  std::thread waiter([&] { other.event(event.cell()).wait(); });
  event.set();
  event.set();
  waiter.join();
  REQUIRE(other.event(event.cell()).is_set());
  std::optional<Pool> owner = daemon.pool();
  const spillway_cell orphan = owner->event().cell();
  std::thread told([&] { failure_of(SPILLWAY_OWNER_DIED, [&] { other.event(orphan).wait(); }); });
  REQUIRE(wait_until([&] { return !other.clients().empty(); }));
  owner.reset();
  told.join();
  failure_of(SPILLWAY_OWNER_DIED, [&] { pool.event(orphan).wait(); });
}

TEST_CASE("who waits for an event of another process learns of that one's death", "[fork]") {
  Daemon daemon;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = in_child([&] {
    Pool owner = daemon.pool();
    const Event event = owner.event();
    const spillway_cell cell = event.cell();
    if (::write(ends[1], &cell, sizeof cell) != sizeof cell) throw std::runtime_error("pipe");
    while (true) ::pause();
  });
  spillway_cell cell{};
  REQUIRE(::read(ends[0], &cell, sizeof cell) == sizeof cell);
  ::close(ends[0]), ::close(ends[1]);
  Pool pool = daemon.pool();
  std::atomic<bool> told{false};
  std::thread waiter([&] {
    failure_of(SPILLWAY_OWNER_DIED, [&] { pool.event(cell).wait(); });
    told = true;
  });
  REQUIRE_FALSE(pool.event(cell).wait_for(Milliseconds(20)));
  REQUIRE_FALSE(told);
  ::kill(child, SIGKILL);
  REQUIRE(wait_for(child) == -SIGKILL);
  waiter.join();
  REQUIRE(told);
}

TEST_CASE("a future takes one value or one error") {
  Daemon daemon;
  Pool pool = daemon.pool(), other = daemon.pool();
  auto future = pool.future<std::vector<double>>();
  failure_of(SPILLWAY_TIMED_OUT, [&] { (void)future.get(Milliseconds(20)); });
  other.future<std::vector<double>>(future.cell()).put({1, 2, 3});
  REQUIRE(future.get() == std::vector<double>{1, 2, 3});
  failure_of(SPILLWAY_ALREADY_SET, [&] { future.put({4}); });
  failure_of(SPILLWAY_ALREADY_SET, [&] { future.fail("late"); });
  auto broken = pool.future<int>();
  broken.fail("the disk was on fire");
  REQUIRE(failure_of(SPILLWAY_FAILED, [&] { (void)other.future<int>(broken.cell()).get(); }) ==
          "the disk was on fire");
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == 1; }));
}

TEST_CASE("random bytes, truncated and flipped messages end at most their own session") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const DRef dref = pool.set(std::string("still here"), {.name = "s"});
  std::mt19937 random(7);
  for (int i = 0; i < 10'000; ++i) {
    const int fd = raw_connection(daemon.socket());
    std::string bytes(random() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    // Half of them look like a frame.
    if (i % 2 && bytes.size() >= 24) {
      const uint32_t magic = 0x314c5053, payload = static_cast<uint32_t>(bytes.size() - 24 + random() % 3);
      memcpy(bytes.data(), &magic, 4);
      memcpy(bytes.data() + 4, &payload, 4);
      bytes[16] = static_cast<char>(random() % 48), bytes[17] = 0;
      memset(bytes.data() + 20, 0, 4);
      if (i % 4 == 1) {
        std::string hello("SPL1\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24);
        bytes = hello + bytes;
      }
    }
    (void)!::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ::close(fd);
  }
  REQUIRE(pool.get(dref).text() == "still here");
  REQUIRE(wait_until([&] { return pool.stat_of("clients") == 1; }));
}

TEST_CASE("bad arguments get an answer in words") {
  Daemon daemon;
  Pool pool = daemon.pool();
  failure_of(SPILLWAY_INVALID, [&] { (void)pool.set(1, {.name = std::string(2000, 'n')}); });
  failure_of(SPILLWAY_INVALID, [&] { (void)pool.set(1, {.name = "line\nbreak"}); });
  failure_of(SPILLWAY_INVALID, [&] { (void)pool.set(1, {.mode = 0777}); });
  failure_of(SPILLWAY_INVALID, [&] { pool.erase(""); });
  failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.get(DRef()); });
  failure_of(SPILLWAY_UNAVAILABLE, [&] { Pool({.socket = daemon.socket() + "x", .start = false}); });
}

TEST_CASE("another user is refused at the socket, and by an object's mode in a system-wide pool", "[fork]") {
  if (!needs_root()) return;
  Daemon daemon({"--system-wide", "1"});
  fs::permissions(daemon.dir().path(), fs::perms(0711));
  Pool pool = daemon.pool();
  const DRef secret = pool.set(std::string("secret"), {.name = "secret"}),
             open = pool.set(std::string("open"), {.name = "open", .mode = 0644});
  REQUIRE(wait_for(in_child([&] {
            if (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0) throw std::runtime_error("setuid");
            Pool other = daemon.pool();
            if (other.get("open").text() != "open") throw std::runtime_error("open");
            failure_of(SPILLWAY_DENIED, [&] { (void)other.get("secret"); });
            failure_of(SPILLWAY_DENIED, [&] { other.erase("open"); });
            failure_of(SPILLWAY_DENIED, [&] { (void)other.set(1, {.name = "open"}); });
            failure_of(SPILLWAY_DENIED, [&] { other.stop_daemon(); });
            failure_of(SPILLWAY_DENIED, [&] { other.configure("memory_limit", "1G"); });
            failure_of(SPILLWAY_DENIED, [&] { (void)other.restore("/etc/hostname"); });
            failure_of(SPILLWAY_DENIED,
                       [&] { other.move_to_disk(other.lookup("open"), {.path = "/tmp/x"}); });
            if (other.list().size() != 1) throw std::runtime_error("list");
          })) == 0);
  daemon.stop();
  daemon.start({});
  REQUIRE(wait_for(in_child([&] {
            if (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0) throw std::runtime_error("setuid");
            failure_of(SPILLWAY_UNAVAILABLE, [&] { (void)daemon.pool(); });
          })) == 0);
}

TEST_CASE("a client that finds no daemon starts one, and several at once get the same", "[fork]") {
  ScratchDir dir;
  fs::permissions(dir.path(), fs::perms(0700));
  ::setenv("SPILLWAY_POOL_SPILL_DIRS", (dir / "spill").c_str(), 1);
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i)
    children.push_back(in_child([&] {
      Pool pool({.socket = dir / "s"});
      (void)pool.set(1, {.name = std::to_string(::getpid()), .flags = SPILLWAY_UNCOUNTED});
    }));
  for (pid_t child : children) REQUIRE(wait_for(child) == 0);
  Pool pool({.socket = dir / "s", .start = false});
  ::unsetenv("SPILLWAY_POOL_SPILL_DIRS");
  REQUIRE(pool.list().size() == 4);
  // Those that came too late have seen so; otherwise one might take the place of the one that is stopped.
  REQUIRE(wait_until([] { return descendants().size() == 1; }));
  pool.stop_daemon();
  REQUIRE(wait_until([&] { return !fs::exists(dir / "s"); }));
}

TEST_CASE("a full or failing disk is the reason that is given, and the store goes on") {
  if (!needs_root() || !LoopDisk::possible()) return;
  LoopDisk disk(32 * kMiB);
  ScratchDir dir;
  fs::permissions(dir.path(), fs::perms(0700));
  Daemon daemon({"--memory-limit", "8M", "--spill-dirs", disk.path() + "/spill"});
  Pool pool = daemon.pool();
  const DRef a = pool.set(some_bytes(3 * kMiB, 1)), b = pool.set(some_bytes(3 * kMiB, 2));
  pool.move_to_disk(a);
  disk.fill_up(512 << 10);
  failure_of(SPILLWAY_DISK_FULL, [&] { pool.copy_to_disk(b); });
  failure_of(SPILLWAY_DISK_FULL,
             [&] { (void)pool.set(some_bytes(6 * kMiB, 3), {.when_full = SPILLWAY_FAIL}); });
  REQUIRE(same(pool.get(b).bytes(), some_bytes(3 * kMiB, 2)));
  const uint64_t used = pool.stat_of("memory_used_bytes");
  REQUIRE(used == 3 * kMiB);
  fs::remove(disk.path() + "/filler");
  for (const auto& entry : fs::directory_iterator(disk.path()))
    if (entry.is_regular_file()) fs::remove(entry.path());
  REQUIRE(wait_until([&] {
    try {
      pool.copy_to_disk(b);
      return true;
    } catch (const Error&) {
      return false;
    }
  }));
  REQUIRE(pool.stat(b).state == SPILLWAY_BOTH);
}

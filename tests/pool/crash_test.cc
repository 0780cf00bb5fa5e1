// Who is killed leaves nothing behind; the daemon that is killed loses nothing that it acknowledged to be on
// disk. SPILLWAY_KILLS: how often each (default 12 of a client in each state, 15 of the daemon).
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "base/core/units.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

int kills(int ordinary) {
  const char* const text = ::getenv("SPILLWAY_KILLS");
  return text && atoi(text) > 0 ? atoi(text) : ordinary;
}

// Says so, and waits to be killed.
[[noreturn]] void ready(int fd) {
  (void)!::write(fd, "r", 1);
  while (true) ::pause();
}

}  // namespace

TEST_CASE("a client killed in whatever state leaves nothing behind", "[fork]") {
  Daemon daemon({"--memory-limit", "32M"});
  Pool pool = daemon.pool();
  const DRef spilled = pool.set(some_bytes(3 * kMiB, 1), {.name = "spilled"});
  const DRef small = pool.set(some_bytes(3000, 1), {.name = "small"});
  pool.move_to_disk(spilled);
  using State = void (*)(const Daemon&, int);
  const std::map<std::string, State> states = {
      {"creating",
       [](const Daemon& d, int fd) {
         Pool p = d.pool();
         Builder b = p.create(4 * kMiB);
         ready(fd);
       }},
      {"writing",
       [](const Daemon& d, int fd) {
         Pool p = d.pool();
         Builder b = p.create(4 * kMiB);
         (void)!::write(fd, "r", 1);
         while (true) std::fill(b.as<char>().begin(), b.as<char>().end(), 'x');
       }},
      {"published without a name",
       [](const Daemon& d, int fd) {
         Pool p = d.pool();
         const DRef a = p.set(some_bytes(2 * kMiB, 2)), b = p.set(some_bytes(2000, 2));
         ready(fd);
       }},
      {"publishing small objects through the ring",
       [](const Daemon& d, int fd) {
         Pool p = d.pool();
         std::vector<DRef> all;
         (void)!::write(fd, "r", 1);
         for (uint32_t i = 0;; ++i) {
           all.push_back(p.set(some_bytes(100 + i % 700, i)));
           if (all.size() > 500) all.clear();
         }
       }},
      {"using memory again",
       [](const Daemon& d, int fd) {
         Pool p = d.pool();
         (void)!::write(fd, "r", 1);
         for (uint32_t i = 0;; ++i) (void)p.set(some_bytes(2 * kMiB, i));
       }},
      {"pinning",
       [](const Daemon& d, int fd) {
         Pool p = d.pool();
         const DRef a = p.set(some_bytes(2 * kMiB, 2));
         const Pin one = p.get(a), two = p.get("small");
         ready(fd);
       }},
      {"spilling",
       [](const Daemon& d, int fd) {
         Pool p = d.pool();
         (void)!::write(fd, "r", 1);
         while (true) {
           const DRef a = p.set(some_bytes(2 * kMiB, 2));
           p.move_to_disk(a);
         }
       }},
      {"loading",
       [](const Daemon& d, int fd) {
         Pool p = d.pool();
         (void)!::write(fd, "r", 1);
         while (true) {
           const DRef a = p.lookup("spilled");
           try {
             p.move_to_disk(a);
           } catch (const Error&) {
           }
           (void)p.get("spilled");
         }
       }},
      {"waiting",
       [](const Daemon& d, int fd) {
         Pool p = d.pool();
         (void)!::write(fd, "r", 1);
         (void)p.get("never", {.timeout = kForever});
       }},
  };
  pool.move_to_disk(spilled);
  REQUIRE(wait_until([&] { return pool.stat_of("clients") == 1; }));
  const size_t fds = daemon.open_fds();
  const auto files = daemon.spill_files().size();
  for (const auto& [name, state] : states) {
    INFO(name);
    for (int i = 0; i < kills(12); ++i) {
      int ends[2];
      REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
      const pid_t child = in_child([&, s = state] { s(daemon, ends[1]); });
      char byte;
      REQUIRE(::read(ends[0], &byte, 1) == 1);
      if (i % 3) ::usleep(static_cast<useconds_t>(i * 700));
      ::kill(child, SIGKILL);
      REQUIRE(wait_for(child) == -SIGKILL);
      ::close(ends[0]), ::close(ends[1]);
    }
    REQUIRE(wait_until([&] { return pool.stat_of("clients") == 1; }));
    REQUIRE(wait_until([&] { return pool.stat_of("objects") == 2; }));
    REQUIRE(wait_until([&] {
      pool.move_to_disk(spilled);
      return pool.stat_of("memory_used_bytes") == 3000 && pool.stat_of("disk_used_bytes") == 3 * kMiB + 4096;
    }));
    std::vector<std::string> left;
    const bool removed = wait_until([&] { return (left = daemon.spill_files()).size() == files; });
    INFO("files: " << Catch::Detail::stringify(left));
    REQUIRE(removed);
    size_t open = 0;
    const bool closed = wait_until([&] { return (open = daemon.open_fds()) <= fds; });
    INFO(open << " open descriptors, " << fds << " before");
    REQUIRE(closed);
  }
}

TEST_CASE("a daemon killed at any moment loses nothing that it said is on disk") {
  Daemon daemon({"--memory-limit", "24M"});
  const unsigned seed = static_cast<unsigned>(::getpid());
  INFO("seed " << seed);
  std::mt19937 random(seed);
  std::map<std::string, uint32_t> promised;  // name -> seed of its bytes
  std::map<std::string, bool> uncertain;     // asked for, not answered
  const auto bytes_of = [](uint32_t s) { return s % 2 ? kMiB + s % kMiB : 500 + s % 50'000; };
  for (int round = 0; round < kills(15); ++round) {
    const unsigned delay_us = random() % 60'000;
    std::thread killer([&, delay_us] {
      ::usleep(delay_us);
      ::kill(daemon.pid(), SIGKILL);
    });
    std::string asked;
    try {
      Pool pool = daemon.pool();
      for (int i = 0;; ++i) {
        const uint32_t s = random();
        asked = "o" + std::to_string(s % 30);
        const unsigned what = random() % 6;
        if (what < 4) {
          const bool durable = what < 2;
          const DRef d =
              pool.set(some_bytes(bytes_of(s), s),
                       {.name = asked, .flags = durable ? static_cast<uint32_t>(SPILLWAY_DURABLE) : 0u});
          promised.erase(asked), uncertain[asked] = true;  // in memory only: it may be gone after the kill
          if (!durable) pool.copy_to_disk(d);
          promised[asked] = s, uncertain.erase(asked);
        } else if (what == 4) {
          uncertain[asked] = true;
          pool.erase(asked);
          promised.erase(asked), uncertain.erase(asked);
        } else if (promised.contains(asked)) {
          if (!same(pool.get(asked).bytes(), some_bytes(bytes_of(promised[asked]), promised[asked])))
            FAIL("other bytes");
        }
        asked.clear();
      }
    } catch (const Error&) {
      // Killed in the middle: what was asked last may have happened or not.
      if (!asked.empty()) promised.erase(asked), uncertain[asked] = true;
    }
    killer.join();
    daemon.kill();
    daemon.start();
    Pool pool = daemon.pool();
    for (const auto& [name, s] : promised) {
      INFO("round " << round << ", " << name);
      REQUIRE(same(pool.get(name).bytes(), some_bytes(bytes_of(s), s)));
    }
    for (const Info& info : pool.list()) {
      INFO("round " << round << ", " << info.name << " is there, and was erased or never promised");
      REQUIRE((promised.contains(info.name) || uncertain.contains(info.name)));
    }
    // No file that belongs to nothing.
    std::set<std::string> known;
    for (const Info& info : pool.list_all()) known.insert(fs::path(info.file).filename());
    for (const std::string& file : daemon.spill_files()) {
      INFO("file " << file);
      REQUIRE(known.contains(file));
    }
  }
}

TEST_CASE("clients come back by themselves after the daemon died, and learn what is gone") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const DRef on_disk = pool.set(some_bytes(2 * kMiB, 1)), small = pool.set(some_bytes(100, 2)),
             lost = pool.set(some_bytes(2 * kMiB, 3));
  pool.copy_to_disk(on_disk);
  pool.move_to_disk(small);
  const Pin held = pool.get(lost);
  daemon.kill();
  REQUIRE(same(held.bytes(), some_bytes(2 * kMiB, 3)));  // a mapping outlives the daemon
  daemon.start();
  REQUIRE(same(pool.get(on_disk).bytes(), some_bytes(2 * kMiB, 1)));
  REQUIRE(same(pool.get(small).bytes(), some_bytes(100, 2)));
  failure_of(SPILLWAY_LOST, [&] { (void)pool.get(lost); });
  (void)pool.set(std::string("and it goes on"));
}

TEST_CASE("an orderly stop keeps all that has a name") {
  Daemon daemon;
  {
    Pool pool = daemon.pool();
    for (uint32_t i = 0; i < 50; ++i)
      (void)pool.set(some_bytes(i * 50'000, i),
                     {.name = "k" + std::to_string(i), .flags = SPILLWAY_UNCOUNTED});
  }
  daemon.stop();
  daemon.start();
  Pool pool = daemon.pool();
  for (uint32_t i = 0; i < 50; ++i)
    REQUIRE(same(pool.get("k" + std::to_string(i)).bytes(), some_bytes(i * 50'000, i)));
}

TEST_CASE("a file that is truncated or has a flipped bit is called corrupt, by name") {
  Daemon daemon;
  Pool pool = daemon.pool();
  for (const bool truncate : {true, false})
    for (const size_t bytes : {size_t{2000}, size_t{2} << 20}) {
      const DRef dref = pool.set(some_bytes(bytes, 1));
      const FileRef file = pool.move_to_disk(dref);
      if (truncate) {
        fs::resize_file(file.path, 4096 + bytes / 2);
      } else {
        std::fstream f(file.path, std::ios::in | std::ios::out | std::ios::binary);
        f.seekg(4096 + static_cast<std::streamoff>(bytes) / 2);
        const char c = static_cast<char>(f.get());
        f.seekp(4096 + static_cast<std::streamoff>(bytes) / 2);
        f.put(static_cast<char>(c ^ 4));
      }
      REQUIRE(failure_of(SPILLWAY_CORRUPT, [&] { (void)pool.get(dref); }).find(file.path) !=
              std::string::npos);
      REQUIRE(failure_of(SPILLWAY_CORRUPT, [&] { (void)pool.get(file); }).find(file.path) !=
              std::string::npos);
      REQUIRE(pool.stat_of("memory_used_bytes") == 0);
      pool.erase(dref);
    }
}

TEST_CASE("a flipped bit is found, too, where an object is read in its file by the daemon that wrote it") {
  Daemon daemon({"--memory-limit", "4M"});
  Pool pool = daemon.pool();
  const DRef in_the_way = pool.set(some_bytes(3 * kMiB, 9));
  for (const bool direct : {false, true}) {
    INFO((direct ? "straight to disk" : "spilled"));
    std::optional<Pin> pin;
    if (direct) pin.emplace(pool.get(in_the_way));
    const DRef dref = pool.set(some_bytes(2 * kMiB, 1));
    if (!direct) pool.move_to_disk(dref);
    const std::string path = pool.stat(dref).file;
    REQUIRE(!path.empty());
    if (!pin) pin.emplace(pool.get(in_the_way));
    const auto flip = [&] {
      std::fstream f(path, std::ios::in | std::ios::out | std::ios::binary);
      f.seekg(4096 + 777);
      const char c = static_cast<char>(f.get());
      f.seekp(4096 + 777);
      f.put(static_cast<char>(c ^ 4));
    };
    flip();
    REQUIRE(failure_of(SPILLWAY_CORRUPT, [&] { (void)pool.get(dref); }).find(path) != std::string::npos);
    flip();
    const uint64_t in_place = pool.stat_of("file_reads");
    REQUIRE(same(pool.get(dref).bytes(), some_bytes(2 * kMiB, 1)));
    REQUIRE(pool.stat_of("file_reads") == in_place + 1);
  }
}

TEST_CASE("a manifest that ends in the middle of a record is read up to there") {
  Daemon daemon;
  {
    Pool pool = daemon.pool();
    (void)pool.set(std::string("kept"), {.name = "kept", .flags = SPILLWAY_DURABLE | SPILLWAY_UNCOUNTED});
  }
  daemon.kill();
  std::ofstream(daemon.spill_dir() + "/manifest", std::ios::app | std::ios::binary)
      << std::string("\x40\0\0\0garbage", 11);
  daemon.start();
  REQUIRE(daemon.pool().get("kept").text() == "kept");
}

TEST_CASE("a second daemon is refused, at the socket and at the spill directory") {
  Daemon daemon;
  REQUIRE_THROWS_WITH(
      [&] {
        ScratchDir other;
        fs::permissions(other.path(), fs::perms(0700));
        Daemon second({"--spill-dirs", daemon.spill_dir()});
      }(),
      Catch::Matchers::Contains("in use by another daemon"));
}

// Programs that keep data in memory: sqlite3, ImageMagick, redis-server.
#include <signal.h>

#include <memory>
#include <sstream>

#include "tests/support/catch.h"
#include "tests/support/leftovers.h"
#include "tests/support/memory_cap.h"
#include "tests/support/needs.h"
#include "tests/support/real_program.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/wait.h"

using namespace spillway::test;

namespace {

// A redis-server on a Unix socket of its own. The destructor kills it by its pid.
class Redis {
 public:
  Redis(const ScratchDir& dir, Command command) : socket_(dir / "redis.sock"), server_(std::move(command)) {
    REQUIRE(wait_until([&] { return server_.ended() || ask({"PING"}) == "PONG\n"; }));
    INFO(server_.out() << server_.err());
    REQUIRE(!server_.ended());
  }
  std::string ask(std::vector<std::string> words, const std::string& input = "") const {
    std::vector<std::string> argv = {"redis-cli", "-s", socket_};
    argv.insert(argv.end(), words.begin(), words.end());
    return run({.argv = argv, .input = input}).out;
  }
  std::string info(const std::string& section, const std::string& key) const {
    const std::string text = ask({"INFO", section});
    const size_t at = text.find(key + ":");
    if (at == std::string::npos) return "";
    const size_t begin = at + key.size() + 1;
    return text.substr(begin, text.find('\r', begin) - begin);
  }
  Outcome stop() {
    ask({"SHUTDOWN", "NOSAVE"});
    return server_.wait();
  }

 private:
  std::string socket_;
  Running server_;
};

std::vector<std::string> redis_line(const ScratchDir& dir) {
  return {"redis-server",
          "--port",
          "0",
          "--unixsocket",
          dir / "redis.sock",
          "--dir",
          dir.path(),
          "--save",
          "",
          "--appendonly",
          "no",
          "--enable-debug-command",
          "yes",
          "--daemonize",
          "no",
          "--rdbcompression",
          "no"};
}

}  // namespace

TEST_CASE("sqlite3 in memory gives the same answers") {
  if (!needs_program("sqlite3")) return;
  const std::string program =
      "CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, s TEXT);\n"
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)\n"
      "INSERT INTO t SELECT i, (i * 7919) % 100003, printf('%08x-%d', (i * 2654435761) % 4294967296, i) FROM "
      "n;\n"
      "CREATE INDEX by_k ON t(k);\n"
      "SELECT count(*), sum(k), min(s), max(s) FROM t;\n"
      "SELECT a.k, count(*) FROM t a JOIN t b ON a.k = b.k GROUP BY a.k ORDER BY 2 DESC, 1 LIMIT 5;\n"
      "SELECT length(group_concat(s)) FROM t;\n"
      "CREATE TABLE blobs(b BLOB); INSERT INTO blobs SELECT zeroblob(8000000 + id) FROM t WHERE id < 9;\n"
      "UPDATE blobs SET b = b || 'end';\n"
      "SELECT sum(length(b)), hex(substr(b, -3)) FROM blobs;\n"
      "DELETE FROM t WHERE k % 3 = 0; VACUUM; SELECT count(*), sum(id) FROM t; PRAGMA integrity_check;\n";
  same_under_spillway({.argv = {"sqlite3", ":memory:"}, .input = program}, 0);
}
TEST_CASE("sqlite3 keeps a database in memory that is larger than the memory, with --heap") {
  if (!needs_program("sqlite3")) return;
  same_under_spillway(
      {.argv = {"sqlite3", ":memory:"},
       .input = "CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, s TEXT);\n"
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000)\n"
                "INSERT INTO t SELECT i, (i * 7919) % 100003, printf('%064x-%d', (i * 2654435761) % "
                "4294967296, i) FROM n;\n"
                "CREATE INDEX by_k ON t(k);\n"
                "UPDATE t SET s = s || 'x' WHERE id % 3 = 0;\n"
                "SELECT count(*), sum(k), min(s), max(s), sum(length(s)) FROM t;\n"
                "SELECT id, k FROM t WHERE k IN (17, 4711, 99999) ORDER BY k, id;\n"
                "PRAGMA integrity_check;\n"},
      32 * kMiB, {"--heap"});
}
TEST_CASE("ImageMagick paints the same picture in a fraction of its memory") {
  if (!needs_file("/usr/bin/convert")) return;
  same_under_spillway(
      {.argv = {"/usr/bin/convert", "-seed", "7", "-size", "1800x1400", "plasma:fractal", "-resize", "70%",
                "-blur", "0x1.5", "-rotate", "90", "-format", "%# %w %h\n", "info:"}},
      40 * kMiB);
}
TEST_CASE("redis-server saves a snapshot in the background while it is being written to") {
  if (!needs_program("redis-server") || !needs_program("redis-cli")) return;
  const std::string backing = GENERATE("auto", "file");
  ScratchDir dir, regions;
  Command command =
      under_spillway({"--backing", backing, "--dir", regions.path(), "--threshold", "64k"}, redis_line(dir));
  std::unique_ptr<MemoryCap> cap;
  if (MemoryCap::possible()) cap = std::make_unique<MemoryCap>(80 * kMiB);
  command.cap = cap.get();
  {
    Redis redis(dir, command);
    // 24 values of 5 MiB, and some thousand small ones.
    for (int i = 0; i < 24; ++i) {
      const std::string key = "large:" + std::to_string(i);
      REQUIRE(redis.ask({"-x", "SET", key}, std::string(5 * kMiB, static_cast<char>('a' + i))) == "OK\n");
    }
    REQUIRE(redis.ask({"DEBUG", "POPULATE", "5000", "small", "200"}) == "OK\n");
    const std::string digest = redis.ask({"DEBUG", "DIGEST"});
    REQUIRE(digest.size() == 41);

    REQUIRE(redis.ask({"BGSAVE"}) == "Background saving started\n");
    // Everything written from here on is after the fork and must not be in the snapshot.
    int writes = 0;
    while (redis.info("persistence", "rdb_bgsave_in_progress") == "1" || writes < 24) {
      const std::string key = "large:" + std::to_string(writes % 24);
      redis.ask({"SETRANGE", key, std::to_string(1000 * writes), "written while the snapshot was saved"});
      redis.ask({"-x", "APPEND", key}, std::string(300000, 'z'));
      redis.ask({"SET", "small:" + std::to_string(writes), "new"});
      ++writes;
    }
    INFO(redis.ask({"INFO", "persistence"}));
    REQUIRE(redis.info("persistence", "rdb_last_bgsave_status") == "ok");
    CHECK(redis.ask({"GETRANGE", "large:3", "3000", "3006"}) == "written\n");
    CHECK(redis.ask({"DEBUG", "DIGEST"}) != digest);
    const Outcome stopped = redis.stop();
    INFO(stopped.text() << (cap ? "OOM kills " + std::to_string(cap->oom_kills()) : ""));
    CHECK(stopped.exit_code == 0);

    // A plain server that loads the snapshot has exactly the data of the moment of the fork.
    Redis plain(dir, {.argv = redis_line(dir)});
    CHECK(plain.ask({"DEBUG", "DIGEST"}) == digest);
    plain.stop();
  }
  CHECK(leftovers(regions.path()) == "");
}

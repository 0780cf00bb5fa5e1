// Several spill directories, which come in any order, and a manifest that was damaged.
#include <xxhash.h>
#include <filesystem>
#include <fstream>

#include <cstring>
#include <set>

#include "base/core/units.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/paths.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

// Two directories of a daemon's beside its usual one, which is not used.
struct Two {
  ScratchDir dir;
  std::string a = dir / "a", b = dir / "b";
  Two() { fs::permissions(dir.path(), fs::perms(0700)); }
  static std::vector<std::string> flags(const std::string& dirs) { return {"--spill-dirs", dirs}; }
};

constexpr uint32_t kDurable = SPILLWAY_DURABLE | SPILLWAY_UNCOUNTED;

size_t object_files(const std::string& directory) {
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator(directory))
    count += entry.path().filename().string().starts_with("obj-");
  return count;
}

void flip_bit(const std::string& path, uint64_t offset) {
  std::fstream f(path, std::ios::in | std::ios::out | std::ios::binary);
  f.seekg(static_cast<std::streamoff>(offset));
  const char c = static_cast<char>(f.get());
  f.seekp(static_cast<std::streamoff>(offset));
  f.put(static_cast<char>(c ^ 4));
}

// The daemon does not start; its words.
std::string refused(Daemon& daemon, const std::string& dirs) {
  try {
    daemon.start(Two::flags(dirs));
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  throw std::runtime_error("it started");
}

}  // namespace

TEST_CASE("spill directories fill up to the limit of each, and together") {
  Two two;
  Daemon daemon({"--spill-dirs", two.a + "=4M," + two.b + "=7M", "--memory-limit", "2M"});
  Pool pool = daemon.pool();
  std::vector<DRef> all;
  for (uint32_t i = 0; i < 4; ++i) {
    all.push_back(pool.set(some_bytes(2 * kMiB, i)));
    pool.move_to_disk(all.back());
  }
  REQUIRE(object_files(two.a) == 1);  // the header takes a page more
  REQUIRE(object_files(two.b) == 3);
  REQUIRE(pool.device("disk0").used <= 4 * kMiB);
  REQUIRE(pool.device("disk1").used <= 7 * kMiB);
  const DRef more = pool.set(some_bytes(2 * kMiB, 4));
  const std::string why = failure_of(SPILLWAY_DISK_FULL, [&] { pool.move_to_disk(more); });
  REQUIRE(why.find(two.a) != std::string::npos);
  REQUIRE(why.find(two.b) != std::string::npos);
  for (uint32_t i = 0; i < 4; ++i) {
    const Pin pin = pool.get(all[i]);
    REQUIRE(same(pin.bytes(), some_bytes(2 * kMiB, i)));
  }
}

TEST_CASE("spill directories may be given in another order, and one at a time, and lose nothing") {
  Two two;
  Daemon daemon(Two::flags(two.a + "," + two.b + "=9M"));
  const auto check = [&](uint32_t from, uint32_t to) {
    Pool pool = daemon.pool();
    for (uint32_t i = from; i < to; ++i) {
      INFO(i);
      REQUIRE(same(pool.get("n" + std::to_string(i)).bytes(), some_bytes(kMiB + i, i)));
    }
  };
  const auto put = [&](uint32_t i) {
    (void)daemon.pool().set(some_bytes(kMiB + i, i), {.name = "n" + std::to_string(i), .flags = kDurable});
  };
  for (uint32_t i = 0; i < 4; ++i) put(i);
  daemon.stop();
  // 1. The other order.
  daemon.start(Two::flags(two.b + "," + two.a));
  check(0, 4);
  put(4);
  daemon.stop();
  // 2. Only the one with the manifest: the other's objects are away, and neither lost nor mixed up.
  const size_t in_b = object_files(two.b);
  daemon.start(Two::flags(two.a));
  for (uint32_t i = 5; i < 12; ++i) put(i);
  REQUIRE(daemon.pool().list().size() == 12 - in_b);
  daemon.kill();
  // 3. Only the other: it says what is missing.
  const std::string why = refused(daemon, two.b);
  INFO(why);
  REQUIRE(why.find(two.b) != std::string::npos);
  REQUIRE(why.find(two.a) != std::string::npos);
  // 4. Both again, one of them somewhere else.
  fs::rename(two.b, two.dir / "c");
  daemon.start(Two::flags(two.dir / "c" + "," + two.a));
  check(0, 12);
  daemon.stop();
  daemon.start(Two::flags(two.a + "," + two.dir / "c"));
  check(0, 12);
}

TEST_CASE("spill directories of different pools are refused together") {
  Two two;
  Daemon daemon(Two::flags(two.a));
  (void)daemon.pool().set(some_bytes(kMiB, 1), {.name = "a", .flags = kDurable});
  daemon.stop();
  daemon.start(Two::flags(two.b));
  (void)daemon.pool().set(some_bytes(kMiB, 2), {.name = "b", .flags = kDurable});
  daemon.stop();
  const std::string why = refused(daemon, two.a + "," + two.b);
  INFO(why);
  REQUIRE(why.find("different pools") != std::string::npos);
  daemon.start(Two::flags(two.a));
  REQUIRE(daemon.pool().list().size() == 1);
  daemon.stop();
  daemon.start(Two::flags(two.b));
  REQUIRE(daemon.pool().list().size() == 1);
}

TEST_CASE("a flipped bit in the manifest costs no object") {
  constexpr uint32_t kObjects = 8;
  const auto bytes_of = [](uint32_t i) { return some_bytes(kMiB + i, i); };
  Daemon daemon;
  std::string whole;
  std::vector<DRef> unnamed;
  Pool pool = daemon.pool();
  for (uint32_t i = 0; i < kObjects; ++i)
    (void)pool.set(bytes_of(i), {.name = "n" + std::to_string(i), .tag = "t", .flags = kDurable});
  (void)pool.set(std::string("gone"), {.name = "gone", .flags = kDurable});
  pool.erase("gone");
  daemon.kill();
  const std::string manifest = daemon.spill_dir() + "/manifest";
  const uint64_t length = fs::file_size(manifest);
  fs::copy(daemon.spill_dir(), daemon.dir() / "before", fs::copy_options::recursive);
  for (uint64_t at = 1; at < length; at += 61) {
    INFO("bit in byte " << at << " of " << length);
    fs::remove_all(daemon.spill_dir());
    fs::copy(daemon.dir() / "before", daemon.spill_dir(), fs::copy_options::recursive);
    fs::permissions(daemon.spill_dir(), fs::perms(0700));
    flip_bit(manifest, at);
    daemon.start();
    for (int life = 0; life < 2; ++life) {
      Pool again = daemon.pool();
      for (uint32_t i = 0; i < kObjects; ++i) {
        const Pin pin = again.get("n" + std::to_string(i));
        REQUIRE(same(pin.bytes(), bytes_of(i)));
        REQUIRE(pin.tag() == "t");
      }
      // New objects take no place of what was there.
      (void)again.set(some_bytes(kMiB, 99), {.name = "new", .flags = kDurable});
      daemon.kill();
      daemon.start();
    }
    daemon.kill();
  }
}

TEST_CASE("a manifest that is missing, or of a newer version, is no empty one") {
  Daemon daemon;
  (void)daemon.pool().set(some_bytes(kMiB, 1), {.name = "n", .flags = kDurable});
  daemon.kill();
  const std::string manifest = daemon.spill_dir() + "/manifest";
  fs::rename(manifest, manifest + ".away");
  daemon.start();
  REQUIRE(daemon.log().find("manifest_damaged") != std::string::npos);
  REQUIRE(same(daemon.pool().get("n").bytes(), some_bytes(kMiB, 1)));
  daemon.kill();
  // Version 2, with a checksum that is right: what a later program would write.
  std::ifstream in(manifest, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  REQUIRE(text.starts_with("SPILLMAN"));
  text[8] = 2;
  const uint64_t sum = XXH3_64bits(text.data(), 24);
  memcpy(text.data() + 24, &sum, sizeof sum);
  std::ofstream(manifest, std::ios::binary | std::ios::trunc) << text;
  const std::string why = refused(daemon, daemon.spill_dir());
  INFO(why);
  REQUIRE(why.find("version 2") != std::string::npos);
  REQUIRE(object_files(daemon.spill_dir()) == 1);
  // One of before there were versions.
  std::ofstream(manifest, std::ios::binary | std::ios::trunc) << text.substr(32);
  fs::remove(daemon.spill_dir() + "/spillway-pool");
  daemon.start();
  REQUIRE(same(daemon.pool().get("n").bytes(), some_bytes(kMiB, 1)));
}

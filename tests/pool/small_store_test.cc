// Small objects on disk: in segment stores of the daemon's, with all that is said of them.
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "base/core/units.h"
#include "libpool/format/object_file.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/paths.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

constexpr uint32_t kKept = SPILLWAY_UNCOUNTED, kDurableNamed = SPILLWAY_UNCOUNTED | SPILLWAY_DURABLE;

std::string name_of(uint32_t i) { return "o/" + std::to_string(i); }

uint64_t blocks_below(const std::string& directory) {
  uint64_t sum = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    struct stat st {};
    if (entry.is_regular_file() && ::stat(entry.path().c_str(), &st) == 0)
      sum += static_cast<uint64_t>(st.st_blocks) * 512;
  }
  return sum;
}

std::string small_dir(const Daemon& daemon) { return daemon.spill_dir() + "/small"; }

bool is_gone(Pool& pool, const std::string& name) {
  failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.get(name); });
  return true;
}

// What is said of each object, but for where it is just now.
std::map<std::string, std::string> facts(Pool& pool) {
  std::map<std::string, std::string> all;
  for (const Info& info : pool.list())
    all[info.name] = std::to_string(info.bytes) + " v" + std::to_string(info.version) + " " + info.tag + " " +
                     std::to_string(info.mode) + " " + std::to_string(info.uid) + " " +
                     std::to_string(info.hint) + " " + std::to_string(info.ref.id) + " " +
                     std::to_string(info.ref.key) + " " + pool.tag(pool.lookup(info.name), "disk0");
  return all;
}

// `count` objects of 1 KiB that memory has no room for, and what spills nearly the last of them.
void spill_many(Pool& pool, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i)
    (void)pool.set(some_bytes(1024, i), {.name = name_of(i), .flags = kKept});
  (void)pool.set(some_bytes(90'000, 1), {.name = "last", .flags = kKept});
  REQUIRE(wait_until([&] { return pool.stat_of("spills") + 20 >= count; }));
}

}  // namespace

TEST_CASE(
    "what is small and durable survives a kill with all that is said of it, and what was erased does not") {
  Daemon daemon;
  std::map<std::string, std::string> before;
  DRef unnamed;
  {
    Pool pool = daemon.pool();
    for (uint32_t i = 0; i < 40; ++i)
      (void)pool.set(some_bytes(i * 997, i), {.name = name_of(i),
                                              .tag = "tag " + std::to_string(i),
                                              .mode = static_cast<uint16_t>(i % 3 ? 0600 : 0644),
                                              .hint = i % 4 ? SPILLWAY_NORMAL : SPILLWAY_KEEP,
                                              .flags = kDurableNamed});
    unnamed = pool.set(std::string("no name"), {.flags = SPILLWAY_DURABLE});
    for (uint32_t i = 0; i < 40; i += 5) pool.erase(name_of(i));
    (void)pool.set(some_bytes(5000, 77), {.name = name_of(1), .flags = kDurableNamed});
    pool.set_tag(pool.lookup(name_of(2)), "another");
    pool.set_tag(pool.lookup(name_of(3)), "for the disk", "disk0");
    before = facts(pool);
    REQUIRE(daemon.spill_files().empty());
    // What others may read is not in a segment with what they may not.
    const fs::directory_iterator stores(small_dir(daemon));
    REQUIRE(std::distance(fs::begin(stores), fs::end(stores)) == 2);
    daemon.kill();
  }
  for (const bool again : {false, true}) {
    daemon.start();
    INFO(again);
    Pool pool = daemon.pool();
    REQUIRE(facts(pool) == before);
    REQUIRE(before.size() == 32);
    for (uint32_t i = 0; i < 40; ++i) {
      if (i % 5 == 0)
        REQUIRE(is_gone(pool, name_of(i)));
      else
        REQUIRE(same(pool.get(name_of(i)).bytes(), i == 1 ? some_bytes(5000, 77) : some_bytes(i * 997, i)));
    }
    REQUIRE(pool.get(unnamed).text() == "no name");
    if (!again) daemon.stop();  // after an orderly end, too
  }
}

TEST_CASE("of two versions of a name only the newer is found after a kill, and none when that was erased") {
  Daemon daemon;
  DRef older;
  {
    Pool pool = daemon.pool();
    for (const char* name : {"n", "erased"}) {
      older = pool.set(some_bytes(100, 1), {.name = name, .flags = SPILLWAY_DURABLE});
      (void)pool.set(some_bytes(200, 2), {.name = name, .flags = kDurableNamed});
    }
    pool.erase("erased");
    daemon.kill();
  }
  daemon.start();
  Pool pool = daemon.pool();
  REQUIRE(same(pool.get("n").bytes(), some_bytes(200, 2)));
  REQUIRE(is_gone(pool, "erased"));
  REQUIRE(same(pool.get(older).bytes(), some_bytes(100, 1)));  // who refers to it has it
}

TEST_CASE("what is small and spilled survives a kill, and takes little more disk than it has bytes") {
  constexpr uint32_t kObjects = 10'000;
  Daemon daemon({"--memory-limit", "100000"});
  {
    Pool pool = daemon.pool(1);
    spill_many(pool, kObjects);
    const uint64_t used = pool.stat_of("disk_used_bytes");
    REQUIRE(used >= kObjects * 1024);
    REQUIRE(used <= kObjects * 2048);
    REQUIRE(used == pool.stat_of("small_store_disk_bytes"));
    // What is charged is what there is, but for a few pages of the store's own.
    const uint64_t there = blocks_below(small_dir(daemon));
    REQUIRE(there >= used);
    REQUIRE(there <= used + 64 * kKiB);
    daemon.kill();
  }
  daemon.start();
  Pool pool = daemon.pool(1);
  // The last few were still in memory alone.
  REQUIRE(pool.list().size() >= kObjects - 20);
  for (uint32_t i = 0; i < kObjects - 20; i += 7)
    REQUIRE(same(pool.get(name_of(i)).bytes(), some_bytes(1024, i)));
  REQUIRE(pool.stat_of("small_store_disk_bytes") <= kObjects * 2048);
}

TEST_CASE("the disk space of small objects comes back when they are erased, all of it with the last") {
  constexpr uint32_t kObjects = 20'000;
  Daemon daemon({"--memory-limit", "100000"});
  Pool pool = daemon.pool(1);
  spill_many(pool, kObjects);
  const uint64_t full = pool.stat_of("disk_used_bytes");
  REQUIRE(full > kObjects * 1024);
  for (uint32_t i = 0; i < kObjects; ++i)
    if (i % 20 != 0) pool.erase(name_of(i));
  // A twentieth is there, and what the store keeps for the next objects: a segment and the reserve.
  REQUIRE(wait_until([&] { return pool.stat_of("disk_used_bytes") <= full / 2; }));
  REQUIRE(blocks_below(small_dir(daemon)) <= full / 2 + kMiB);
  for (uint32_t i = 0; i < kObjects; i += 20) {
    REQUIRE(same(pool.get(name_of(i)).bytes(), some_bytes(1024, i)));
    pool.erase(name_of(i));
  }
  pool.erase("last");
  REQUIRE(wait_until([&] { return pool.stat_of("disk_used_bytes") == 0; }));
  REQUIRE(blocks_below(small_dir(daemon)) == 0);
  // And it begins anew.
  (void)pool.set(some_bytes(500, 1), {.name = "n", .flags = kDurableNamed});
  REQUIRE(pool.stat_of("disk_used_bytes") > 0);
}

TEST_CASE("small objects keep to the disk's limit; beyond it the reason is told, and nothing is lost") {
  Daemon daemon({"--memory-limit", "100000", "--disk-limit", "3M"});
  Pool pool = daemon.pool(1);
  std::vector<uint32_t> there;
  std::string why;
  for (uint32_t i = 0; i < 10'000 && why.empty(); ++i) try {
      (void)pool.set(some_bytes(1024, i), {.name = name_of(i), .flags = i % 8 ? kKept : kDurableNamed});
      there.push_back(i);
    } catch (const Error& error) {
      REQUIRE(error.status() == SPILLWAY_DISK_FULL);
      why = error.what();
    }
  INFO(why);
  REQUIRE(why.find("1024 bytes do not fit on disk: " + daemon.spill_dir() + " has ") != std::string::npos);
  REQUIRE(there.size() > 1000);
  REQUIRE(pool.stat_of("disk_used_bytes") <= 3 * kMiB);
  REQUIRE(blocks_below(daemon.spill_dir() + "/small") <= 3 * kMiB + 64 * kKiB);
  failure_of(SPILLWAY_DISK_FULL,
             [&] { (void)pool.set(some_bytes(100'000, 1), {.name = "x", .flags = kDurableNamed}); });
  REQUIRE(is_gone(pool, "x"));
  for (const uint32_t i : there) REQUIRE(same(pool.get(name_of(i)).bytes(), some_bytes(1024, i)));
  // There is room again when others have gone.
  for (size_t i = 0; i < there.size(); i += 2) pool.erase(name_of(there[i]));
  for (uint32_t i = 20'000; i < 20'300; ++i)
    (void)pool.set(some_bytes(1024, i), {.name = name_of(i), .flags = kDurableNamed});
  REQUIRE(pool.stat_of("disk_used_bytes") <= 3 * kMiB);
  for (uint32_t i = 20'000; i < 20'300; ++i) REQUIRE(same(pool.get(name_of(i)).bytes(), some_bytes(1024, i)));
  for (size_t i = 1; i < there.size(); i += 2)
    REQUIRE(same(pool.get(name_of(there[i])).bytes(), some_bytes(1024, there[i])));
}

TEST_CASE("when the directory that has the small objects is full, the others take them as files") {
  ScratchDir dir;
  fs::permissions(dir.path(), fs::perms(0700));
  Daemon daemon({"--spill-dirs", (dir / "a") + "=1M," + (dir / "b"), "--memory-limit", "100000"});
  constexpr uint32_t kObjects = 2000;
  const auto all_there = [&](Pool& pool) {
    for (uint32_t i = 0; i < kObjects; ++i) REQUIRE(same(pool.get(name_of(i)).bytes(), some_bytes(1024, i)));
  };
  {
    Pool pool = daemon.pool(1);
    for (uint32_t i = 0; i < kObjects; ++i)
      (void)pool.set(some_bytes(1024, i), {.name = name_of(i), .flags = i % 10 ? kKept : kDurableNamed});
    REQUIRE(pool.device("disk0").used <= kMiB);
    REQUIRE(pool.device("disk1").used > kMiB);
    all_there(pool);
  }
  daemon.stop();
  daemon.start();
  Pool pool = daemon.pool(1);
  all_there(pool);
}

TEST_CASE("a damaged segment costs the objects that are damaged, and the log says where") {
  constexpr uint32_t kObjects = 300;
  Daemon daemon;
  {
    Pool pool = daemon.pool();
    for (uint32_t i = 0; i < kObjects; ++i)
      (void)pool.set(some_bytes(3000, i), {.name = name_of(i), .flags = kDurableNamed});
    daemon.stop();
  }
  // One byte of one object's, wherever that lies.
  const auto wanted = some_bytes(3000, 123);
  const std::string needle(reinterpret_cast<const char*>(wanted.data()), wanted.size());
  bool found = false;
  for (const auto& entry : fs::recursive_directory_iterator(small_dir(daemon))) {
    if (!entry.path().filename().string().starts_with("seg-")) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(in)), {});
    const size_t at = text.find(needle);
    if (at == std::string::npos) continue;
    text[at + 1000] = static_cast<char>(text[at + 1000] ^ 16);
    std::ofstream(entry.path(), std::ios::in | std::ios::out | std::ios::binary)
        .write(text.data(), static_cast<std::streamsize>(text.size()));
    found = true;
  }
  REQUIRE(found);
  daemon.start();
  REQUIRE(daemon.log().find("damaged_object reason=") != std::string::npos);
  REQUIRE(daemon.log().find("/seg-") != std::string::npos);
  Pool pool = daemon.pool();
  REQUIRE(pool.list().size() == kObjects - 1);
  for (uint32_t i = 0; i < kObjects; ++i) {
    if (i == 123)
      REQUIRE(is_gone(pool, name_of(i)));
    else
      REQUIRE(same(pool.get(name_of(i)).bytes(), some_bytes(3000, i)));
  }
  (void)pool.set(some_bytes(3000, 123), {.name = name_of(123), .flags = kDurableNamed});
  REQUIRE(same(pool.get(name_of(123)).bytes(), some_bytes(3000, 123)));
  // And of one that was cut off, what lay behind.
  daemon.stop();
  fs::path largest;
  for (const auto& entry : fs::recursive_directory_iterator(small_dir(daemon)))
    if (entry.path().filename().string().starts_with("seg-") &&
        (largest.empty() || fs::file_size(entry.path()) > fs::file_size(largest)))
      largest = entry.path();
  fs::resize_file(largest, 50'000);
  daemon.start();
  INFO(daemon.log());
  REQUIRE(daemon.log().find(largest.filename().string() + ": part of it cannot be read") !=
          std::string::npos);
  Pool next = daemon.pool();
  uint32_t there = 0;
  for (uint32_t i = 0; i < kObjects; ++i) {
    try {
      const Pin pin = next.get(name_of(i));
      REQUIRE(same(pin.bytes(), some_bytes(3000, i)));
      ++there;
    } catch (const Error& error) {
      REQUIRE(error.status() == SPILLWAY_NOT_FOUND);
    }
  }
  REQUIRE(there >= kObjects / 2);
  REQUIRE(there < kObjects);
}

TEST_CASE("a small object for which memory has no room is read where it lies on disk") {
  Daemon daemon({"--memory-limit", "4M"});
  Pool pool = daemon.pool(), other = daemon.pool();
  (void)pool.set(some_bytes(50'000, 1), {.name = "spilled", .flags = kKept});
  const DRef large = pool.set(some_bytes(4 * kMiB, 2));
  REQUIRE(wait_until([&] { return pool.stat(pool.lookup("spilled")).state == SPILLWAY_SPILLED; }));
  const Pin holds_it_all = pool.get(large);
  const Pin in_place = other.get("spilled");
  REQUIRE(same(in_place.bytes(), some_bytes(50'000, 1)));
  REQUIRE(reinterpret_cast<uintptr_t>(in_place.bytes().data()) % 64 == 0);
  REQUIRE(pool.stat_of("file_reads") == 1);
  // As long as somebody looks at it, whatever becomes of the object.
  pool.erase("spilled");
  REQUIRE(wait_until([&] { return pool.stat_of("disk_used_bytes") > 0; }));
  REQUIRE(same(in_place.bytes(), some_bytes(50'000, 1)));
}

TEST_CASE("filters and retained objects make files of their own, as large objects do") {
  Daemon daemon;
  Pool pool = daemon.pool();
  (void)pool.set(std::string(5000, 'a'), {.name = "filtered", .flags = kDurableNamed, .filters = "zstd"});
  REQUIRE(daemon.spill_files().size() == 1);
  (void)pool.set(some_bytes(500, 1), {.name = "retained", .flags = kDurableNamed | SPILLWAY_RETAIN});
  REQUIRE(daemon.spill_files().size() == 2);
  (void)pool.set(some_bytes(500, 1), {.name = "plain", .flags = kDurableNamed});
  REQUIRE(daemon.spill_files().size() == 2);
  // A file that was asked for takes the place of the record.
  const FileRef file = pool.copy_to_disk(pool.lookup("plain"));
  REQUIRE(daemon.spill_files().size() == 3);
  REQUIRE(same(pool.get(file).bytes(), some_bytes(500, 1)));
  REQUIRE(wait_until([&] { return pool.stat_of("small_store_disk_bytes") == 0; }));
  daemon.kill();
  daemon.start();
  REQUIRE(same(daemon.pool().get("plain").bytes(), some_bytes(500, 1)));
}

TEST_CASE("many clients put durable objects at once, and each is there after a kill") {
  Daemon daemon;
  constexpr uint32_t kClients = 16, kEach = 20;
  std::vector<std::thread> clients;
  for (uint32_t c = 0; c < kClients; ++c)
    clients.emplace_back([&, c] {
      Pool pool = daemon.pool();
      for (uint32_t i = 0; i < kEach; ++i) {
        (void)pool.set(some_bytes(100 + i * 50, c * 100 + i),
                       {.name = name_of(c * 100 + i), .flags = kDurableNamed});
        if (i % 3 == 2) pool.erase(name_of(c * 100 + i - 1));
      }
    });
  for (std::thread& client : clients) client.join();
  REQUIRE(daemon.stats().at("commits") <= kClients * kEach);
  daemon.kill();
  daemon.start();
  Pool pool = daemon.pool();
  for (uint32_t c = 0; c < kClients; ++c)
    for (uint32_t i = 0; i < kEach; ++i) {
      if (i % 3 == 1 && i + 1 < kEach)
        REQUIRE(is_gone(pool, name_of(c * 100 + i)));
      else
        REQUIRE(same(pool.get(name_of(c * 100 + i)).bytes(), some_bytes(100 + i * 50, c * 100 + i)));
    }
}

TEST_CASE("a directory of a daemon that kept small objects in packs is adopted") {
  // tests/pool/golden/packs: named "packed/0" to "packed/3" in a pack, of "packed/1" the second version;
  // "durable/0", "durable/1" and "empty" in files of their own; "erased" is not there. Its path was /spill.
  const auto text = [](size_t bytes, unsigned seed) {
    std::string t;
    while (t.size() < bytes) t += "line " + std::to_string(t.size() * 7 + seed) + "\n";
    return t.substr(0, bytes);
  };
  Daemon daemon;
  daemon.stop();
  const std::string from = source_dir() + "/tests/pool/golden/packs";
  for (const auto& entry : fs::directory_iterator(from))
    fs::copy(entry.path(), daemon.spill_dir(), fs::copy_options::overwrite_existing);
  // The manifest says where everything was: each record is its length, its checksum, and strings with theirs.
  std::ifstream in(from + "/manifest", std::ios::binary);
  const std::string manifest((std::istreambuf_iterator<char>(in)), {});
  std::string moved;
  for (size_t at = 0; at < manifest.size();) {
    uint32_t length = 0;
    memcpy(&length, manifest.data() + at, sizeof length);
    std::string record = manifest.substr(at + 12, length);
    at += 12 + length;
    for (size_t place = 0; (place = record.find("/spill", place)) != std::string::npos;) {
      uint32_t bytes = 0;
      memcpy(&bytes, record.data() + place - sizeof bytes, sizeof bytes);
      bytes += static_cast<uint32_t>(daemon.spill_dir().size() - 6);
      memcpy(record.data() + place - sizeof bytes, &bytes, sizeof bytes);
      record.replace(place, 6, daemon.spill_dir());
      place += daemon.spill_dir().size();
    }
    length = static_cast<uint32_t>(record.size());
    const uint64_t sum = format::checksum_of(record);
    moved.append(reinterpret_cast<const char*>(&length), sizeof length);
    moved.append(reinterpret_cast<const char*>(&sum), sizeof sum);
    moved += record;
  }
  std::ofstream(daemon.spill_dir() + "/manifest", std::ios::binary) << moved;
  // Also by the daemon after the one that converted it.
  for (const bool again : {false, true}) {
    INFO(again);
    daemon.start();
    Pool pool = daemon.pool();
    REQUIRE(daemon.log().find("damaged") == std::string::npos);
    REQUIRE(pool.list().size() == 7);
    REQUIRE(pool.get("packed/0").text() == text(100, 0));
    REQUIRE(pool.get("packed/1").text() == text(900, 20));
    REQUIRE(pool.get("packed/2").text() == text(3100, 2));
    REQUIRE(pool.get("packed/3").text() == text(4600, 3));
    REQUIRE(pool.get("durable/0").text() == text(700, 10));
    REQUIRE(pool.get("durable/1").text() == text(1700, 11));
    REQUIRE(pool.get("empty").size() == 0);
    REQUIRE(pool.get("packed/0").tag() == "tag 0");
    REQUIRE(pool.get("packed/1").tag() == "second");
    REQUIRE(pool.get("durable/0").tag() == "kept");
    REQUIRE(pool.stat(pool.lookup("packed/2")).mode == 0644);
    REQUIRE(pool.stat(pool.lookup("packed/3")).version == 4);
    REQUIRE(daemon.spill_files().size() == 3);  // no pack
    daemon.kill();
  }
}

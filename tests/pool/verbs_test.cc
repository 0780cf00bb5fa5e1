// What set, get, erase and the disk verbs promise, in this process and in another.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unordered_map>

#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

struct Wide {  // 160 bits: no power of two
  uint32_t words[5];
  bool operator==(const Wide&) const = default;
};

struct Person {
  std::string name;
  int age = 0;
  bool operator==(const Person&) const = default;
};

// The line of /proc/self/maps that holds the address.
std::string mapping_of(const void* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0, to = 0;
    if (sscanf(line.c_str(), "%lx-%lx", &from, &to) == 2 &&
        reinterpret_cast<unsigned long>(address) >= from && reinterpret_cast<unsigned long>(address) < to)
      return line;
  }
  return "";
}

}  // namespace

template <>
struct spillway::Serializer<Person> {
  static size_t size(const Person& p) { return 4 + p.name.size(); }
  static void write(const Person& p, std::span<std::byte> to) {
    std::memcpy(to.data(), &p.age, 4);
    std::memcpy(to.data() + 4, p.name.data(), p.name.size());
  }
  static Person read(std::span<const std::byte> from) {
    Person p;
    std::memcpy(&p.age, from.data(), 4);
    p.name.assign(reinterpret_cast<const char*>(from.data()) + 4, from.size() - 4);
    return p;
  }
};

TEST_CASE("what one process sets another gets, in place and equal", "[fork]") {
  Daemon daemon;
  for (const size_t bytes : {size_t{1}, size_t{1000}, size_t{100'000}, size_t{(1 << 20) - 1}, size_t{1 << 20},
                             size_t{5'000'001}}) {
    Pool pool = daemon.pool();
    const auto data = some_bytes(bytes, 1);
    const DRef dref = pool.set(data);
    const Pin here = pool.get(dref);
    REQUIRE(same(here.bytes(), data));
    REQUIRE(mapping_of(here.data()).find("r--s") != std::string::npos);
    const std::string token = dref.token();
    REQUIRE(wait_for(in_child([&] {
              Pool other = daemon.pool();
              const Pin there = other.get(other.from_token(token));
              if (!same(there.bytes(), data)) throw std::runtime_error("other bytes");
              if (mapping_of(there.data()).find("r--s") == std::string::npos)
                throw std::runtime_error("not a mapping");
            })) == 0);
  }
}

TEST_CASE("a published object cannot be written to, through whatever way") {
  Daemon daemon;
  Pool pool = daemon.pool();
  for (const size_t bytes : {size_t{5000}, size_t{2 << 20}}) {
    const DRef dref = pool.set(some_bytes(bytes, 2));
    const Pin pin = pool.get(dref);
    void* const page = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(pin.data()) & ~uintptr_t{4095});
    REQUIRE(::mprotect(page, 4096, PROT_READ | PROT_WRITE) != 0);
  }
}

TEMPLATE_TEST_CASE("values of every kind come back equal, from memory and from disk", "", int) {
  Daemon daemon;
  Pool pool = daemon.pool();
  const auto both_ways = [&](const auto& value) {
    using T = std::decay_t<decltype(value)>;
    const DRef dref = pool.set(value);
    REQUIRE(pool.get(dref).template value<T>() == value);
    pool.move_to_disk(dref);
    REQUIRE(pool.stat(dref).state == SPILLWAY_SPILLED);
    REQUIRE(pool.get(dref).template value<T>() == value);
  };
  both_ways(std::string("text, also UTF-8: \xc3\xa4\xc3\xb6\xc3\xbc"));
  both_ways(std::vector<double>{1.5, -2.5, 1e300});
  both_ways(std::vector<double>(300'000, 3.25));
  both_ways(std::vector<Wide>{{{1, 2, 3, 4, 5}}, {{6, 7, 8, 9, 10}}, {{11, 12, 13, 14, 15}}});
  both_ways(std::vector<bool>{true, false, true, true, false, false, true, false, true, true, true});
  both_ways(std::vector<std::optional<std::string>>{"a", std::nullopt, "", "longer than the others"});
  both_ways(std::vector<std::string>{"", "x", "yz"});
  both_ways(std::vector<int>{});
  both_ways(std::string());
  both_ways(Person{"Ada", 36});
  both_ways(42);
}

TEST_CASE("bytes of another kind are refused, not misread") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const DRef dref = pool.set(std::string("12345"));
  failure_of(SPILLWAY_CORRUPT, [&] { (void)pool.get(dref).as<double>(); });
  failure_of(SPILLWAY_CORRUPT, [&] { (void)pool.get(dref).value<int>(); });
  failure_of(SPILLWAY_CORRUPT, [&] { (void)pool.get(dref).value<std::vector<std::string>>(); });
  failure_of(SPILLWAY_CORRUPT, [&] { (void)pool.get(dref).value<std::vector<bool>>(); });
}

TEST_CASE("erase removes memory and disk, for everybody, and twice is no error") {
  Daemon daemon;
  Pool pool = daemon.pool(), other = daemon.pool();
  for (const size_t bytes : {size_t{100}, size_t{2 << 20}}) {
    const DRef dref = pool.set(some_bytes(bytes, 3), {.name = "gone"});
    pool.copy_to_disk(dref);
    REQUIRE(daemon.spill_files().size() == 1);
    pool.erase(dref);
    REQUIRE(failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.get(dref); }).find("no such object") !=
            std::string::npos);
    failure_of(SPILLWAY_NOT_FOUND, [&] { (void)other.get(dref.ref()); });
    failure_of(SPILLWAY_NOT_FOUND, [&] { (void)other.get("gone"); });
    pool.erase(dref);
    pool.erase("gone");
    REQUIRE(wait_until([&] { return daemon.spill_files().empty(); }));
    REQUIRE(wait_until([&] { return pool.stat_of("memory_used_bytes") == 0; }));
  }
}

TEST_CASE("erasing what somebody holds hides it at once and frees it with the last holder") {
  Daemon daemon;
  Pool pool = daemon.pool(), reader = daemon.pool();
  for (const size_t bytes : {size_t{5000}, size_t{3 << 20}}) {
    const auto data = some_bytes(bytes, 4);
    const DRef dref = pool.set(data);
    Pin one = reader.get(dref.ref()), two = reader.get(dref.ref());
    pool.erase(dref);
    failure_of(SPILLWAY_NOT_FOUND, [&] { (void)reader.get(dref.ref()); });
    failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.get(dref); });
    REQUIRE(same(one.bytes(), data));
    REQUIRE(pool.stat_of("memory_used_bytes") == (bytes < (1 << 20) ? bytes : (bytes + 4095) / 4096 * 4096));
    one.release();
    REQUIRE(same(two.bytes(), data));
    REQUIRE(pool.stat_of("memory_used_bytes") > 0);
    two.release();
    REQUIRE(wait_until([&] { return pool.stat_of("memory_used_bytes") == 0; }));
  }
}

TEST_CASE("move_to_disk frees the memory every time, and the object is read back") {
  Daemon daemon;
  Pool pool = daemon.pool();
  for (const size_t bytes : {size_t{5000}, size_t{3 << 20}}) {
    const auto data = some_bytes(bytes, 5);
    const DRef dref = pool.set(data);
    for (int round = 0; round < 3; ++round) {
      const FileRef file = pool.move_to_disk(dref);
      REQUIRE(file.bytes == bytes);
      REQUIRE(fs::exists(file.path));
      REQUIRE(wait_until([&] { return pool.stat_of("memory_used_bytes") == 0; }));
      REQUIRE(same(pool.get(dref).bytes(), data));
      REQUIRE(pool.stat(dref).state == SPILLWAY_BOTH);
    }
    REQUIRE(pool.stat_of("spills") == 1);  // nothing was written again
    const std::string path = daemon.dir() / "chosen";
    daemon.dir().write("chosen.tmp", "the user's own");
    pool.move_to_disk(dref, {.path = path});
    REQUIRE(fs::exists(path));
    REQUIRE(daemon.dir().read("chosen.tmp") == "the user's own");
    REQUIRE(same(pool.get(dref).bytes(), data));
    failure_of(SPILLWAY_EXISTS,
               [&] { pool.move_to_disk(dref, {.path = daemon.dir().write("taken", "precious")}); });
    REQUIRE(daemon.dir().read("taken") == "precious");
    fs::remove(daemon.dir() / "taken");
    pool.erase(dref);
    REQUIRE(wait_until([&] { return !fs::exists(path); }));
    (void)daemon.pool();
    REQUIRE(wait_until([&] { return pool.stat_of("disk_used_bytes") == 0; }));
    pool = daemon.pool();
    // The next round counts from here.
    daemon.stop();
    daemon.start();
    pool = daemon.pool();
  }
}

TEST_CASE("what is pinned is written by move_to_disk and stays in memory, and the error names who pins") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const DRef dref = pool.set(some_bytes(2 << 20, 6));
  const Pin pin = pool.get(dref);
  const std::string why = failure_of(SPILLWAY_BUSY, [&] { pool.move_to_disk(dref); });
  REQUIRE(why.find("process " + std::to_string(::getpid())) != std::string::npos);
  REQUIRE(pool.stat(dref).state == SPILLWAY_BOTH);
}

TEST_CASE("a file reference is read by mapping the file, and two reads share a mapping") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const auto data = some_bytes(2'500'000, 7);
  const DRef dref = pool.set(data);
  const FileRef file = pool.copy_to_disk(dref);
  REQUIRE(pool.stat(dref).state == SPILLWAY_BOTH);
  const Pin one = pool.get(file), two = pool.get(file);
  REQUIRE(same(one.bytes(), data));
  REQUIRE(one.data() == two.data());
  REQUIRE(mapping_of(one.data()).find(file.path) != std::string::npos);
  failure_of(SPILLWAY_NOT_HERE, [&] { (void)pool.get(FileRef{file.host + 1, file.path, file.bytes}); });
  failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.get(FileRef{file.host, file.path + "x", file.bytes}); });
}

TEST_CASE("save_to_disk writes exactly there, changes nothing else, and nobody deletes the file") {
  Daemon daemon;
  const std::string path = daemon.dir() / "mine";
  const auto data = some_bytes(1'500'000, 8);
  {
    Pool pool = daemon.pool();
    const DRef dref = pool.set(data, {.tag = "kind=test"});
    const FileRef file = pool.save_to_disk(dref, path);
    REQUIRE(file.path == path);
    REQUIRE(pool.stat(dref).state == SPILLWAY_RESIDENT);
    REQUIRE(pool.stat_of("disk_used_bytes") == 0);
    failure_of(SPILLWAY_EXISTS, [&] { pool.save_to_disk(dref, path); });
    pool.save_to_disk(dref, path, {.flags = SPILLWAY_OVERWRITE});
    REQUIRE(failure_of(SPILLWAY_IO, [&] {
              pool.save_to_disk(dref, daemon.dir() / "no/such/folder");
            }).find("No such file") != std::string::npos);
    const Pin pin = pool.get(file);
    REQUIRE(same(pin.bytes(), data));
    REQUIRE(pin.tag() == "kind=test");
    pool.erase(dref);
    pool.cleanup();
  }
  daemon.stop();
  REQUIRE(fs::exists(path));
  daemon.start();
  Pool pool = daemon.pool();
  // A restored file is the user's, too.
  const DRef restored = pool.restore(path, {.name = "again"});
  REQUIRE(pool.stat(restored).state == SPILLWAY_SPILLED);
  REQUIRE(pool.tag(restored) == "kind=test");
  REQUIRE(same(pool.get(restored).bytes(), data));
  pool.move_to_disk(restored);
  pool.erase(restored);
  pool.cleanup();
  REQUIRE(fs::exists(path));
  REQUIRE(pool.stat_of("disk_used_bytes") == 0);
}

TEST_CASE("restore takes any file as it is, without reading it") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const std::string path = daemon.dir().write("plain.txt", std::string(3'000'000, 'x') + "end");
  const DRef dref = pool.restore(path);
  REQUIRE(pool.stat_of("loads") == 0);
  REQUIRE(pool.get(dref).text().ends_with("xend"));
  failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.restore(path + "x"); });
}

TEST_CASE("cleanup removes what the session made, and leaves what others made") {
  Daemon daemon;
  Pool mine = daemon.pool(), other = daemon.pool();
  const DRef a = mine.set(some_bytes(2 << 20, 1), {.name = "mine/a"}),
             b = mine.set(some_bytes(100, 2), {.name = "mine/b"});
  const DRef kept = other.set(some_bytes(100, 3), {.name = "theirs"});
  mine.move_to_disk(a);
  mine.copy_to_disk(b);
  mine.cleanup();
  REQUIRE(mine.list().size() == 1);
  REQUIRE(wait_until([&] { return daemon.spill_files().empty(); }));
  REQUIRE(other.get(kept).size() == 100);
}

TEST_CASE("copies of a reference are equal, hash equal and are keys of maps") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const DRef a = pool.set(1), b = pool.set(1);
  const DRef copy = a;
  REQUIRE(copy == a);
  REQUIRE_FALSE(a == b);
  REQUIRE(std::hash<DRef>()(copy) == std::hash<DRef>()(a));
  std::unordered_map<DRef, int> map{{a, 1}, {b, 2}};
  REQUIRE(map.at(copy) == 1);
  REQUIRE(map.at(b) == 2);
}

TEST_CASE("a token works on the other side, also when its sender has gone; one that is not picked up expires",
          "[fork]") {
  Daemon daemon;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  REQUIRE(wait_for(in_child([&] {
            Pool sender = daemon.pool();
            const DRef dref = sender.set(std::string("sent"));
            const std::string token = dref.token(std::chrono::minutes(5)),
                              brief = dref.token(Milliseconds(1));
            const DRef doomed = sender.set(std::string("never picked up"));
            const std::string lost = doomed.token(Milliseconds(1));
            if (::write(ends[1], token.data(), token.size()) < 0 ||
                ::write(ends[1], lost.data(), lost.size()) < 0)
              throw 1;
          })) == 0);
  char text[256] = "";
  REQUIRE(::read(ends[0], text, sizeof text) == 2 * 57);
  Pool pool = daemon.pool();
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == 1; }));
  {
    const DRef dref = pool.from_token(std::string(text, 57));
    REQUIRE(pool.get(dref).text() == "sent");
    failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.from_token(std::string(text + 57, 57)); });
    failure_of(SPILLWAY_INVALID, [&] { (void)pool.from_token("spillway:nonsense"); });
  }
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == 0; }));
  ::close(ends[0]), ::close(ends[1]);
}

TEST_CASE("an object dies with its last handle anywhere, and its destructor runs once, after that") {
  Daemon daemon;
  Pool maker = daemon.pool(), other = daemon.pool();
  std::atomic<int> calls{0};
  DRef a = maker.set(std::string("counted"));
  maker.on_destroy(a, [&] {
    ++calls;
    (void)maker.set(std::string("a destructor may use the pool"));
  });
  DRef b = other.from_token(a.token());
  a = DRef();
  REQUIRE(maker.stat_of("objects") == 1);
  REQUIRE(other.get(b).text() == "counted");
  REQUIRE(calls == 0);
  b = DRef();
  REQUIRE(wait_until([&] { return calls == 1; }));
  REQUIRE(wait_until([&] { return maker.stat_of("objects") == 0; }));
  REQUIRE(calls == 1);
}

TEST_CASE("getting what is held or was held lately costs no message") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const DRef dref = pool.set(some_bytes(2 << 20, 1));
  { const Pin first = pool.get(dref); }
  const uint64_t gets = pool.stat_of("gets");
  for (int i = 0; i < 100; ++i) (void)pool.get(dref);
  REQUIRE(pool.stat_of("gets") == gets);
}

TEST_CASE("getting by name what is held costs no message, and never gives what the name meant before") {
  Daemon daemon;
  Pool pool = daemon.pool(), other = daemon.pool();
  for (const size_t bytes : {size_t{100}, size_t{2} << 20}) {
    (void)other.set(some_bytes(bytes, 0), {.name = "n", .flags = SPILLWAY_UNCOUNTED});
    for (uint32_t version = 1; version <= 5; ++version) {
      (void)pool.get("n");
      const uint64_t gets = pool.stat_of("gets");
      for (int i = 0; i < 100; ++i) REQUIRE(pool.get("n").bytes().size() == bytes);
      REQUIRE(pool.stat_of("gets") == gets);
      (void)other.set(some_bytes(bytes, version), {.name = "n", .flags = SPILLWAY_UNCOUNTED});
      REQUIRE(same(pool.get("n").bytes(), some_bytes(bytes, version)));
    }
    other.erase("n");
    failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.get("n"); });
  }
  (void)other.set(some_bytes(100, 1), {.name = "n", .flags = SPILLWAY_UNCOUNTED | SPILLWAY_DURABLE});
  (void)pool.get("n");
  daemon.kill();
  daemon.start();
  (void)other.set(some_bytes(100, 2), {.name = "n", .flags = SPILLWAY_UNCOUNTED});
  // Once it has seen that its daemon ended.
  REQUIRE(wait_until([&] { return same(pool.get("n").bytes(), some_bytes(100, 2)); }));
}

TEST_CASE("a builder is written in place, sealed or gone") {
  Daemon daemon;
  Pool pool = daemon.pool();
  for (const size_t count : {size_t{10}, size_t{1'000'000}}) {
    Builder builder = pool.create(count * sizeof(int), {.name = "built"});
    failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.get("built"); });
    for (int& x : builder.as<int>()) x = 7;
    const DRef dref = std::move(builder).seal();
    REQUIRE(pool.get("built").as<int>()[count - 1] == 7);
    { Builder abandoned = pool.create(count * sizeof(int)); }
    REQUIRE(wait_until([&] { return pool.stat_of("objects") == 1; }));
    pool.erase(dref);
  }
  REQUIRE(wait_until([&] { return pool.stat_of("memory_used_bytes") == 0; }));
}

TEST_CASE("many small values are set in few round trips") {
  Daemon daemon;
  Pool pool = daemon.pool();
  std::vector<std::vector<std::byte>> values;
  for (uint32_t i = 0; i < 1000; ++i) values.push_back(some_bytes(i * 7 % 3000, i));
  values.push_back(some_bytes(2 << 20, 1));
  std::vector<std::span<const std::byte>> spans(values.begin(), values.end());
  const std::vector<DRef> drefs = pool.set_many(spans);
  REQUIRE(drefs.size() == values.size());
  for (size_t i = 0; i < values.size(); ++i) REQUIRE(same(pool.get(drefs[i]).bytes(), values[i]));
}

TEST_CASE("a forked child has a session of its own", "[fork]") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const DRef dref = pool.set(std::string("before the fork"), {.name = "f"});
  const Pin pin = pool.get(dref);
  REQUIRE(wait_for(in_child([&] {
            if (pin.text() != "before the fork") throw std::runtime_error("the pin");
            if (pool.get("f").text() != "before the fork") throw std::runtime_error("a get");
            (void)pool.set(std::string("child"), {.name = "child"});
          })) == 0);
  REQUIRE(pool.get("child").text() == "child");
  REQUIRE(pin.text() == "before the fork");
  REQUIRE(wait_until([&] { return pool.clients().size() == 1; }));
}

// compaction.cc - space comes back, and nothing that lives is lost or held up by it.
#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/segstore/support.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

uint64_t disk_bytes(const std::string& directory) {
  uint64_t sum = 0;
  for (const auto& entry : fs::directory_iterator(directory)) {
    struct stat st {};
    if (::stat(entry.path().c_str(), &st) == 0) sum += static_cast<uint64_t>(st.st_blocks) * 512;
  }
  return sum;
}

}  // namespace

TEST_CASE(
    "50 rounds of overwriting and compacting keep the last values, and space is twice the live data at "
    "most") {
  ScratchDir dir;
  StoreOptions options = quick(dir);
  options.segment_bytes = 1 << 20;
  options.index_directory = "/dev/shm";
  Store store = must(Store::open(dir / "s", options));
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 400; ++i) must(store.put(key_of(i), std::to_string(round) + std::string(5000, 'r')));
    must(store.compact());
    for (const SegmentStatus& segment : must(store.state()).segments)
      CHECK(segment.capacity_bytes <= options.segment_bytes);
  }
  for (int i = 0; i < 400; ++i) CHECK(value_of(store, key_of(i)) == "49" + std::string(5000, 'r'));
  CHECK(disk_bytes(dir / "s") <= 2 * must(store.state()).live_bytes + 64 * 1024);
  must(store.close());
  store = must(Store::open(dir / "s", options));
  for (int i = 0; i < 400; ++i) CHECK(value_of(store, key_of(i)) == "49" + std::string(5000, 'r'));
}

TEST_CASE("a hundred times the live data written while one value is held: space stays within the bound") {
  ScratchDir dir;
  StoreOptions options = quick(dir);
  options.segment_bytes = 1 << 20;
  options.index_directory = "/dev/shm";
  Store store = must(Store::open(dir / "s", options));
  constexpr int kKeys = 1500;
  for (int i = 0; i < kKeys; ++i) must(store.put(key_of(i), std::string(2000, 'a')));
  const Value held = must(store.get(key_of(0)));
  std::mt19937 random(1);
  uint64_t most = 0;
  const uint64_t live = must(store.state()).live_bytes;
  for (int i = 0; i < 100 * kKeys; ++i) {
    must(store.put(key_of(random() % kKeys), std::string(2000, static_cast<char>('a' + i % 26))));
    if (i % 2000 == 0) {
      uint64_t used = 0;
      for (const SegmentStatus& segment : must(store.state()).segments) used += segment.used_bytes;
      most = std::max(most, used);
    }
  }
  INFO("live " << live << ", most " << most);
  CHECK(most <= live * 5 / 2 + options.segment_bytes);
  CHECK(held.view() == std::string(2000, 'a'));
}

TEST_CASE("what lived between others, aligned, is compacted into segments of the size they have") {
  ScratchDir dir;
  StoreOptions options = small_segments(dir);
  options.auto_compact = false;
  Store store = must(Store::open(dir / "s", options));
  PutOptions aligned;
  aligned.alignment = 4096;
  for (int i = 0; i < 600; ++i) {
    must(store.put("a" + key_of(i), std::to_string(i), aligned));
    must(store.put("b" + key_of(i), std::string(3900, 'b')));
  }
  for (int i = 0; i < 600; ++i) must(store.remove("b" + key_of(i)));
  must(store.compact());
  for (const SegmentStatus& segment : must(store.state()).segments)
    CHECK(segment.capacity_bytes <= options.segment_bytes);
  for (int i = 0; i < 600; ++i) CHECK(value_of(store, "a" + key_of(i)) == std::to_string(i));
  must(store.close());
  store = must(Store::open(dir / "s", options));
  CHECK(must(store.state()).keys == 600);
  for (int i = 0; i < 600; ++i) CHECK(value_of(store, "a" + key_of(i)) == std::to_string(i));
}

TEST_CASE("what damage keeps from being copied stays where it is, and is told as before") {
  ScratchDir dir;
  StoreOptions options = small_segments(dir);
  options.auto_compact = false;
  Store store = must(Store::open(dir / "s", options));
  for (int i = 0; i < 200; ++i) must(store.put(key_of(i), std::string(1000, 'v')));
  for (int i = 0; i < 200; i += 2) must(store.remove(key_of(i)));
  std::pair<std::string, uint64_t> place;
  must(dump_store(dir / "s", [&](const StoredRecord& record) {
    if (record.key == key_of(51)) place = {dir / ("s/" + record.file), record.offset};
  }));
  const int fd = ::open(place.first.c_str(), O_WRONLY | O_CLOEXEC);
  REQUIRE(::pwrite(fd, "!", 1, static_cast<off_t>(place.second + 6)) == 1);
  ::close(fd);
  for (int round = 0; round < 3; ++round) {
    must(store.compact());
    const auto told = [&](const StoreStatus& status) {
      INFO(status.message());
      CHECK(status.code() == StoreCode::kCorrupt);
      CHECK(status.message().find(place.first) != std::string::npos);
    };
    told(store.get(key_of(51)).status());
    uint64_t seen = 0;
    must(must(store.snapshot()).for_each([&](auto, const Value&) { return ++seen != 0; }, told));
    CHECK(seen == 99);
    for (int i = 1; i < 200; i += 2)
      if (i != 51) CHECK(value_of(store, key_of(i)) == std::string(1000, 'v'));
  }
  must(store.put(key_of(51), "new"));
  CHECK(value_of(store, key_of(51)) == "new");
}

TEST_CASE("25,000 keys, 5,000 concurrent puts, two compactions: nothing is lost", "[threads]") {
  ScratchDir dir;
  StoreOptions options = small_segments(dir);
  options.segment_bytes = 256 << 10;
  Store store = must(Store::open(dir / "s", options));
  for (int i = 0; i < 25'000; ++i) must(store.put(key_of(i), "0"));
  std::vector<std::thread> threads;
  std::atomic<int> bad{0};
  for (int t = 0; t < 5; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 1000; ++i)
        if (!store.put(key_of(t * 5000 + i), "1").ok()) ++bad;
    });
  must(store.compact());
  must(store.compact());
  for (auto& thread : threads) thread.join();
  CHECK(bad == 0);
  auto check = [&] {
    int wrong = 0;
    for (int i = 0; i < 25'000; ++i)
      if (store.get(key_of(i))->view() != (i % 5000 < 1000 ? "1" : "0")) ++wrong;
    CHECK(wrong == 0);
    CHECK(must(store.state()).keys == 25'000);
  };
  check();
  must(store.close());
  fs::remove(dir / "s/CONTROL");
  store = must(Store::open(dir / "s", options));
  check();
}

TEST_CASE("a remove outlives the compaction of its own segment while an older put is still in another") {
  ScratchDir dir;
  StoreOptions options = small_segments(dir);
  options.auto_compact = false;
  Store store = must(Store::open(dir / "s", options));
  // The put lies in a segment that is all alive but for it; the remove in one that is nearly all dead.
  must(store.put("victim", "must not come back"));
  for (int i = 0; i < 100; ++i) must(store.put("stays-" + std::to_string(i), std::string(600, 's')));
  must(store.remove("victim"));
  for (int i = 0; i < 200; ++i) must(store.put("churn", std::string(600, 'c')));
  must(store.close());
  options.auto_compact = true;
  for (int i = 0; i < 4; ++i) {
    store = must(Store::open(dir / "s", options));
    for (int j = 0; j < 200; ++j) must(store.put("churn", std::string(600, 'd')));
    CHECK_FALSE(value_of(store, "victim").has_value());
    if (i == 2) must(store.compact());
    must(store.close());
    fs::remove(dir / "s/CONTROL");  // the next one makes its index from the segments
  }
  store = must(Store::open(dir / "s", options));
  CHECK_FALSE(value_of(store, "victim").has_value());
  CHECK(must(store.state()).keys == 101);
}

TEST_CASE("a held value stays what it was through overwrite, remove, compaction and the store's end") {
  ScratchDir dir;
  std::vector<Value> held;
  {
    Store store = must(Store::open(dir / "s", small_segments(dir)));
    Store reader = must(Store::open_reader(dir / "s"));
    for (int i = 0; i < 100; ++i)
      must(store.put(key_of(i), std::string(3000, static_cast<char>('a' + i % 26))));
    for (int i = 0; i < 100; ++i) held.push_back(must((i % 2 == 0 ? store : reader).get(key_of(i))));
    for (int i = 0; i < 100; ++i)
      if (i % 2 == 0)
        must(store.remove(key_of(i)));
      else
        must(store.put(key_of(i), "new"));
    for (int i = 0; i < 5; ++i) must(store.compact());
    for (int i = 0; i < 300; ++i) must(store.put("more", std::string(3000, 'm')));
  }
  fs::remove_all(dir / "s");
  for (int i = 0; i < 100; ++i)
    CHECK(held[static_cast<size_t>(i)].view() == std::string(3000, static_cast<char>('a' + i % 26)));
}

TEST_CASE("a segment in which everything has expired goes by itself, without a copy") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  PutOptions soon;
  soon.ttl = std::chrono::milliseconds(50);
  for (int i = 0; i < 200; ++i) must(store.put(key_of(i), std::string(1000, 'x'), soon));
  const uint64_t most = must(store.state()).segments.size();
  REQUIRE(most >= 3);
  CHECK(wait_until([&] { return must(store.state()).segments.size() <= 1; }));
  for (const SegmentStatus& segment : must(store.state()).segments) CHECK_FALSE(segment.is_sealed);
}

TEST_CASE("many gets in many threads while segments are compacted away: always found, always right",
          "[threads]") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  Store reader = must(Store::open_reader(dir / "s"));
  constexpr int kKeys = 200;
  for (int i = 0; i < kKeys; ++i) must(store.put(key_of(i), key_of(i) + ":0:" + std::string(400, 'x')));
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      while (!stop) {
        const std::string key = key_of(random() % kKeys);
        const auto got = (t == 0 ? store : reader).get(key);
        if (!got || !const_cast<StoreResult<Value>&>(got)->found() ||
            const_cast<StoreResult<Value>&>(got)->view().substr(0, key.size() + 1) != key + ":")
          ++wrong;
      }
    });
  for (int round = 1; round <= 60; ++round) {
    for (int i = 0; i < kKeys; ++i)
      must(store.put(key_of(i), key_of(i) + ":" + std::to_string(round) + ":" + std::string(400, 'x')));
    if (round % 10 == 0) must(store.compact());
    must(store.put("grows-" + std::to_string(round), "x"));
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}

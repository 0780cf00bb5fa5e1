// batches.cc - all of a batch or nothing of it; snapshots, iteration, map-reduce.

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/segstore/crash.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

TEST_CASE("a batch is seen whole, also with values in files of their own") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  must(store.put("gone", "x"));
  Batch batch;
  batch.put("a", "1");
  batch.put("b", std::string(2 << 20, 'b'));
  batch.put("a", "2");
  batch.remove("gone");
  batch.remove("never there");
  must(store.write(batch));
  auto check = [&] {
    CHECK(value_of(store, "a") == "2");
    CHECK(value_of(store, "b") == std::string(2 << 20, 'b'));
    CHECK_FALSE(value_of(store, "gone").has_value());
    CHECK(all_of(store).size() == 2);
  };
  check();
  must(store.close());
  fs::remove(dir / "s/CONTROL");
  store = must(Store::open(dir / "s", quick(dir)));
  check();
  must(store.compact());
  must(store.close());
  fs::remove(dir / "s/MANIFEST");
  fs::remove(dir / "s/CONTROL");
  store = must(Store::open(dir / "s", quick(dir)));
  check();
}

TEST_CASE("a batch that was cut short at any byte is not there at all") {
  ScratchDir dir;
  {
    Store store = must(Store::open(dir / "s", small_segments(dir)));
    must(store.put("before", "1"));
    must(store.close());
  }
  const uint64_t from = must(must(Store::open_reader(dir / "s")).state()).segments.at(0).used_bytes;
  uint64_t to = 0;
  {
    Store store = must(Store::open(dir / "s", small_segments(dir)));
    Batch batch;
    for (int i = 0; i < 5; ++i) batch.put(key_of(i), "value of " + key_of(i));
    batch.remove("before");
    must(store.write(batch));
    to = must(store.state()).segments.at(0).used_bytes;
    must(store.close());
  }
  const std::string file = "s/seg-0000000000000001", whole = dir.read(file);
  for (uint64_t cut = from; cut <= to; cut += 5) {
    std::string part = whole;
    std::fill(part.begin() + static_cast<ptrdiff_t>(cut), part.begin() + static_cast<ptrdiff_t>(to), '\0');
    fs::remove_all(dir / "t");
    fs::create_directory(dir / "t");
    fs::copy(dir / "s/MANIFEST", dir / "t/MANIFEST");
    dir.write("t/seg-0000000000000001", part);
    Store store = must(Store::open(dir / "t", small_segments(dir)));
    const auto all = all_of(store);
    INFO("cut at " << cut);
    if (part == whole) {
      CHECK(all.size() == 5);
      CHECK_FALSE(all.contains("before"));
    } else {
      CHECK(all.size() == 1);
      CHECK(all.at("before") == "1");
    }
  }
}

TEST_CASE("a snapshot keeps what was there through overwrite, remove and compaction") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  for (int i = 0; i < 300; ++i)
    must(store.put(key_of(i), "old " + std::to_string(i) + std::string(500, '.')));
  must(store.put("large", std::string(100'000, 'l')));
  const Snapshot snapshot = must(store.snapshot());
  for (int i = 0; i < 300; ++i)
    if (i % 3 == 0)
      must(store.remove(key_of(i)));
    else
      must(store.put(key_of(i), "new"));
  must(store.remove("large"));
  must(store.put("later", "x"));
  must(store.compact());
  CHECK(snapshot.size() == 301);
  for (int i = 0; i < 300; ++i) {
    CHECK(must(snapshot.get(key_of(i))).view().substr(0, 4) == "old ");
    CHECK(value_of(store, key_of(i)) == (i % 3 == 0 ? std::nullopt : std::optional<std::string>("new")));
  }
  CHECK(must(snapshot.get("large")).size() == 100'000);
  CHECK_FALSE(must(snapshot.get("later")).found());
  must(store.close());
  CHECK(must(snapshot.get(key_of(7))).view().substr(0, 4) == "old ");
}

TEST_CASE("snapshots taken while batches are written never show half of one", "[threads]") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int round = 1; !stop; ++round) {
      Batch batch;
      for (int i = 0; i < 50; ++i)
        if (round % 5 == 4)
          batch.remove(key_of(i));
        else
          batch.put(key_of(i), std::to_string(round));
      (void)store.write(batch);
      (void)store.put("more-" + std::to_string(round), "makes the index grow");
    }
  });
  uint64_t sequence = 0;
  for (int i = 0; i < 100; ++i) {
    const Snapshot snapshot = must(store.snapshot());
    CHECK(snapshot.sequence() >= sequence);
    sequence = snapshot.sequence();
    std::set<std::string> values;
    int count = 0;
    must(snapshot.for_each([&](std::string_view key, const Value& value) {
      if (key.substr(0, 4) != "key-") return true;
      values.insert(value.str());
      ++count;
      return true;
    }));
    CHECK(values.size() <= 1);
    CHECK((count == 0 || count == 50));
  }
  stop = true;
  writer.join();
}

TEST_CASE("an iteration sees the state of its beginning, and blocks nobody however slow it is") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  for (int i = 0; i < 100; ++i) must(store.put(key_of(i), "old"));
  const Snapshot before = must(store.snapshot());
  int seen = 0;
  must(before.for_each([&](std::string_view key, const Value& value) {
    CHECK(value.view() == "old");
    must(store.put(key, "new"));
    must(store.remove(key_of(99 - seen)));
    must(store.put("added-" + std::to_string(seen), "new"));
    if (seen % 20 == 0) must(store.compact());
    ++seen;
    return true;
  }));
  CHECK(seen == 100);
  for (const auto& [key, value] : all_of(store)) CHECK(value == "new");
}

TEST_CASE("keys with a prefix come in the order of their bytes, and an iteration can stop") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  for (const char* key : {"b/2", "a/1", "b/10", "b/1", "c", "b", "\xff", "b/"}) must(store.put(key, key));
  const Snapshot snapshot = must(store.snapshot());
  std::vector<std::string> keys;
  must(snapshot.for_each_prefix("b/", [&](std::string_view key, const Value& value) {
    CHECK(value.view() == key);
    keys.emplace_back(key);
    return true;
  }));
  CHECK(keys == std::vector<std::string>{"b/", "b/1", "b/10", "b/2"});
  keys.clear();
  must(snapshot.for_each_prefix("", [&](std::string_view key, const Value&) {
    keys.emplace_back(key);
    return keys.size() < 3;
  }));
  CHECK(keys == std::vector<std::string>{"a/1", "b", "b/"});
}

TEST_CASE("a snapshot's ordered index gives the same pairs in the same order as sorting them each time") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  std::mt19937_64 random(11);
  Pairs model;
  for (int i = 0; i < 3000; ++i) {
    std::string key(random() % 12, '\0');
    for (char& c : key) c = static_cast<char>(random() % 3 == 0 ? 0xff : random() % 4);
    model[key] = std::to_string(i);
    must(store.put(key, model[key]));
  }
  for (int i = 0; i < 500; ++i) {
    const auto at = std::next(model.begin(), static_cast<ptrdiff_t>(random() % model.size()));
    must(store.remove(at->first));
    model.erase(at);
  }
  const Snapshot plain = must(store.snapshot());
  Snapshot ordered = must(store.snapshot());
  must(ordered.make_ordered());
  must(ordered.make_ordered());
  must(store.put("later", "is not in it"));
  for (int n = 0; n < 200; ++n) {
    auto bound = [&]() -> std::optional<std::string> {
      if (random() % 4 == 0) return std::nullopt;
      const auto at = std::next(model.begin(), static_cast<ptrdiff_t>(random() % model.size()));
      return random() % 2 == 0 ? at->first : at->first.substr(0, at->first.size() / 2);
    };
    const auto start = bound(), end = bound();
    Pairs expected;
    for (const auto& [key, value] : model)
      if ((!start || key >= *start) && (!end || key < *end)) expected[key] = value;
    const std::string prefix = start.value_or("");
    Pairs with_prefix;
    for (const auto& [key, value] : model)
      if (key.compare(0, prefix.size(), prefix) == 0) with_prefix[key] = value;
    for (const Snapshot* snapshot : {&plain, const_cast<const Snapshot*>(&ordered)}) {
      using Listed = std::vector<std::pair<std::string, std::string>>;
      Listed listed;
      auto list = [&](std::string_view key, const Value& value) {
        listed.emplace_back(key, value.str());
        return true;
      };
      must(snapshot->for_each_range(start, end, list));
      REQUIRE(listed == Listed(expected.begin(), expected.end()));
      listed.clear();
      must(snapshot->for_each_prefix(prefix, list));
      REQUIRE(listed == Listed(with_prefix.begin(), with_prefix.end()));
    }
  }
}

TEST_CASE("map-reduce over a range of keys, grouped, gives the same with one thread and with many") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  uint64_t sum[10] = {};
  for (int i = 0; i < 20'000; ++i) {
    must(store.put(key_of(i), std::to_string(i)));
    const std::string key = key_of(i);
    if (key >= "key-2" && key < "key-7") sum[i % 10] += static_cast<uint64_t>(i);
  }
  const Snapshot snapshot = must(store.snapshot());
  for (const unsigned threads : {1u, 4u}) {
    auto result = must(map_reduce<uint64_t>(
        snapshot,
        [](std::string_view, const Value& value, const std::function<void(std::string, uint64_t)>& emit) {
          emit(value.str().substr(value.size() - 1), std::stoull(value.str()));
        },
        [](uint64_t& into, uint64_t&& more) { into += more; }, "key-2", "key-7", threads));
    REQUIRE(result.size() == 10);
    for (int i = 0; i < 10; ++i) CHECK(result[std::to_string(i)] == sum[i]);
  }
}

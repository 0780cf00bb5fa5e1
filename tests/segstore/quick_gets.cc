// quick_gets.cc - what a get does by itself is what the slow one does, for keys and values of every kind.
#include "libpool/segstore/format.h"
#include "libpool/segstore/index.h"
#include "tests/segstore/support.h"

namespace spillway::test {
namespace {

std::string random_bytes(std::mt19937_64& random, size_t bytes) {
  std::string made(bytes, '\0');
  for (char& byte : made) byte = static_cast<char>(random());
  return made;
}

// Of this length, if it is long enough to be its own.
std::string long_key(uint64_t number, size_t bytes) {
  std::string key = std::to_string(number);
  if (key.size() < bytes) key.insert(0, bytes - key.size(), '.');
  return key;
}

}  // namespace

TEST_CASE("short keys have the hash that all keys have") {
  std::mt19937_64 random(1);
  for (size_t bytes = 0; bytes < 40; ++bytes)
    for (int i = 0; i < 200; ++i) {
      const std::string key = random_bytes(random, bytes);
      const uint64_t seed = random();
      REQUIRE(segstore::is_short_key(key) == (bytes >= 9 && bytes <= 16));
      if (segstore::is_short_key(key))
        REQUIRE(segstore::hash_of_short(key, segstore::ShortKeySeed(seed)) == segstore::hash_of(key, seed));
    }
}

TEST_CASE("a bucket's first match is the first of its matches") {
  std::mt19937_64 random(2);
  for (int i = 0; i < 20'000; ++i) {
    segstore::Bucket bucket;
    const uint64_t tags = i % 2 == 0 ? 3 : uint64_t{1} << 22;
    for (uint64_t& slot : bucket.slots)
      slot = random() % 4 == 0 ? 0 : random() % tags << segstore::kTagShift | random() % (1 << 20);
    bucket.next = random() % 100;
    const uint64_t tag = random() % tags;
    const unsigned matches = bucket.matches(tag);
    const uint64_t* const first = bucket.first_match(tag);
    if (matches == 0)
      REQUIRE(first == nullptr);
    else
      REQUIRE(first == bucket.slots + std::countr_zero(matches));
  }
}

TEST_CASE(
    "a bucket full of keys whose tag is that of empty slots gets an overflow bucket with memory behind it") {
  Result<segstore::Index> made = segstore::Index::create_private(64 << 20, 0);
  REQUIRE(made);
  segstore::Index& index = *made;
  const uint32_t hash = 5;  // bucket 5, tag 0
  for (uint64_t i = 1; i <= 20; ++i) {
    REQUIRE(index.make_room(&hash, 1).ok());
    index.insert(hash, {1, i * 64});
    const segstore::IndexHeader& header = index.header();
    CHECK(header.overflow_used * sizeof(segstore::Bucket) <= header.overflow_allocated);
  }
}

TEST_CASE("a reader finds keys of every length, old and new, while the index grows to eight times its size") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  Store reader = must(Store::open_reader(dir / "s"));
  std::mt19937_64 random(3);
  std::vector<std::pair<std::string, std::string>> pairs;
  for (uint64_t i = 0; i < 40'000; ++i) {
    PutOptions options;
    options.alignment = i % 7 == 0 ? 64 : 1;
    if (i % 11 == 0) options.ttl = std::chrono::hours(1);
    pairs.emplace_back(long_key(i, i % 70), random_bytes(random, random() % 300));
    must(store.put(pairs.back().first, pairs.back().second, options));
    const auto& [key, value] = pairs[random() % pairs.size()];
    const Value got = must(reader.get(key));
    REQUIRE(got.found());
    REQUIRE(got.view() == value);
    if ((pairs.size() - 1) % 997 == 0) REQUIRE_FALSE(must(reader.get("absent " + key)).found());
  }
  for (uint64_t i = 0; i < pairs.size(); ++i) {
    const Value got = must(reader.get(pairs[i].first));
    REQUIRE(got.view() == pairs[i].second);
    REQUIRE((got.expires_ms() != 0) == (i % 11 == 0));
    REQUIRE(got.sequence() == i + 1);
    if (i % 7 == 0) REQUIRE(reinterpret_cast<uintptr_t>(got.data()) % 64 == 0);
  }
}

TEST_CASE("a key that was got quickly is absent once it is removed, and refused once the store is closed") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  for (const size_t bytes : {5, 16, 40}) {
    const std::string key = long_key(1, bytes);
    must(store.put(key, "v"));
    for (int i = 0; i < 3; ++i) CHECK(value_of(store, key) == "v");
    CHECK(must(store.remove(key)));
    CHECK_FALSE(must(store.get(key)).found());
    must(store.put(key, "w"));
    CHECK(value_of(store, key) == "w");
  }
  must(store.close());
  for (const size_t bytes : {5, 16, 40})
    CHECK(store.get(long_key(1, bytes)).status().code() == StoreCode::kClosed);
}

}  // namespace spillway::test

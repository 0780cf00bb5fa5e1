// basics.cc - one process: what is put is got, removed, listed, counted and refused.
#include <atomic>
#include <fstream>
#include <thread>

#include "tests/segstore/support.h"
#include "tests/support/leftovers.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
using namespace std::string_literals;

TEST_CASE("what is put is got: text, binary, UTF-8, empty values, keys with zero bytes") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  const std::vector<std::pair<std::string, std::string>> pairs = {{"plain", "text"},
                                                                  {"k\0ey"s, "with a zero \0 byte"s},
                                                                  {"schlüssel", "wert ☃"},
                                                                  {"empty", ""},
                                                                  {"", "the empty key"},
                                                                  {"medea_tombstone", "bitcask_tombstone"},
                                                                  {std::string(65536, 'k'), "longest key"},
                                                                  {"big", std::string(300000, 'b')},
                                                                  {"bigger", std::string(3 << 20, 'c')}};
  for (const auto& [key, value] : pairs) must(store.put(key, value));
  for (const auto& [key, value] : pairs) CHECK(value_of(store, key) == value);
  CHECK_FALSE(must(store.get("missing")).found());
  CHECK(must(store.get("missing")).size() == 0);
  must(store.close());
  Store again = must(Store::open(dir / "s", quick(dir)));
  for (const auto& [key, value] : pairs) CHECK(value_of(again, key) == value);
  CHECK(all_of(again).size() == pairs.size());
}

TEST_CASE("a removed key is absent and not listed, also after reopening and compaction") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  for (int i = 0; i < 200; ++i) must(store.put(key_of(i), std::string(1000, 'x')));
  for (int i = 0; i < 200; i += 2) CHECK(must(store.remove(key_of(i))));
  CHECK_FALSE(must(store.remove("key-0")));
  auto check = [&] {
    CHECK(all_of(store).size() == 100);
    CHECK_FALSE(value_of(store, "key-0").has_value());
    CHECK(value_of(store, "key-1").has_value());
  };
  check();
  must(store.close());
  store = must(Store::open(dir / "s", small_segments(dir)));
  check();
  must(store.compact());
  check();
  must(store.close());
  store = must(Store::open(dir / "s", small_segments(dir)));
  check();
}

TEST_CASE("a store that is not open answers every call with an error, and closing twice is fine") {
  ScratchDir dir;
  Store store;
  CHECK(store.get("k").status().code() == StoreCode::kClosed);
  CHECK(store.put("k", "v").status().code() == StoreCode::kClosed);
  store = must(Store::open(dir / "s", quick(dir)));
  must(store.put("k", "v"));
  const Value held = must(store.get("k"));
  must(store.close());
  must(store.close());
  CHECK_FALSE(store.is_open());
  CHECK(store.get("k").status().code() == StoreCode::kClosed);
  CHECK(store.put("k", "v").status().code() == StoreCode::kClosed);
  CHECK(store.remove("k").status().code() == StoreCode::kClosed);
  CHECK(store.write(Batch()).status().code() == StoreCode::kClosed);
  CHECK(store.snapshot().status().code() == StoreCode::kClosed);
  CHECK(store.state().status().code() == StoreCode::kClosed);
  CHECK(store.compact().code() == StoreCode::kClosed);
  CHECK(store.sync().code() == StoreCode::kClosed);
  CHECK(store.backup(dir / "b").code() == StoreCode::kClosed);
  CHECK(store.compare_and_set("k", "v", "w").status().code() == StoreCode::kClosed);
  CHECK(held.view() == "v");
  store = Store();
  CHECK(held.view() == "v");
}

TEST_CASE("closing may overlap with gets and puts, which then end in a result or say that it is closed",
          "[threads]") {
  for (int round = 0; round < 10; ++round) {
    ScratchDir dir;
    Store store = must(Store::open(dir / "s", quick(dir)));
    std::atomic<int> wrong{0}, written{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0;; ++i) {
          const auto put = store.put(key_of(t * 1000000 + i), "value");
          if (!put) {
            if (put.status().code() != StoreCode::kClosed) ++wrong;
            return;
          }
          ++written;
          const auto got = store.get(key_of(t * 1000000 + i));
          if (got ? !(got.status().ok()) : got.status().code() != StoreCode::kClosed) ++wrong;
        }
      });
    while (written < 100) std::this_thread::yield();
    std::thread other([&] { (void)store.close(); });
    (void)store.close();
    for (auto& thread : threads) thread.join();
    other.join();
    CHECK(wrong == 0);
    Store again = must(Store::open(dir / "s", quick(dir)));
    CHECK(all_of(again).size() == static_cast<size_t>(written.load()));
  }
}

TEST_CASE("arguments that cannot be are refused in words") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  CHECK(store.put(std::string(65537, 'k'), "v").status().code() == StoreCode::kInvalid);
  PutOptions options;
  options.alignment = 48;
  CHECK(store.put("k", "v", options).status().message().find("power of two") != std::string::npos);
  options.alignment = 8192;
  CHECK(store.put("k", "v", options).status().code() == StoreCode::kInvalid);
  StoreOptions bad = quick(dir);
  bad.segment_bytes = 1000;
  CHECK(Store::open(dir / "t", bad).status().code() == StoreCode::kInvalid);
  CHECK(Store::open_reader(dir / "nothing").status().code() == StoreCode::kNotAStore);
  StoreOptions existing = quick(dir);
  existing.create = false;
  CHECK(Store::open(dir / "nothing", existing).status().code() == StoreCode::kNotAStore);
  ::mkdir((dir / "full").c_str(), 0700);
  dir.write("full/letter.txt", "dear");
  const auto other = Store::open(dir / "full", quick(dir));
  CHECK(other.status().code() == StoreCode::kNotAStore);
  CHECK(other.status().message().find("letter.txt") != std::string::npos);
  CHECK(dir.read("full/letter.txt") == "dear");
  Store reader = must(Store::open_reader(dir / "s"));
  CHECK(reader.put("k", "v").status().code() == StoreCode::kReadOnly);
  CHECK(reader.compact().code() == StoreCode::kReadOnly);
}

TEST_CASE("values are aligned as asked, in every generation of their segment") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  const std::vector<uint64_t> alignments = {1, 2, 8, 16, 64, 512, 4096};
  for (int round = 0; round < 3; ++round)
    for (int i = 0; i < 40; ++i) {
      PutOptions options;
      options.alignment = alignments[static_cast<size_t>(i) % alignments.size()];
      must(store.put(key_of(i), std::string(static_cast<size_t>(i) * 37 + 1, 'a'), options));
    }
  PutOptions page;
  page.alignment = 4096;
  must(store.put("large", std::string(2 << 20, 'l'), page));
  auto check = [&] {
    for (int i = 0; i < 40; ++i) {
      const Value value = must(store.get(key_of(i)));
      CHECK(reinterpret_cast<uintptr_t>(value.data()) %
                alignments[static_cast<size_t>(i) % alignments.size()] ==
            0);
      CHECK(value.size() == static_cast<size_t>(i) * 37 + 1);
    }
    CHECK(reinterpret_cast<uintptr_t>(must(store.get("large")).data()) % 4096 == 0);
  };
  check();
  must(store.compact());
  check();
}

TEST_CASE("compare-and-set by value and by sequence number: of many at once one wins each step",
          "[threads]") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  CHECK(must(store.compare_and_set("k", std::nullopt, "1")));
  CHECK_FALSE(must(store.compare_and_set("k", std::nullopt, "2")));
  CHECK_FALSE(must(store.compare_and_set("k", "0", "2")));
  CHECK(must(store.compare_and_set("k", "1", "2")));
  const uint64_t sequence = must(store.get("k")).sequence();
  CHECK_FALSE(must(store.put_if_sequence("k", sequence - 1, "3")));
  CHECK(must(store.put_if_sequence("k", sequence, "3")));
  CHECK(must(store.compare_and_set("k", "3", std::nullopt)));
  CHECK_FALSE(value_of(store, "k").has_value());
  must(store.put("counter", "0"));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int done = 0; done < 250;) {
        const std::string now = store.get("counter")->str();
        if (*store.compare_and_set("counter", now, std::to_string(std::stoi(now) + 1))) ++done;
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(value_of(store, "counter") == "1000");
}

TEST_CASE("the state is exact: keys, live and dead bytes, sequence numbers") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  for (int i = 0; i < 500; ++i) must(store.put(key_of(i % 50), std::string(500, 'x')));
  for (int i = 0; i < 10; ++i) must(store.remove(key_of(i)));
  auto check = [&](const Store& from) {
    const StoreState state = must(from.state());
    CHECK(state.keys == 40);
    uint64_t live = 0, records = 0;
    for (const SegmentStatus& segment : state.segments) {
      live += segment.live_bytes;
      records += segment.live_records;
      CHECK(segment.used_bytes <= segment.capacity_bytes);
    }
    CHECK(records == 40);
    CHECK(live == 40 * 528);  // 20 + 5 or 6 + 500, on the grid of 8
    CHECK(live == state.live_bytes);
    CHECK(state.sequence == 510);
  };
  check(store);
  check(must(Store::open_reader(dir / "s")));
  CHECK(must(store.state()).writer_pid == static_cast<uint64_t>(getpid()));
  must(store.close());
  store = must(Store::open(dir / "s", small_segments(dir)));
  check(store);
}

TEST_CASE("durability: async is not durable at once, group and sync are, sync() makes it so") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  const uint64_t first = must(store.put("a", "1"));
  CHECK(store.durable_sequence() < first);
  must(store.sync());
  CHECK(store.durable_sequence() >= first);
  PutOptions options;
  options.durability = Durability::kGroup;
  const uint64_t second = must(store.put("b", "2", options));
  CHECK(second <= store.durable_sequence());
  options.durability = Durability::kSync;
  const uint64_t third = must(store.put("c", "3", options));
  CHECK(third <= store.durable_sequence());
  Store reader = must(Store::open_reader(dir / "s"));
  CHECK(must(reader.get("c")).sequence() <= reader.durable_sequence());
  const uint64_t last = must(store.put("d", "4"));
  CHECK(must(reader.get("d")).sequence() == last);
  CHECK(reader.durable_sequence() < last);
}

TEST_CASE("an index at its cap refuses new keys in words, and everything else goes on") {
  ScratchDir dir;
  StoreOptions options = quick(dir);
  options.max_index_bytes = 1 << 20;
  Store store = must(Store::open(dir / "s", options));
  StoreStatus refused;
  uint64_t put = 0;
  for (uint64_t i = 0; i < 200'000 && refused.ok(); ++i) {
    refused = store.put(key_of(i), "v").status();
    if (refused.ok()) ++put;
  }
  CHECK(refused.code() == StoreCode::kFull);
  CHECK(refused.message().find("max_index_bytes") != std::string::npos);
  CHECK(put > 60'000);
  for (uint64_t i = 0; i < put; i += 1000) CHECK(value_of(store, key_of(i)) == "v");
  must(store.put(key_of(1), "w"));
  CHECK(value_of(store, key_of(1)) == "w");
  for (uint64_t i = 0; i < 20'000; ++i) must(store.remove(key_of(i)));
  // Room again: of a key's places all may still be taken, but hardly of many keys'.
  int taken = 0;
  for (int i = 0; i < 100; ++i) taken += store.put("new " + std::to_string(i), "v").ok();
  CHECK(taken > 90);
}

TEST_CASE("the index takes at most 16 bytes a key at every size") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  for (uint64_t i = 1; i <= 300'000; ++i) {
    must(store.put(key_of(i), ""));
    if (i >= 100'000 && i % 20'000 == 0) {
      const StoreState state = must(store.state());
      INFO(i << " keys, " << state.index_bytes << " bytes");
      CHECK(state.index_bytes <= 16 * i);
    }
  }
  for (uint64_t i = 1; i <= 300'000; i += 997) CHECK(value_of(store, key_of(i)) == "");
  CHECK_FALSE(value_of(store, key_of(300'001)).has_value());
}

TEST_CASE("expired keys are absent from gets and lists, and go with compaction") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  PutOptions soon;
  soon.ttl = std::chrono::milliseconds(30);
  PutOptions later;
  later.ttl = std::chrono::hours(1);
  must(store.put("old", "for ever"));
  for (int i = 0; i < 20; ++i) must(store.put("soon" + std::to_string(i), std::string(100, 's'), soon));
  must(store.put("old", "for a moment", soon));
  must(store.put("later", "l", later));
  CHECK(must(store.get("later")).expires_ms() > 0);
  REQUIRE(wait_until([&] { return !value_of(store, "old").has_value(); }));  // the last that was put
  auto check = [&] {
    CHECK_FALSE(value_of(store, "soon3").has_value());
    CHECK_FALSE(value_of(store, "old").has_value());  // not what it was before, either
    CHECK(all_of(store).size() == 1);
    CHECK_FALSE(must(store.remove("soon4")));
  };
  check();
  CHECK(must(store.compare_and_set("soon5", std::nullopt, "new")));
  must(store.remove("soon5"));
  must(store.compact());
  CHECK(must(store.state()).keys == 1);
  check();
  must(store.close());
  store = must(Store::open(dir / "s", small_segments(dir)));
  check();
}

TEST_CASE("what had expired stays so when the store is opened again and the clock has gone back") {
  ScratchDir dir;
  PutOptions passing;
  passing.ttl = std::chrono::hours(1);
  {
    Store store = must(Store::open(dir / "s", quick(dir)));
    must(store.put("k", "v", passing));
    put_clock_on(store, std::chrono::hours(2));
    CHECK_FALSE(value_of(store, "k"));
    must(store.close());
  }
  CHECK_FALSE(value_of(must(Store::open_reader(dir / "s")), "k"));
  {
    Store store = must(Store::open(dir / "s", quick(dir)));
    CHECK_FALSE(value_of(store, "k"));
    CHECK_FALSE(value_of(must(Store::open_reader(dir / "s")), "k"));
    must(store.put("k", "new", passing));
    CHECK(value_of(store, "k") == "new");
  }
  CHECK(value_of(must(Store::open_reader(dir / "s")), "k") == "new");
}

TEST_CASE("shards: keys go by jump consistent hash, and one more takes about its share of them") {
  ScratchDir dir;
  ShardedStore shards = must(ShardedStore::open({dir / "0", dir / "1", dir / "2"}, quick(dir)));
  for (int i = 0; i < 4000; ++i) must(shards.put(key_of(i), std::to_string(i)));
  for (uint32_t s = 0; s < 3; ++s) CHECK(must(shards.shard(s).state()).keys > 1000);
  const uint64_t moved = must(shards.add_shard(dir / "3", quick(dir)));
  CHECK(moved > 800);
  CHECK(moved < 1200);
  uint64_t keys = 0;
  for (uint32_t s = 0; s < 4; ++s) keys += must(shards.shard(s).state()).keys;
  CHECK(keys == 4000);
  for (int i = 0; i < 4000; ++i) CHECK(must(shards.get(key_of(i))).view() == std::to_string(i));
  must(shards.close());
  ShardedStore reader = must(ShardedStore::open_reader({dir / "0", dir / "1", dir / "2", dir / "3"}));
  for (int i = 0; i < 4000; i += 7) CHECK(must(reader.get(key_of(i))).view() == std::to_string(i));
}

TEST_CASE("shards that were never opened, or moved from, answer that they are closed") {
  ScratchDir dir;
  ShardedStore none;
  ShardedStore one = must(ShardedStore::open({dir / "s"}, quick(dir)));
  must(one.put("k", "v"));
  ShardedStore moved = std::move(one);
  CHECK(must(moved.get("k")).view() == "v");
  for (ShardedStore* store : {&none, &one}) {
    CHECK(store->get("k").status().code() == StoreCode::kClosed);
    CHECK(store->put("k", "v").status().code() == StoreCode::kClosed);
    CHECK(store->remove("k").status().code() == StoreCode::kClosed);
    CHECK(store->add_shard(dir / "t", quick(dir)).status().code() == StoreCode::kClosed);
    must(store->close());
  }
}

TEST_CASE("jump consistent hash moves keys only to the new shard") {
  std::mt19937_64 random(1);
  for (uint32_t n = 1; n < 20; ++n) {
    int moved = 0;
    for (int i = 0; i < 2000; ++i) {
      const uint64_t hash = random();
      const uint32_t before = jump_consistent_hash(hash, n), after = jump_consistent_hash(hash, n + 1);
      REQUIRE(before < n);
      if (before != after) {
        ++moved;
        REQUIRE(after == n);
      }
    }
    CHECK(moved < 2 * 2000 / static_cast<int>(n + 1) + 60);
  }
}

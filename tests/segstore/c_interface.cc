// c_interface.cc - the C functions, and the format's golden files.
#include <spillway/pool.h>  // a program may use both
#include <spillway/store.h>
#include <filesystem>
#include <fstream>

#include "libpool/segstore/format.h"
#include "tests/segstore/support.h"
#include "tests/support/paths.h"

using namespace spillway;
using namespace spillway::test;

TEST_CASE("the C interface puts, gets, holds, lists, removes, and says what is wrong") {
  ScratchDir dir;
  const std::string path = dir / "s";
  spillway_store* store = nullptr;
  REQUIRE(spillway_store_open(path.c_str(), SPILLWAY_STORE_ASYNC, 0, &store) == SPILLWAY_STORE_OK);
  uint64_t sequence = 0;
  REQUIRE(spillway_store_put(store, "a", 1, "value", 5, 0, 64, &sequence) == SPILLWAY_STORE_OK);
  CHECK(sequence == 1);
  REQUIRE(spillway_store_put(store, "b", 1, "", 0, 0, 0, nullptr) == SPILLWAY_STORE_OK);
  spillway_value value;
  REQUIRE(spillway_store_get(store, "a", 1, &value) == SPILLWAY_STORE_OK);
  CHECK(value.found == 1);
  CHECK(std::string(static_cast<const char*>(value.data), value.size) == "value");
  CHECK(reinterpret_cast<uintptr_t>(value.data) % 64 == 0);
  spillway_value absent;
  REQUIRE(spillway_store_get(store, "x", 1, &absent) == SPILLWAY_STORE_OK);
  CHECK(absent.found == 0);
  std::string keys;
  REQUIRE(spillway_store_each(
              store, "", 0,
              [](void* to, const void* key, size_t bytes, const void*, uint64_t) {
                static_cast<std::string*>(to)->append(static_cast<const char*>(key), bytes);
                return 0;
              },
              &keys) == SPILLWAY_STORE_OK);
  CHECK(keys == "ab");
  spillway_store* second = nullptr;
  CHECK(spillway_store_open(path.c_str(), SPILLWAY_STORE_GROUP, 0, &second) == SPILLWAY_STORE_LOCKED);
  CHECK(std::string(spillway_store_error()).find("process") != std::string::npos);
  int removed = 0;
  REQUIRE(spillway_store_remove(store, "b", 1, &removed) == SPILLWAY_STORE_OK);
  CHECK(removed == 1);
  CHECK(spillway_store_put(store, "a", 1, "v", 1, 0, 3, nullptr) == SPILLWAY_STORE_INVALID);
  REQUIRE(spillway_store_sync(store) == SPILLWAY_STORE_OK);
  CHECK(spillway_store_durable_sequence(store) == 3);
  REQUIRE(spillway_store_compact(store) == SPILLWAY_STORE_OK);
  REQUIRE(spillway_store_close(store) == SPILLWAY_STORE_OK);
  CHECK(spillway_store_get(store, "a", 1, &absent) == SPILLWAY_STORE_CLOSED);
  spillway_store_free(store);
  CHECK(std::string(static_cast<const char*>(value.data), value.size) == "value");
  spillway_value_release(&value);
  CHECK(spillway_store_open_reader((dir / "no").c_str(), &store) == SPILLWAY_STORE_NOT_A_STORE);
}

TEST_CASE("the C interface refuses what cannot be in words, and gives no handle") {
  ScratchDir dir;
  const std::string path = dir / "s";
  auto* store = reinterpret_cast<spillway_store*>(&dir);
  CHECK(spillway_store_open(path.c_str(), static_cast<spillway_durability>(3), 0, &store) ==
        SPILLWAY_STORE_INVALID);
  CHECK(store == nullptr);
  store = reinterpret_cast<spillway_store*>(&dir);
  CHECK(spillway_store_open_reader(path.c_str(), &store) == SPILLWAY_STORE_NOT_A_STORE);
  CHECK(store == nullptr);
  REQUIRE(spillway_store_open(path.c_str(), SPILLWAY_STORE_ASYNC, 0, &store) == SPILLWAY_STORE_OK);
  spillway_value value;
  const auto refused = [](int code) {
    const std::string words = spillway_store_error();
    return code == SPILLWAY_STORE_INVALID && words.find("NULL") != std::string::npos &&
           words.find("the store is") != 0;
  };
  CHECK(refused(spillway_store_get(store, nullptr, 1, &value)));
  CHECK(refused(spillway_store_put(store, nullptr, 1, "v", 1, 0, 0, nullptr)));
  CHECK(refused(spillway_store_put(store, "k", 1, nullptr, 1, 0, 0, nullptr)));
  CHECK(refused(spillway_store_remove(store, nullptr, 1, nullptr)));
  CHECK(refused(spillway_store_each(store, "", 0, nullptr, nullptr)));
  CHECK(refused(spillway_store_backup(store, nullptr)));
  REQUIRE(spillway_store_put(store, nullptr, 0, nullptr, 0, 0, 0, nullptr) == SPILLWAY_STORE_OK);
  REQUIRE(spillway_store_get(store, nullptr, 0, &value) == SPILLWAY_STORE_OK);
  CHECK(value.found == 1);
  spillway_value_release(&value);
  const auto throws = [](void*, const void*, size_t, const void*, uint64_t) -> int { throw 1; };
  CHECK(spillway_store_each(store, nullptr, 0, throws, nullptr) == SPILLWAY_STORE_IO);
  CHECK(std::string(spillway_store_error()) == "an exception");
  spillway_store_free(store);
}

TEST_CASE("the golden store of format version 1 is read as it was written") {
  ScratchDir dir;
  const std::string golden = source_dir() + "/tests/segstore/golden";
  std::filesystem::copy(golden, dir / "s", std::filesystem::copy_options::recursive);
  for (const bool writer : {false, true}) {
    Store store = must(writer ? Store::open(dir / "s", quick(dir)) : Store::open_reader(dir / "s"));
    CHECK(value_of(store, "colour") == "blue");
    CHECK(value_of(store, "batch/1") == "one");
    CHECK(value_of(store, "batch/2") == "two");
    CHECK_FALSE(value_of(store, "gone").has_value());
    CHECK(must(store.get("later")).expires_ms() == 4102444799996);
    CHECK(reinterpret_cast<uintptr_t>(must(store.get("aligned")).data()) % 64 == 0);
    CHECK(must(store.state()).keys == 5);
  }
  CHECK(must(verify_store(golden)).findings.empty());
}

TEST_CASE("the worked example of docs/segment_format.md is what the code writes") {
  segstore::NewRecord record;
  record.key = "colour";
  record.value_bytes = 4;
  record.value_crc = crc32c(0, "blue", 4);
  const segstore::EncodedHead head = segstore::encode_head(record, 64, 0, segstore::segment_salt({1, 2}, 3));
  std::string hex;
  for (const char c : head.bytes + "blue") {
    char two[4];
    snprintf(two, sizeof two, "%02x ", static_cast<unsigned char>(c));
    hex += two;
  }
  hex.pop_back();
  const std::string docs = read_file(source_dir() + "/docs/segment_format.md");
  INFO(hex);
  CHECK(docs.find(hex) != std::string::npos);
}

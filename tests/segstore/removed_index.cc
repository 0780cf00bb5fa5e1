// removed_index.cc - somebody cleans up in shared memory while a writer lives.
#include <atomic>
#include <filesystem>

#include "tests/segstore/support.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

// Index and ring, which tests have beside the store.
int remove_shared(const ScratchDir& dir) {
  int removed = 0;
  for (const auto& entry : fs::directory_iterator(dir.path()))
    if (entry.path().filename().string().rfind("spillway-store-", 0) == 0)
      removed += fs::remove(entry.path()) ? 1 : 0;
  return removed;
}

}  // namespace

TEST_CASE("a writer whose index is removed makes it anew: readers of before and after find all there is") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  for (int i = 0; i < 3000; ++i) must(store.put(key_of(i), "v" + std::to_string(i)));
  Store before = must(Store::open_reader(dir / "s"));
  CHECK(value_of(before, key_of(7)) == "v7");
  const Value held = must(before.get(key_of(8)));
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0};
  std::thread own_gets([&] {  // also of the writer's own process
    for (int i = 0; !stop; i = (i + 1) % 3000) {
      StoreResult<Value> value = store.get(key_of(i));
      if (!value.ok() || value->view() != "v" + std::to_string(i)) ++wrong;
    }
  });
  REQUIRE(remove_shared(dir) == 1);
  must(store.put("later", "l"));
  Store after = must(Store::open_reader(dir / "s"));
  for (int round = 0; round < 2; ++round) {
    for (Store* reader : {&before, &after}) {
      for (int i = 0; i < 3000; i += 11) CHECK(value_of(*reader, key_of(i)) == "v" + std::to_string(i));
      CHECK(value_of(*reader, "later") == "l");
      CHECK_FALSE(value_of(*reader, "none"));
    }
    // It is the one that the writer goes on with, also when it grows.
    for (int i = 0; i < 20'000; ++i) must(store.put("more-" + std::to_string(i), "m"));
    must(store.put("later", "l"));
    for (Store* reader : {&before, &after}) CHECK(value_of(*reader, "more-19999") == "m");
    must(store.compact());
  }
  stop = true;
  own_gets.join();
  CHECK(wrong == 0);
  CHECK(held.view() == "v8");
  CHECK(must(store.state()).index_file == must(after.state()).index_file);
  must(store.close());
  CHECK(remove_shared(dir) == 0);
  CHECK(must(verify_store(dir / "s")).findings.empty());
}

TEST_CASE("a writer whose ring is removed goes on serving others, those who had it and those who come") {
  ScratchDir dir;
  Store writer = must(Store::open_shared(dir / "s", small_segments(dir)));
  must(writer.put("by the writer", "1"));
  Shared<std::atomic<int>> step;
  const auto other = [&](const std::string& key, bool is_before) {
    return [&step, &dir, key, is_before] {
      Store store = must(Store::open_shared(dir / "s", small_segments(dir)));
      if (is_before) {
        must(store.put(key + " before", "1"));
        ++*step;
        if (!wait_until([&] { return *step == 2; })) return 2;
      }
      must(store.put(key, std::string(200'000, 'v')));
      return must(store.state()).writer_pid == static_cast<uint64_t>(::getppid()) ? 0 : 1;
    };
  };
  Child had(other("had it", true));
  REQUIRE(wait_until([&] { return *step == 1; }));
  REQUIRE(remove_shared(dir) == 2);
  ++*step;
  Child comes(other("comes", false));
  CHECK(had.wait() == 0);
  CHECK(comes.wait() == 0);
  CHECK(value_of(writer, "had it before") == "1");
  CHECK(must(writer.get("had it")).size() == 200'000);
  CHECK(must(writer.get("comes")).size() == 200'000);
  must(writer.close());
  CHECK(remove_shared(dir) == 0);
}

TEST_CASE("no write is lost or unknown because a ring was removed while it was under way") {
  ScratchDir dir;
  Store writer = must(Store::open_shared(dir / "s", small_segments(dir)));
  Shared<std::atomic<uint64_t>> made, stop;
  Child busy([&] {
    Store store = must(Store::open_shared(dir / "s", small_segments(dir)));
    PutOptions group;
    group.durability = Durability::kGroup;
    for (uint64_t n = 0; *stop == 0; ++n) {
      must(store.put("n", std::to_string(n), group));
      *made = n;
    }
    return 0;
  });
  REQUIRE(wait_until([&] { return *made > 10; }));
  for (int round = 0; round < 3; ++round) {
    CHECK(remove_shared(dir) > 0);
    const auto is_there_again = [&] {
      int files = 0;
      for (const auto& entry : fs::directory_iterator(dir.path()))
        files += entry.path().filename().string().rfind("spillway-store-", 0) == 0 ? 1 : 0;
      return files == 2;
    };
    REQUIRE(wait_until(is_there_again));
    const uint64_t seen = *made;
    CHECK(wait_until([&] { return *made > seen + 10; }));
  }
  *stop = 1;
  CHECK(busy.wait() == 0);
  CHECK(value_of(writer, "n") == std::to_string(*made));
}

// processes.cc - readers in other processes, killed and killing, and what they may see.
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "tests/segstore/support.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;

TEST_CASE("a get in another process that begins after a put has returned sees it") {
  ScratchDir dir;
  struct Talk {
    std::atomic<uint64_t> written, wrong, gets;
    std::atomic<bool> stop;
  };
  Shared<Talk> talk;
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  must(store.put("n", "0"));
  auto read = [&] {
    Store reader = must(Store::open_reader(dir / "s"));
    while (!talk->stop) {
      const uint64_t before = talk->written;
      const Value value = must(reader.get("n"));
      if (!value.found() || std::stoull(value.str().substr(0, value.str().find(' '))) < before) ++talk->wrong;
      ++talk->gets;
    }
    return 0;
  };
  Child one(read), two(read);
  uint64_t n = 0;
  while (talk->gets < 20'000 || n < 5000) {
    ++n;
    must(store.put("n", std::to_string(n) + " " + std::string(n % 900, '.')));
    talk->written = n;
    must(store.put(key_of(n % 3000), "makes the index grow and segments go"));
    if (n % 1000 == 0) must(store.compact());
  }
  talk->stop = true;
  CHECK(one.wait() == 0);
  CHECK(two.wait() == 0);
  CHECK(talk->wrong == 0);
}

TEST_CASE("readers go on while the writer is dead, keep what they hold, and meet the next writer") {
  ScratchDir dir;
  Shared<std::atomic<int>> step;
  Child writer([&] {
    auto store = Store::open(dir / "s", small_segments(dir));
    for (int i = 0; i < 500; ++i) (void)store->put(key_of(i), std::string(500, 'a'));
    *step = 1;
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(wait_until([&] { return *step == 1; }));
  Store reader = must(Store::open_reader(dir / "s"));
  const Value held = must(reader.get(key_of(3)));
  writer.kill();
  (void)writer.wait();
  for (int i = 0; i < 500; ++i) CHECK(must(reader.get(key_of(i))).size() == 500);
  Store late = must(Store::open_reader(dir / "s"));
  CHECK(must(late.get(key_of(499))).size() == 500);
  {
    Store next = must(Store::open(dir / "s", small_segments(dir)));
    for (int i = 0; i < 500; ++i) must(next.put(key_of(i), "new"));
    must(next.compact());
    for (Store* each : {&reader, &late}) CHECK(value_of(*each, key_of(3)) == "new");
    must(next.close());
  }
  CHECK(value_of(reader, key_of(4)) == "new");
  CHECK(held.view() == std::string(500, 'a'));
}

TEST_CASE("readers killed while they hold values block no reclamation") {
  ScratchDir dir;
  StoreOptions options = small_segments(dir);
  options.index_directory = "/dev/shm";
  Store store = must(Store::open(dir / "s", options));
  for (int i = 0; i < 500; ++i) must(store.put(key_of(i), std::string(1000, 'a')));
  must(store.sync());
  Shared<std::atomic<int>> holding;
  {
    std::vector<std::unique_ptr<Child>> readers;
    for (int r = 0; r < 4; ++r)
      readers.push_back(std::make_unique<Child>([&] {
        Store reader = must(Store::open_reader(dir / "s"));
        std::vector<Value> held;
        for (int i = 0; i < 500; ++i) held.push_back(must(reader.get(key_of(i))));
        ++*holding;
        for (;;) ::pause();
        return 0;
      }));
    REQUIRE(wait_until([&] { return *holding == 4; }));
    for (int i = 0; i < 500; ++i) must(store.put(key_of(i), std::string(1000, 'b')));
    must(store.compact());
    for (auto& reader : readers) reader->kill();
  }
  // Nothing of the dropped segments is open or mapped by anybody any more, also not by this process.
  auto deleted_segments = [&] {
    int count = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);)
      if (line.find(dir.path()) != std::string::npos && line.find("(deleted)") != std::string::npos) ++count;
    return count;
  };
  CHECK(wait_until([&] { return deleted_segments() == 0; }));
  const StoreState state = must(store.state());
  CHECK(state.disk_bytes <= 2 * state.live_bytes + 2 * options.segment_bytes);
}

TEST_CASE(
    "a writer, four readers, compaction, and kill -9 of any: every result was possible at some instant of "
    "its call") {
  // Per key: the writer notes the version it begins to write and the one that is done; a reader notes both
  // around each get. What it got must lie between what was done before and what had begun after, and be no
  // older than what any reader had got before: together that is linearizability of a key with one writer.
  constexpr int kKeys = 64;
  struct History {
    std::atomic<uint64_t> begun[kKeys], done[kKeys], seen[kKeys];
    std::atomic<uint64_t> wrong, gets;
    std::atomic<bool> stop;
  };
  ScratchDir dir;
  Shared<History> history;
  auto write = [&](uint64_t life) {
    auto store = Store::open(dir / "s", small_segments(dir));
    if (!store) return 1;
    std::mt19937_64 random(life);
    while (!history->stop) {
      const int k = static_cast<int>(random() % kKeys);
      const uint64_t version = history->begun[k] + 1;
      history->begun[k] = version;
      if (!store
               ->put(key_of(static_cast<uint64_t>(k)),
                     std::to_string(version) + " " + std::string(random() % 3000, 'x'))
               .ok())
        return 2;
      history->done[k] = version;
      if (random() % 3000 == 0 && !store->compact().ok()) return 3;
    }
    return store->close().ok() ? 0 : 4;
  };
  auto read = [&](uint64_t seed) {
    auto store = Store::open_reader(dir / "s");
    if (!store) return 1;
    std::mt19937_64 random(seed);
    std::vector<Value> held;
    while (!history->stop) {
      const int k = static_cast<int>(random() % kKeys);
      const uint64_t least = std::max<uint64_t>(history->done[k], history->seen[k]);
      auto got = store->get(key_of(static_cast<uint64_t>(k)));
      const uint64_t most = history->begun[k];
      if (!got.ok()) return 2;
      const uint64_t version = got->found() ? std::stoull(got->str()) : 0;
      if (version < least || version > most) ++history->wrong;
      for (uint64_t seen = history->seen[k]; seen < version;)
        if (history->seen[k].compare_exchange_weak(seen, version)) break;
      ++history->gets;
      if (random() % 50 == 0) held.push_back(std::move(*got));
      if (held.size() > 100) held.clear();
    }
    return 0;
  };
  { must(must(Store::open(dir / "s", small_segments(dir))).close()); }
  std::mt19937_64 random(5);
  auto writer = std::make_unique<Child>([&] { return write(0); });
  std::vector<std::unique_ptr<Child>> readers;
  for (uint64_t r = 0; r < 4; ++r) readers.push_back(std::make_unique<Child>([&, r] { return read(r); }));
  const char* soak = ::getenv("SPILLWAY_SOAK");
  const int kills = soak != nullptr ? 200 : 25;
  for (int n = 1; n <= kills; ++n) {
    ::usleep(static_cast<useconds_t>(20'000 + random() % 150'000));
    if (random() % 2 == 0) {
      writer->kill();
      REQUIRE(writer->wait() == 1000 + SIGKILL);
      writer = std::make_unique<Child>([&, n] { return write(static_cast<uint64_t>(n)); });
    } else {
      auto& victim = readers[random() % 4];
      victim->kill();
      REQUIRE(victim->wait() == 1000 + SIGKILL);
      victim = std::make_unique<Child>([&, n] { return read(static_cast<uint64_t>(n)); });
    }
  }
  history->stop = true;
  CHECK(writer->wait() == 0);
  for (auto& reader : readers) CHECK(reader->wait() == 0);
  CHECK(history->wrong == 0);
  CHECK(history->gets > 1000);
  Store store = must(Store::open(dir / "s", small_segments(dir)));
  for (int k = 0; k < kKeys; ++k) {
    const auto value = value_of(store, key_of(static_cast<uint64_t>(k)));
    const uint64_t version = value ? std::stoull(*value) : 0;
    CHECK(version >= history->done[k]);
    CHECK(version >= history->seen[k]);
    CHECK(version <= history->begun[k]);
  }
  must(store.close());
  CHECK(must(verify_store(dir / "s")).findings.empty());
}

// many_writers.cc - a reader that lives long meets one writer after the other, and costs no more for it.
#include <atomic>
#include <fstream>

#include "base/os/directory.h"
#include "libpool/segstore/control.h"
#include "tests/segstore/support.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;

namespace {

struct Addresses {
  uint64_t bytes = 0, mappings = 0;
};

Addresses addresses() {
  Addresses now;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line); ++now.mappings) {
    char* end = nullptr;
    const uint64_t from = std::strtoull(line.c_str(), &end, 16);
    now.bytes += std::strtoull(end + 1, nullptr, 16) - from;
  }
  return now;
}

}  // namespace

TEST_CASE("the addresses of a reader that meets many writers do not become more") {
  const bool meets_them_closed = GENERATE(false, true);
  INFO((meets_them_closed ? "it makes an index for itself each time" : "it maps each writer's index"));
  ScratchDir dir;
  must(must(Store::open(dir / "s", quick(dir))).close());
  Store reader = must(Store::open_reader(dir / "s"));
  Value held;
  Addresses early;
  for (int round = 0; round < 60; ++round) {
    Store writer = must(Store::open(dir / "s", quick(dir)));
    must(writer.put("n", std::to_string(round)));
    if (!meets_them_closed) CHECK(value_of(reader, "n") == std::to_string(round));
    must(writer.close());
    CHECK(value_of(reader, "n") == std::to_string(round));
    if (round == 0) held = must(reader.get("n"));
    if (round == 9) early = addresses();
  }
  const Addresses late = addresses();
  CHECK(late.bytes < early.bytes + (uint64_t{1} << 30));
  CHECK(late.mappings < early.mappings + 20);
  CHECK(held.view() == "0");
}

TEST_CASE("gets of many threads go on while one writer follows the other", "[threads]") {
  ScratchDir dir;
  constexpr uint64_t kKeys = 300;
  auto fill = [&](Store& store, uint64_t round) {
    Batch batch;
    for (uint64_t n = 0; n < kKeys; ++n) batch.put(key_of(n), key_of(n) + "=" + std::to_string(round));
    must(store.write(batch));
  };
  {
    Store first = must(Store::open(dir / "s", small_segments(dir)));
    fill(first, 0);
  }
  Store reader = must(Store::open_reader(dir / "s"));
  std::atomic<uint64_t> written{0}, gets{0};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread)
    threads.emplace_back([&, thread] {
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      Value held;
      std::string held_text;
      while (!stop) {
        const uint64_t n = random() % (kKeys + 1), before = written;
        StoreResult<Value> value = reader.get(key_of(n));
        ++gets;
        if (!value.ok() || value->found() != (n < kKeys)) {
          ++wrong;
          continue;
        }
        if (n == kKeys) continue;
        const std::string text = value->str(), expected = key_of(n) + "=";
        if (text.compare(0, expected.size(), expected) != 0 ||
            std::stoull(text.substr(expected.size())) < before || held.view() != held_text)
          ++wrong;
        if (random() % 64 == 0) {
          held = std::move(*value);
          held_text = text;
        }
      }
    });
  for (uint64_t round = 1; round <= 60; ++round) {
    Store writer = must(Store::open(dir / "s", small_segments(dir)));
    fill(writer, round);
    written = round;
    const uint64_t seen = gets;
    CHECK(wait_until([&] { return gets > seen + 300; }));
    if (round % 8 == 0) must(writer.compact());
    if (round % 2 == 0) must(writer.close());
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("a child that is forked while another thread waits for an index gets one itself") {
  ScratchDir dir;
  {
    Store first = must(Store::open(dir / "s", quick(dir)));
    must(first.put("k", "v"));
  }
  Store reader = must(Store::open_reader(dir / "s"));
  CHECK(value_of(reader, "k") == "v");
  // As a writer leaves it that has not made its index yet.
  os::Fd store = std::move(*os::open_directory((dir / "s").c_str(), false));
  os::Fd lock = std::move(*os::open_in(store.get(), "LOCK", os::OpenFor::kCreating));
  REQUIRE(os::lock_whole_file(lock.get()).ok());
  segstore::Control control = std::move(*segstore::Control::create(store.get()));
  control.write_index_path("index-none", control.generation() + 4);
  std::atomic<bool> has_begun{false}, has_got{false};
  std::thread waiting([&] {
    has_begun = true;
    StoreResult<Value> value = reader.get("k");
    has_got = value.ok() && value->view() == "v";
  });
  REQUIRE(wait_until([&] { return has_begun.load(); }));
  std::this_thread::sleep_for(
      std::chrono::milliseconds(30));  // if it has not come so far, there is less to see
  CHECK_FALSE(has_got);
  Shared<std::atomic<int>> begun;
  Child child([&] {
    ::alarm(20);
    lock.reset();  // the same open file as the parent's
    *begun = 1;
    return value_of(reader, "k") == "v" ? 0 : 1;
  });
  REQUIRE(wait_until([&] { return *begun == 1; }));
  lock.reset();
  CHECK(child.wait() == 0);
  waiting.join();
  CHECK(has_got);
}

// shared.cc - many processes that write: one makes the writes, the others hand them over, and any may die.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/os/futex.h"
#include "libpool/segstore/ring.h"
#include "libpool/segstore/ring_request.h"
#include "tests/segstore/crash.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;

namespace {

PutOptions with(Durability durability) {
  PutOptions options;
  options.durability = durability;
  return options;
}

// What a store tells of who writes.
uint64_t writer_of(const std::string& directory) {
  return must(must(Store::open_reader(directory)).state()).writer_pid;
}

}  // namespace

TEST_CASE("several processes write to one store, and each sees what any has written") {
  ScratchDir dir;
  Store store = must(Store::open_shared(dir / "s", small_segments(dir)));
  Child other([&] {
    Store mine = must(Store::open_shared(dir / "s", small_segments(dir)));
    must(mine.put("colour", "blue"));
    must(mine.put("", ""));
    must(mine.put("in pieces", std::string(200'000, 'p'), with(Durability::kGroup)));
    must(mine.put(std::string(65'536, 'k'), std::string(3'000'000, 'v'), with(Durability::kSync)));
    PutOptions aligned;
    aligned.alignment = 4096;
    must(mine.put("aligned", std::string("a\0b", 3), aligned));
    must(mine.put("twice", "1"));
    REQUIRE(must(mine.remove("twice")));
    REQUIRE_FALSE(must(mine.remove("twice")));
    REQUIRE(must(mine.compare_and_set("cas", std::nullopt, "one")));
    REQUIRE_FALSE(must(mine.compare_and_set("cas", std::nullopt, "two")));
    REQUIRE(must(mine.compare_and_set("cas", "one", "three")));
    const uint64_t sequence = must(mine.get("cas")).sequence();
    REQUIRE_FALSE(must(mine.put_if_sequence("cas", sequence + 1, "four")));
    REQUIRE(must(mine.put_if_sequence("cas", sequence, "four")));
    Batch batch;
    for (int i = 0; i < 300; ++i) batch.put("batch-" + std::to_string(i), std::string(100, 'b'));
    batch.remove("colour");
    batch.put("large in a batch", std::string(1'500'000, 'l'));
    const uint64_t last = must(mine.write(batch, Durability::kGroup));
    REQUIRE(mine.durable_sequence() >= last);
    must(mine.sync());
    must(mine.compact());
    REQUIRE(value_of(mine, "batch-299") == std::string(100, 'b'));
    must(mine.close());
    REQUIRE(mine.put("x", "y").status().code() == StoreCode::kClosed);
    return 0;
  });
  REQUIRE(other.wait() == 0);
  CHECK_FALSE(must(store.get("colour")).found());
  CHECK(value_of(store, "") == "");
  CHECK(value_of(store, "in pieces") == std::string(200'000, 'p'));
  CHECK(value_of(store, std::string(65'536, 'k')) == std::string(3'000'000, 'v'));
  CHECK(value_of(store, "aligned") == std::string("a\0b", 3));
  CHECK(reinterpret_cast<uintptr_t>(must(store.get("aligned")).data()) % 4096 == 0);
  CHECK(value_of(store, "cas") == "four");
  CHECK(value_of(store, "batch-0") == std::string(100, 'b'));
  CHECK(value_of(store, "large in a batch") == std::string(1'500'000, 'l'));
  CHECK(must(store.state()).writer_pid == static_cast<uint64_t>(::getpid()));
}

TEST_CASE("what cannot be is refused in the same words whoever writes") {
  ScratchDir dir;
  Store store = must(Store::open_shared(dir / "s", small_segments(dir)));
  Store through = must(Store::open_shared(dir / "s", small_segments(dir)));
  for (Store* each : {&store, &through}) {
    CHECK(each->put(std::string(65'537, 'k'), "v").status().code() == StoreCode::kInvalid);
    PutOptions odd;
    odd.alignment = 3;
    CHECK(each->put("k", "v", odd).status().code() == StoreCode::kInvalid);
    Batch batch;
    for (int i = 0; i < 80; ++i) batch.put(key_of(static_cast<uint64_t>(i)), std::string(1000, 'x'));
    CHECK_THAT(each->write(batch).status().message(), Catch::Contains("a segment has 65536"));
  }
  CHECK(all_of(through).empty());
}

TEST_CASE("a writer that has the store for itself and those who share it keep each other out") {
  ScratchDir dir;
  {
    Store alone = must(Store::open(dir / "s", small_segments(dir)));
    must(alone.put("a", "1"));
    const StoreStatus refused = Store::open_shared(dir / "s", small_segments(dir)).status();
    CHECK(refused.code() == StoreCode::kLocked);
    CHECK_THAT(refused.message(), Catch::Contains("process " + std::to_string(::getpid())));
    must(alone.close());
  }
  Store shared = must(Store::open_shared(dir / "s", small_segments(dir)));
  CHECK(Store::open(dir / "s", small_segments(dir)).status().code() == StoreCode::kLocked);
  must(shared.close());
  CHECK(must(Store::open(dir / "s", small_segments(dir))).get("a")->str() == "1");
}

TEST_CASE("when the writer closes or dies, another takes its place at its next write") {
  ScratchDir dir;
  Shared<std::atomic<int>> step;
  Child first([&] {
    Store mine = must(Store::open_shared(dir / "s", small_segments(dir)));
    must(mine.put("by the first", "1"));
    *step = 1;
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(wait_until([&] { return *step == 1; }));
  Store store = must(Store::open_shared(dir / "s", small_segments(dir)));
  Store third = must(Store::open_shared(dir / "s", small_segments(dir)));
  must(store.put("through the first", "2"));
  CHECK(writer_of(dir / "s") == static_cast<uint64_t>(first.pid()));
  first.kill();
  REQUIRE(first.wait() == 1000 + SIGKILL);
  CHECK(value_of(third, "through the first") == "2");
  must(store.put("by ourselves", "3"));
  CHECK(writer_of(dir / "s") == static_cast<uint64_t>(::getpid()));
  must(third.put("through the second", "4", with(Durability::kGroup)));
  must(store.close());
  must(third.put("by the third", "5"));
  CHECK(all_of(third) == Pairs{{"by the first", "1"},
                               {"through the first", "2"},
                               {"by ourselves", "3"},
                               {"through the second", "4"},
                               {"by the third", "5"}});
  must(third.close());
  CHECK(must(verify_store(dir / "s")).findings.empty());
  // Nothing of the rings is left; the index is in this directory, too, while somebody has it.
  for (const auto& entry : std::filesystem::directory_iterator(dir.path()))
    CHECK(entry.path().filename() == "s");
}

TEST_CASE("a write that waits while the writer ends is made by the next", "[threads]") {
  ScratchDir dir;
  Store store = must(Store::open_shared(dir / "s", small_segments(dir)));
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> made{0}, failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      auto mine = Store::open_shared(dir / "s", small_segments(dir));
      for (uint64_t i = 0; mine && !stop; ++i) {
        const Durability durability = i % 8 == 0 ? Durability::kGroup : Durability::kAsync;
        auto put = mine->put(key_of(static_cast<uint64_t>(t)), std::to_string(i), with(durability));
        ++(put ? made : failed);
      }
      if (!mine) ++failed;
    });
  for (int turn = 0; turn < 6; ++turn) {
    const uint64_t before = made;
    CHECK(wait_until([&] { return made > before + 200; }));
    must(store.close());
    store = must(Store::open_shared(dir / "s", small_segments(dir)));
    must(store.put("turn", std::to_string(turn)));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
  CHECK(value_of(store, "turn") == "5");
}

TEST_CASE("clients killed in the middle of writing leave no slot taken") {
  ScratchDir dir;
  Store store = must(Store::open_shared(dir / "s", small_segments(dir)));
  for (uint32_t n = 0; n < segstore::kRingSlots + 20; ++n) {
    Shared<std::atomic<int>> begun;
    Child client([&] {
      Store mine = must(Store::open_shared(dir / "s", small_segments(dir)));
      for (uint64_t i = 0;; ++i) {
        *begun = 1;
        must(mine.put(key_of(n), std::string(i % 3 == 0 ? 100'000 : 10, 'x')));
      }
      return 0;
    });
    REQUIRE(wait_until([&] { return *begun == 1; }));
    client.kill();
    REQUIRE(client.wait() == 1000 + SIGKILL);
  }
  Store last = must(Store::open_shared(dir / "s", small_segments(dir)));
  must(last.put("at last", "1"));
  CHECK(value_of(store, "at last") == "1");
}

TEST_CASE("the writer killed at each step of serving: what was answered is there, what was not is told") {
  for (const char* step :
       {"ring:announce", "ring:taken", "append", "point", "ring:made", "flush", "ring:answer"})
    for (int count = 0; count < 3; ++count) {
      INFO(step << " " << count);
      class KilledAt : public segstore::Files {
       public:
        KilledAt(std::string name, int count) : name_(std::move(name)), left_(count) {}
        void step(const char* now) override {
          if (name_ == now && left_-- == 0) ::kill(::getpid(), SIGKILL);
        }

       private:
        std::string name_;
        std::atomic<int> left_;
      };
      ScratchDir dir("/dev/shm");
      Shared<std::atomic<int>> up;
      Child writer([&] {
        KilledAt files(step, count);
        auto mine = StoreAccess::open_shared(dir / "s", small_segments(dir), files);
        *up = 1;
        for (;;) ::pause();
        return mine.ok() ? 0 : 1;
      });
      REQUIRE(wait_until([&] {
        if (*up == 1) return true;
        siginfo_t info{};
        return ::waitid(P_PID, static_cast<id_t>(writer.pid()), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               info.si_pid != 0;
      }));
      Store mine = must(Store::open_shared(dir / "s", small_segments(dir)));
      int unknown = 0;
      for (int i = 0; i < 8; ++i) {
        const std::string value = std::to_string(i);
        auto put = mine.put("k", value, with(i % 2 == 0 ? Durability::kGroup : Durability::kAsync));
        if (put) {
          REQUIRE(value_of(mine, "k") == value);
          if (i % 2 == 0) REQUIRE(mine.durable_sequence() >= *put);
        } else {
          REQUIRE(put.status().code() == StoreCode::kUnknown);
          ++unknown;
          const auto is = value_of(mine, "k");
          REQUIRE((is == value || (i == 0 ? !is : is == std::to_string(i - 1))));
        }
      }
      CHECK(unknown <= 1);  // the writer died once
      CHECK(value_of(mine, "k") == "7");
    }
}

TEST_CASE("four processes write, each other's death notwithstanding: counters count every increment once") {
  // Each increments one common counter by compare-and-set on its sequence number, and its own keys. `sure`
  // are those it was told of; `perhaps` those whose answer died with a writer.
  struct History {
    std::atomic<uint64_t> sure, perhaps, done[4], begun[4], wrong;
    std::atomic<bool> stop;
  };
  ScratchDir dir;
  Shared<History> history;
  { must(must(Store::open_shared(dir / "s", small_segments(dir))).put("n", "0")); }
  auto run = [&](uint64_t who) {
    auto store = Store::open_shared(dir / "s", small_segments(dir));
    if (!store) return 1;
    const std::string own = key_of(who);
    while (!history->stop) {
      auto now = store->get("n");
      if (!now || !now->found()) return 2;
      const std::string next = std::to_string(std::stoull(now->str()) + 1);
      ++history->perhaps;  // before: it may die, or we, from here on
      auto put = store->put_if_sequence("n", now->sequence(), next);
      if (put) --history->perhaps;
      if (put && *put) ++history->sure;
      if (!put && put.status().code() != StoreCode::kUnknown) return 3;
      const uint64_t version = history->begun[who] + 1;
      history->begun[who] = version;
      auto own_put = store->put(own, std::to_string(version),
                                with(version % 16 == 0 ? Durability::kGroup : Durability::kAsync));
      if (!own_put && own_put.status().code() != StoreCode::kUnknown) return 4;
      if (own_put) history->done[who] = version;
      auto is = store->get(own);
      if (!is || !is->found()) return 5;
      const uint64_t seen = std::stoull(is->str());
      if (seen > version || seen < history->done[who]) ++history->wrong;
    }
    return store->close().ok() ? 0 : 6;
  };
  std::vector<std::unique_ptr<Child>> all;
  for (uint64_t who = 0; who < 4; ++who)
    all.push_back(std::make_unique<Child>([&, who] { return run(who); }));
  std::mt19937_64 random(7);
  const int kills = ::getenv("SPILLWAY_SOAK") != nullptr ? 200 : 20;
  for (int n = 0; n < kills; ++n) {
    const uint64_t before = history->sure;
    REQUIRE(wait_until([&] { return history->sure > before + 20 + random() % 100; }));
    const uint64_t who = random() % 4;
    all[who]->kill();
    REQUIRE(all[who]->wait() == 1000 + SIGKILL);
    all[who] = std::make_unique<Child>([&, who] { return run(who); });
  }
  history->stop = true;
  for (auto& child : all) CHECK(child->wait() == 0);
  CHECK(history->wrong == 0);
  Store store = must(Store::open_shared(dir / "s", small_segments(dir)));
  const uint64_t counted = std::stoull(*value_of(store, "n"));
  CHECK(counted >= history->sure);
  CHECK(counted <= history->sure + history->perhaps);
  for (uint64_t who = 0; who < 4; ++who) {
    const uint64_t version = std::stoull(value_of(store, key_of(who)).value_or("0"));
    CHECK(version >= history->done[who]);
    CHECK(version <= history->begun[who]);
  }
  must(store.close());
  CHECK(must(verify_store(dir / "s")).findings.empty());
}

TEST_CASE("after a flush that failed those who share a store go on with a new writer") {
  class OnceBroken : public segstore::Files {
   public:
    std::atomic<bool> fails{false};
    Errno flush(int fd) override { return fails.exchange(false) ? Errno(EIO) : Files::flush(fd); }
  };
  ScratchDir dir;
  OnceBroken files;
  Store store = must(StoreAccess::open_shared(dir / "s", small_segments(dir), files));
  Store through = must(Store::open_shared(dir / "s", small_segments(dir)));
  must(through.put("before", "1", with(Durability::kGroup)));
  files.fails = true;
  CHECK(through.put("during", "2", with(Durability::kGroup)).status().code() == StoreCode::kIo);
  must(store.put("after", "3", with(Durability::kGroup)));
  must(through.put("and through it", "4", with(Durability::kGroup)));
  CHECK(value_of(through, "before") == "1");
  CHECK(value_of(through, "after") == "3");
  CHECK(value_of(store, "and through it") == "4");
}

TEST_CASE("a request cut short or scrambled is no request, and harms nobody") {
  Batch batch;
  batch.put("key", "value");
  batch.remove("other");
  const segstore::Condition condition{std::optional<std::string_view>("expected"), 7};
  for (const auto& request : {segstore::request_for_put("key", "value", {}, Durability::kGroup, condition),
                              segstore::request_for_remove("key", Durability::kSync, {}),
                              segstore::request_for_batch(batch, Durability::kAsync),
                              segstore::request_for(segstore::Wanted::kSync)}) {
    std::string bytes;
    for (const std::string_view piece : request.pieces) bytes += piece;
    REQUIRE(segstore::read_request(bytes));
    for (size_t cut = 0; cut < bytes.size(); ++cut)
      CHECK_FALSE(segstore::read_request(std::string_view(bytes).substr(0, cut)));
    std::mt19937_64 random(3);
    for (int n = 0; n < 2000; ++n) {
      std::string wrong = bytes;
      for (int i = 0; i < 4; ++i) wrong[random() % wrong.size()] = static_cast<char>(random());
      (void)segstore::read_request(wrong);  // whatever it says, it reads no byte that is not there
    }
  }
  ScratchDir dir;
  Store store = must(Store::open_shared(dir / "s", small_segments(dir)));
  const int directory = ::open((dir / "s").c_str(), O_RDONLY | O_DIRECTORY);
  {
    segstore::Control control = std::move(*segstore::Control::open(directory));
    std::string path;
    uint64_t generation = 0;
    REQUIRE(control.read_ring_path(path, generation));
    segstore::Ring ring = std::move(*segstore::Ring::attach(directory, path));
    std::mt19937_64 random(4);
    for (int n = 0; n < 300; ++n) {
      const auto number = static_cast<uint32_t>(n) % segstore::kRingSlots;
      if (n < static_cast<int>(segstore::kRingSlots)) REQUIRE(ring.take(number).ok());
      segstore::RingSlot& slot = ring.slot(number);
      for (size_t i = 0; i < 200; ++i) ring.piece(number)[i] = static_cast<char>(random());
      slot.bytes = n % 2 == 0 ? static_cast<uint32_t>(random() % 200) : static_cast<uint32_t>(random());
      slot.is_first = slot.is_last = 1;
      slot.state = segstore::SlotState::kSubmitted;
      ring.header().submitted[number / 64] |= uint64_t{1} << (number % 64);
      ++ring.header().bell;
      os::wake_all_shared(&ring.header().bell);
      REQUIRE(wait_until([&] { return slot.state == segstore::SlotState::kDone; }));
      CHECK(static_cast<StoreCode>(slot.code) == StoreCode::kInvalid);
      slot.state = segstore::SlotState::kFree;
    }
  }
  ::close(directory);
  Store through = must(Store::open_shared(dir / "s", small_segments(dir)));
  must(through.put("k", "v"));
  CHECK(value_of(store, "k") == "v");
}

TEST_CASE("a forked child cannot write through what its parent shares") {
  ScratchDir dir;
  Store store = must(Store::open_shared(dir / "s", small_segments(dir)));
  must(store.put("k", "parent"));
  Child child([&] {
    if (store.put("k", "child").status().code() != StoreCode::kForked) return 1;
    Store own = must(Store::open_shared(dir / "s", small_segments(dir)));
    must(own.put("k", "child"));
    return 0;
  });
  CHECK(child.wait() == 0);
  CHECK(value_of(store, "k") == "child");
  must(store.put("k", "parent again"));
}

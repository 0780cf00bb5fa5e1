// crashes.cc - the writer is killed at each step, calls fail, the power is cut. Seeded: SPILLWAY_SOAK=100
// tries a hundred times as many.
#include "tests/segstore/crash.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;

TEST_CASE(
    "the writer killed at any step of put, seal, compaction and recovery loses nothing it acknowledged") {
  struct Progress {
    std::atomic<uint64_t> begun, done, is_open;
  };
  for (uint64_t seed = 0; seed < seeds(40); ++seed) {
    ScratchDir dir("/dev/shm");
    const StoreOptions options = small_segments(dir);
    Shared<Progress> progress;
    std::mt19937_64 random(seed);
    bool killed = true;
    // Killed again and again, each time a little further on; also while it recovers.
    for (int life = 0; life < 4 && killed; ++life) {
      const int steps = static_cast<int>(random() % (life % 2 == 1 ? 8 : 160));
      Child writer([&] {
        FaultyFiles files;
        files.kill_at_step = steps;
        auto store = StoreAccess::open(dir / "s", options, files);
        if (!store) return 2;
        while (progress->done < 60) {
          progress->begun = progress->done + 1;
          if (!Operation::of(seed, progress->done).apply(*store).ok()) return 3;
          progress->done = progress->begun.load();
        }
        return 0;
      });
      const int status = writer.wait();
      killed = status == 1000 + SIGKILL;
      INFO("seed " << seed << " life " << life << " status " << status);
      REQUIRE((killed || status == 0));
    }
    Pairs model;
    for (uint64_t n = 0; n < progress->done; ++n) Operation::of(seed, n).apply(model);
    Pairs with_last = model;
    if (progress->begun > progress->done) Operation::of(seed, progress->done).apply(with_last);
    Store store = must(Store::open(dir / "s", options));
    const Pairs now = all_of(store);
    INFO("seed " << seed << ", " << progress->done << " operations: " << difference(now, model));
    // The one under way is there or not. Of lives before, an operation begun twice is the same operation.
    REQUIRE((now == model || now == with_last));
    for (const auto& [key, value] : now) REQUIRE(value_of(store, key) == value);
    must(store.close());
    const auto report = must(verify_store(dir / "s"));
    for (const auto& finding : report.findings)
      UNSCOPED_INFO(finding.file << " at " << finding.offset << ": " << finding.what);
    REQUIRE(report.findings.empty());
  }
}

TEST_CASE("killed at each labelled step, when it first comes and later, the writer has lost nothing") {
  // Some steps only a recovery takes: then a life before leaves what there is to mend and to remove.
  class KilledAtStep : public segstore::Files {
   public:
    KilledAtStep(std::string label, int occurrence) : label_(std::move(label)), left_(occurrence) {}
    void step(const char* name) override {
      if (name == label_ && left_-- == 0) ::kill(::getpid(), SIGKILL);
    }
    std::string boot_id() override { return boot; }
    std::string boot = "a boot";

   private:
    const std::string label_;
    std::atomic<int> left_;
  };
  constexpr uint64_t kSeed = 3;
  const char* const labels[] = {"append",
                                "batch",
                                "close",
                                "compact:create",
                                "compact:footer",
                                "compact:write",
                                "compact:repoint",
                                "compact:manifest",
                                "compact:unlink",
                                "flush",
                                "point",
                                "recover:mend",
                                "recover:manifest",
                                "recover:unlink",
                                "recover:switch",
                                "rotate",
                                "seal",
                                "solo:header"};
  std::mt19937_64 random(kSeed);
  struct Progress {
    std::atomic<uint64_t> begun, done;
  };
  for (const std::string label : labels)
    for (uint64_t round = 0; round < seeds(2); ++round) {
      ScratchDir dir("/dev/shm");
      const StoreOptions options = small_segments(dir);
      Shared<Progress> progress;
      const bool recovers = label.compare(0, 8, "recover:") == 0;
      const int occurrence = round == 0 || recovers ? 0 : static_cast<int>(random() % 6);
      bool killed = false;
      for (int life = recovers ? 0 : 1; life < 2; ++life) {
        Child writer([&] {
          KilledAtStep files(life == 0 ? "solo:header" : label, life == 0 ? 3 : occurrence);
          if (life == 0) files.boot = "the boot before";
          auto store = StoreAccess::open(dir / "s", options, files);
          if (!store) return 2;
          while (progress->done < 100) {
            progress->begun = progress->done + 1;
            if (!Operation::of(kSeed, progress->done).apply(*store).ok()) return 3;
            progress->done = progress->begun.load();
          }
          return store->close().ok() ? 0 : 4;
        });
        const int status = writer.wait();
        INFO(label << " " << occurrence << " life " << life << " status " << status);
        killed = status == 1000 + SIGKILL;
        REQUIRE((killed || status == 0));
      }
      INFO(label << " " << occurrence << ", " << progress->done << " operations");
      CHECK((killed || occurrence > 0));  // else the step is not taken any more
      Pairs model;
      for (uint64_t n = 0; n < progress->done; ++n) Operation::of(kSeed, n).apply(model);
      Pairs with_last = model;
      if (progress->begun > progress->done) Operation::of(kSeed, progress->done).apply(with_last);
      KilledAtStep files("", 0);
      Store store = must(StoreAccess::open(dir / "s", options, files));
      const Pairs now = all_of(store);
      INFO(difference(now, model));
      REQUIRE((now == model || now == with_last));
      must(store.close());
      REQUIRE(must(verify_store(dir / "s")).findings.empty());
    }
}

TEST_CASE("every call that can fail fails once: errors are told, nothing else is touched, the rest goes on") {
  for (uint64_t seed = 0; seed < seeds(60); ++seed) {
    ScratchDir dir("/dev/shm");
    StoreOptions options = small_segments(dir);
    options.auto_compact = false;
    std::map<std::string, std::set<std::optional<std::string>>> possible;
    {
      FaultyFiles files;
      files.fail_at = static_cast<int>(seed * 7 % 130);
      // Each call with both errors: 130 and 2 have a divisor in common.
      files.error = (seed + seed / 130) % 2 == 0 ? ENOSPC : EIO;
      files.fail_from_then_on = seed % 5 == 4;
      auto store = StoreAccess::open(dir / "s", options, files);
      if (!store) {
        CHECK((store.status().code() == StoreCode::kNoSpace || store.status().code() == StoreCode::kIo));
        CHECK_FALSE(store.status().message().empty());
        continue;
      }
      for (uint64_t n = 0; n < 60; ++n) {
        const Operation op = Operation::of(seed, n);
        const StoreStatus status = op.apply(*store);
        for (const auto& [key, value] : op.puts) {
          if (status.ok()) possible[key].clear();
          possible[key].insert(value);
          if (!status.ok() && possible[key].size() == 1) possible[key].insert(std::nullopt);
        }
        for (const auto& key : op.removes) {
          if (status.ok()) possible[key].clear();
          possible[key].insert(std::nullopt);
        }
        for (const auto& [key, values] : possible) {
          INFO("seed " << seed << " operation " << n << " " << key << ": " << status.message());
          REQUIRE(values.contains(value_of(*store, key)));
        }
      }
      (void)store->close();
    }
    Store store = must(Store::open(dir / "s", options));
    for (const auto& [key, values] : possible) {
      const auto is = value_of(store, key);
      std::string may;
      for (const auto& value : values) may += value ? value->substr(0, value->find(':')) + " " : "absent ";
      INFO("seed " << seed << " " << key << " is " << (is ? is->substr(0, is->find(':')) : "absent")
                   << ", may be " << may);
      REQUIRE(values.contains(value_of(store, key)));
    }
    must(store.put("and on", "it goes"));
    must(store.compact());
    for (const auto& [key, values] : possible) REQUIRE(values.contains(value_of(store, key)));
  }
}

TEST_CASE("writers that wait for the device share its flushes, and each learns when one fails", "[threads]") {
  class SlowDisk : public segstore::Files {
   public:
    std::atomic<int> flushes{0};
    std::atomic<bool> is_broken{false};
    Errno flush(int) override {
      ++flushes;
      ::usleep(2000);
      return is_broken ? Errno(EIO) : Errno{};
    }
  };
  ScratchDir dir("/dev/shm");
  SlowDisk files;
  Store store = must(StoreAccess::open(dir / "s", quick(dir), files));
  constexpr int kWriters = 8, kPuts = 40;
  PutOptions group;
  group.durability = Durability::kGroup;
  files.flushes = 0;
  std::atomic<int> not_durable{0}, done{0}, failed{0};
  auto run = [&](auto&& body) {
    std::vector<std::thread> threads;
    for (int t = 0; t < kWriters; ++t) threads.emplace_back([&, t] { body(t); });
    for (std::thread& thread : threads) thread.join();
  };
  run([&](int t) {
    for (int i = 0; i < kPuts; ++i) {
      auto sequence = store.put(key_of(static_cast<uint64_t>(t * kPuts + i)), "x", group);
      if (!sequence || store.durable_sequence() < *sequence) ++not_durable;
    }
  });
  CHECK(not_durable == 0);
  CHECK(files.flushes <= kWriters * kPuts / 2);
  run([&](int t) {
    for (;;) {
      const StoreStatus status = store.put(key_of(static_cast<uint64_t>(t)), "y", group).status();
      if (++done == kWriters * 4) files.is_broken = true;
      if (status.ok()) continue;
      if (status.code() == StoreCode::kIo) ++failed;
      return;
    }
  });
  CHECK(failed == kWriters);
}

TEST_CASE("a flush that fails for one that waits is no success for another, and closing tells of it") {
  // The kernel tells of a lost page once: to whichever flush of the file comes first.
  class ForgetfulDisk : public segstore::Files {
   public:
    std::atomic<int> groups{0}, failures{-1};
    Errno flush(int) override {
      if (failures < 0) return {};
      if (groups.fetch_add(1) == 0) {  // the group's, under way while the other one fails
        (void)wait_until([&] { return failures != 0; });
        return {};
      }
      ++failures;
      return Errno(EIO);
    }
  };
  ScratchDir dir("/dev/shm");
  ForgetfulDisk files;
  StoreOptions options = quick(dir);
  options.auto_compact = false;
  Store store = must(StoreAccess::open(dir / "s", options, files));
  must(store.put("a", "1"));
  files.failures = 0;
  StoreStatus waited;
  std::thread group([&] { waited = store.sync(); });
  REQUIRE(wait_until([&] { return files.groups != 0; }));
  PutOptions by_itself;
  by_itself.durability = Durability::kSync;
  CHECK(store.put("b", "2", by_itself).status().code() == StoreCode::kIo);
  group.join();
  CHECK(waited.code() == StoreCode::kIo);
  CHECK(store.durable_sequence() == 0);
  CHECK(store.close().code() == StoreCode::kIo);
}

TEST_CASE("a large value that waits for its flush is not taken for a dead one", "[threads]") {
  class SlowFlush : public segstore::Files {
   public:
    std::atomic<bool> is_compacting{false}, is_flushing{false}, is_looked_at{false}, is_on{false},
        is_behind{false};
    std::atomic<int> dropped{0};
    void step(const char* name) override {
      if (!is_on || is_mine()) return;
      if (name == std::string("seal")) (void)wait_until([&] { return is_behind.load(); });
      if (name == std::string("compact:unlink") && !is_compacting.exchange(true))
        (void)wait_until([&] { return is_flushing.load(); });
      if (name == std::string("compact:manifest") && is_flushing) is_looked_at = true;
    }
    Errno flush(int) override {
      if (is_on && is_mine() && !is_flushing.exchange(true))
        for (int i = 0; i < 500 && !is_looked_at; ++i) ::usleep(1000);
      return {};
    }

   private:
    bool is_mine() const { return std::this_thread::get_id() == main_; }
    const std::thread::id main_ = std::this_thread::get_id();
  };
  ScratchDir dir("/dev/shm");
  SlowFlush files;
  Store store = must(StoreAccess::open(dir / "s", small_segments(dir), files));
  must(store.put("begin", std::string(15'000, 'b')));
  files.is_on = true;
  // Six tenths of each segment live, so that each is compacted by itself, one after the other.
  for (uint64_t i = 0; i < 4'000; ++i)
    must(store.put(i % 10 < 6 ? key_of(i) : "dead" + key_of(i % 10), std::string(6'000, 'v')));
  files.is_behind = true;
  REQUIRE(wait_until([&] { return files.is_compacting.load(); }));
  PutOptions by_itself;
  by_itself.durability = Durability::kSync;
  must(store.put("large", std::string(17'000, 'l'), by_itself));
  must(store.compact());
  CHECK(value_of(store, "large") == std::string(17'000, 'l'));
  for (const SegmentStatus& segment : must(store.state()).segments) CHECK(!segment.is_damaged);
  must(store.close());
  CHECK(value_of(must(Store::open(dir / "s", small_segments(dir))), "large") == std::string(17'000, 'l'));
}

TEST_CASE("when a store is closed nothing of it is under way any more", "[threads]") {
  class WatchedFiles : public segstore::Files {
   public:
    std::atomic<const char*> wanted{""};
    std::atomic<bool> is_under_way{false}, is_closed{false};
    std::atomic<int> too_late{0};
    void step(const char* name) override { look(name); }
    Errno write(int fd, const os::Piece* pieces, int count, uint64_t offset) override {
      look(pieces[0].bytes >= 1 << 20 ? "large" : "small");
      return Files::write(fd, pieces, count, offset);
    }
    Errno unlink(int d, const char* name) override {
      look("unlink");
      return Files::unlink(d, name);
    }

   private:
    void look(const std::string& now) {
      if (is_closed) ++too_late;
      if (now != wanted.load() || is_under_way.exchange(true)) return;
      for (int i = 0; i < 200 && !is_closed; ++i) ::usleep(1000);  // closing must wait for us
    }
  };
  for (const char* step : {"compact:create", "compact:manifest", "large"}) {
    INFO(step);
    ScratchDir dir("/dev/shm");
    WatchedFiles files;
    StoreOptions options = small_segments(dir);
    options.auto_compact = false;
    Store store = must(StoreAccess::open(dir / "s", options, files));
    for (int i = 0; i < 500; ++i)
      must(store.put(key_of(static_cast<uint64_t>(i % 200)), std::string(900, 'v')));
    files.wanted = step;
    StoreStatus status;
    std::thread busy([&] {
      status = step == std::string("large") ? store.put("large", std::string(20 << 20, 'l')).status()
                                            : store.compact();
    });
    REQUIRE(wait_until([&] { return files.is_under_way.load(); }));
    must(store.close());
    files.is_closed = true;
    busy.join();
    CHECK((status.ok() || status.code() == StoreCode::kClosed));
    CHECK(files.too_late == 0);
    store = must(Store::open(dir / "s", options));
    CHECK(must(store.state()).keys >= 200);
    CHECK(must(verify_store(dir / "s")).findings.empty());
  }
}

TEST_CASE("after a power cut durable writes are there, and of the others those before some moment") {
  for (uint64_t seed = 0; seed < seeds(40); ++seed) {
    ScratchDir dir("/dev/shm");
    StoreOptions options = small_segments(dir);
    std::mt19937_64 random(seed);
    const uint64_t length = 5 + random() % 60;
    std::vector<Pairs> states(1);
    uint64_t durable = 0;
    bool has_compacted = false;
    {
      PowerFiles files(dir / "s");
      Store store = must(StoreAccess::open(dir / "s", options, files));
      for (uint64_t n = 0; n < length; ++n) {
        const Operation op = Operation::of(seed, n);
        must(op.apply(store));
        has_compacted = has_compacted || op.kind == Operation::kCompact;
        states.push_back(states.back());
        op.apply(states.back());
        // Only a write that was made flushes; a batch of removes that find nothing is none.
        if (op.makes_all_durable() && (op.kind == Operation::kSync || states[n] != states[n + 1]))
          durable = n + 1;
      }
      files.cut_power(dir / "t", random);
    }
    AfterReboot files;
    auto opened = StoreAccess::open(dir / "t", options, files);
    INFO("seed " << seed << ", " << length << " operations, durable " << durable << ": "
                 << opened.status().message());
    REQUIRE(opened.ok());
    const Pairs now = all_of(*opened);
    const bool is_a_moment =
        std::find(states.begin() + static_cast<ptrdiff_t>(durable), states.end(), now) != states.end();
    UNSCOPED_INFO(difference(now, states.back()));
    if (!is_a_moment)
      for (size_t i = 0; i < states.size(); ++i)
        if (states[i] == now) UNSCOPED_INFO("it is the state after " << i);
    REQUIRE(is_a_moment);
    // It can be written to, killed and recovered again, and what was cut off stays cut off.
    must(opened->put("afterwards", "x"));
    must(opened->close());
    std::filesystem::remove(dir / "t/CONTROL");
    Store again = must(Store::open(dir / "t", options));
    Pairs expected = now;
    expected["afterwards"] = "x";
    REQUIRE(all_of(again) == expected);
    const auto report = must(verify_store(dir / "t"));
    for (const auto& finding : report.findings)
      UNSCOPED_INFO(finding.file << " at " << finding.offset << ": " << finding.what);
    // A large value that a compaction has removed leaves a number that may be missing where a footer is torn.
    REQUIRE((report.findings.empty() || has_compacted));
  }
}

TEST_CASE(
    "on a full disk puts fail, the rest is intact, removes and compaction make room, and puts work again") {
  class FullDisk : public segstore::Files {
   public:
    std::atomic<int64_t> room{700 << 10};
    Result<os::Fd> create(int d, const char* name, uint64_t bytes) override {
      if (static_cast<int64_t>(bytes) > room) return Errno(ENOSPC);
      auto fd = Files::create(d, name, bytes);
      if (fd) room -= static_cast<int64_t>(bytes);
      return fd;
    }
    Errno unlink(int d, const char* name) override {
      struct stat st {};
      const bool there = ::fstatat(d, name, &st, 0) == 0;
      const Errno e = Files::unlink(d, name);
      if (there && e.ok()) room += st.st_size;
      return e;
    }
  };
  ScratchDir dir;
  StoreOptions options = small_segments(dir);
  FullDisk files;
  Store store = must(StoreAccess::open(dir / "s", options, files));
  StoreStatus status;
  int put = 0;
  for (; put < 2000 && status.ok(); ++put) status = store.put(key_of(put), std::string(2000, 'x')).status();
  --put;
  REQUIRE(status.code() == StoreCode::kNoSpace);
  REQUIRE(put > 50);
  for (int i = 0; i < put; ++i) CHECK(must(store.get(key_of(i))).size() == 2000);
  for (int i = 0; i < put; ++i)
    if (i % 8 != 0) CHECK(must(store.remove(key_of(i))));
  must(store.compact());
  for (int i = 0; i < 20; ++i) must(store.put("again-" + std::to_string(i), std::string(2000, 'y')));
  for (int i = 0; i < put; ++i) CHECK(must(store.get(key_of(i))).found() == (i % 8 == 0));
}

// torn.cc - the writer dies in the middle of a write of any kind: what was not whole leaves no trace.
#include "tests/segstore/torn.h"

using namespace spillway;
using namespace spillway::test;

TEST_CASE(
    "the writer killed in the middle of any write leaves no damage, and loses nothing it acknowledged") {
  struct Progress {
    std::atomic<uint64_t> begun, done;
  };
  for (uint64_t seed = 0; seed < seeds(150); ++seed) {
    ScratchDir dir("/dev/shm");
    const StoreOptions options = small_segments(dir);
    Shared<Progress> progress;
    std::mt19937_64 random(seed);
    bool killed = true;
    // Also in the writes of recoveries, of which the first few of a life are.
    for (int life = 0; life < 4 && killed; ++life) {
      const int write = static_cast<int>(random() % (life % 2 == 1 ? 6 : 120));
      const uint64_t part = random();
      Child writer([&] {
        KilledInWrite files(write, part);
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
    REQUIRE((now == model || now == with_last));
    for (const auto& [key, value] : now) REQUIRE(value_of(store, key) == value);
    must(store.close());
    REQUIRE(findings_of(dir / "s") == "");
  }
}

TEST_CASE("a footer that was half written does not make its segment a damaged one") {
  for (uint64_t part = 0; part < 12; ++part) {
    ScratchDir dir("/dev/shm");
    StoreOptions options = small_segments(dir);
    Child writer([&] {
      KilledInWrite files(static_cast<int>(part % 2), part * 41, "seal");
      auto store = StoreAccess::open(dir / "s", options, files);
      if (!store) return 2;
      for (uint64_t n = 0;; ++n)
        if (!store->put(key_of(n), std::string(100, 'v')).ok()) return 3;
    });
    REQUIRE(writer.wait() == 1000 + SIGKILL);
    Store store = must(Store::open(dir / "s", options));
    CHECK(findings_of(dir / "s") == "");
    must(store.close());
    CHECK(findings_of(dir / "s") == "");
  }
}

TEST_CASE("copies that a compaction did not finish are gone with it") {
  for (uint64_t part = 0; part < 12; ++part) {
    ScratchDir dir("/dev/shm");
    StoreOptions options = small_segments(dir);
    options.auto_compact = false;
    Child writer([&] {
      // In the records, the footer's body, the footer.
      KilledInWrite files(static_cast<int>(part % 3), part * 1001, "compact:write");
      auto store = StoreAccess::open(dir / "s", options, files);
      if (!store) return 2;
      for (uint64_t n = 0; n < 60; ++n)
        if (!store->put(key_of(n % 40), std::string(500, 'v')).ok()) return 3;
      (void)store->compact();
      return 4;
    });
    INFO(part);
    REQUIRE(writer.wait() == 1000 + SIGKILL);
    Store store = must(Store::open(dir / "s", options));
    CHECK(all_of(store).size() == 40);
    CHECK(findings_of(dir / "s") == "");
    std::set<uint64_t> sequences;
    for (const Placed& record : records_of(dir / "s"))
      CHECK((record.key.empty() || sequences.insert(record.sequence).second));
  }
}

TEST_CASE("the power cut in the middle of a compaction costs nothing and leaves no damage") {
  class CutAtFlush : public PowerFiles {
   public:
    CutAtFlush(const std::string& from, std::string to, uint64_t seed)
        : PowerFiles(from), to_(std::move(to)), random_(seed), left_(static_cast<int>(seed % 4)) {}
    void step(const char* name) override {
      if (std::string(name) == "compact:write") is_armed_ = true;
    }
    Errno flush(int fd) override {
      if (is_armed_ && left_-- == 0) cut_power(to_, random_);
      return PowerFiles::flush(fd);
    }

   private:
    const std::string to_;
    std::mt19937_64 random_;
    int left_;
    bool is_armed_ = false;
  };
  for (uint64_t seed = 0; seed < seeds(40); ++seed) {
    ScratchDir dir("/dev/shm");
    StoreOptions options = small_segments(dir);
    options.auto_compact = false;
    Pairs model;
    {
      CutAtFlush files(dir / "s", dir / "t", seed);
      Store store = must(StoreAccess::open(dir / "s", options, files));
      for (uint64_t n = 0; n < 60; ++n) {
        model[key_of(n % 40)] = std::to_string(n) + std::string(900, 'v');
        must(store.put(key_of(n % 40), model[key_of(n % 40)]));
      }
      must(store.sync());
      must(store.compact());
    }
    INFO("seed " << seed);
    if (!std::filesystem::exists(dir / "t")) continue;  // so many flushes there are not
    AfterReboot files;
    Store store = must(StoreAccess::open(dir / "t", options, files));
    CHECK(all_of(store) == model);
    CHECK(findings_of(dir / "t") == "");
  }
}

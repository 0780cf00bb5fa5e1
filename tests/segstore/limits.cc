// limits.cc - a process that has run out of files or of room in a segment: told, and nothing is taken for
// absent.
#include <sys/resource.h>

#include <thread>

#include "tests/segstore/support.h"

using namespace spillway;
using namespace spillway::test;

// Not with the undefined behaviour sanitizer: to look at a pointer to a virtual table it opens a pipe, and
// where it cannot it says that the table is invalid.
#ifndef __SANITIZE_ADDRESS__
TEST_CASE("a writer that can open no more files takes no key for absent") {
  ScratchDir dir;
  {
    Store store = must(Store::open(dir / "s", small_segments(dir)));
    for (int i = 0; i < 400; ++i) must(store.put(key_of(i), std::string(1000, 'a')));
    must(store.close());
  }
  StoreOptions options = small_segments(dir);
  options.auto_compact = false;
  Store store = must(Store::open(dir / "s", options));
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  std::vector<int> taken;
  rlimit few = before;
  few.rlim_cur = std::min<rlim_t>(before.rlim_cur, 64);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  for (int fd; (fd = ::open("/dev/null", O_RDONLY)) >= 0;) taken.push_back(fd);
  const StoreStatus put = store.put(key_of(7), "b").status();
  const StoreStatus removed = store.remove(key_of(8)).status();
  const StoreStatus swapped = store.compare_and_set(key_of(9), std::nullopt, "b").status();
  Batch batch;
  batch.put(key_of(10), "b");
  batch.remove(key_of(11));
  const StoreStatus written = store.write(batch).status();
  for (const int fd : taken) ::close(fd);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  for (const StoreStatus& status : {put, removed, swapped, written}) {
    INFO(status.message());
    CHECK(status.code() == StoreCode::kIo);
    CHECK(status.os_error() == EMFILE);
  }
  CHECK(must(store.state()).keys == 400);
  for (const int i : {7, 8, 9, 10, 11}) {
    CHECK(value_of(store, key_of(i)) == std::string(1000, 'a'));
    must(store.put(key_of(i), "c"));
    CHECK(value_of(store, key_of(i)) == "c");
    CHECK(must(store.remove(key_of(i))));
    CHECK(value_of(store, key_of(i)) == std::nullopt);
  }
}
#endif

TEST_CASE("a store has more files than a process may open") {
  ScratchDir dir;
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit few = before;
  few.rlim_cur = std::min<rlim_t>(before.rlim_cur, 400);
  const StoreOptions options = small_segments(dir);
  constexpr int kValues = 600;  // each a file of its own
  Child child([&] {
    if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 1;
    auto store = Store::open(dir / "s", options);
    for (int i = 0; i < kValues; ++i)
      if (!store->put(key_of(i), std::string(17 << 10, 'v'))) return 2;
    ::kill(::getpid(), SIGKILL);
    return 3;
  });
  CHECK(child.wait() == 1000 + SIGKILL);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  {
    const auto reader = Store::open_reader(dir / "s");
    const auto writer = Store::open(dir / "s", options);
    for (const auto* store : {&reader, &writer}) {
      INFO(store->status().message());
      CHECK(store->ok());
      for (int i = 0; store->ok() && i < kValues; ++i)
        CHECK(value_of(*const_cast<StoreResult<Store>&>(*store), key_of(i)) == std::string(17 << 10, 'v'));
    }
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("a batch that a segment has room for but for its footer is refused, or fits") {
  for (const uint64_t value_bytes : {1, 20, 480, 488, 500, 512, 700, 2000})
    for (const bool expires : {false, true}) {
      ScratchDir dir;
      Store store = must(Store::open(dir / "s", small_segments(dir)));
      PutOptions options;
      if (expires) options.ttl = std::chrono::hours(1);
      const uint64_t least = 20 + 5 + value_bytes;
      bool was_refused = false;
      for (uint64_t count = (40 << 10) / least; !was_refused; ++count) {
        Batch batch;
        for (uint64_t i = 0; i < count; ++i)
          batch.put(std::to_string(10000 + i), std::string(value_bytes, 'v'), options);
        const StoreStatus status = store.write(batch).status();
        was_refused = status.code() == StoreCode::kInvalid;
        if (!was_refused) must(status);
        if (count % 16 == 0) must(store.compact());
      }
      must(store.compact());
      must(store.close());
      CHECK(must(verify_store(dir / "s")).findings.empty());
      for (const SegmentStatus& segment : must(must(Store::open_reader(dir / "s")).state()).segments)
        CHECK(!segment.is_damaged);
    }
}

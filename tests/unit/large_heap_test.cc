// large_heap_test.cc - large blocks through the heap's face, over both backings.
#include "libpreload/large.h"

#include <cerrno>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/os/memory.h"
#include "libpreload/stats.h"
#include "tests/unit/heap_fixture.h"
#include "tests/unit/in_child.h"

#include "tests/support/catch.h"

using namespace spillway;
using test::BackingChoice;
using test::Block;
using test::HeapFixture;

namespace {

const char* const kBackingNames[] = {"file", "plain"};
BackingChoice choice(const std::string& name) {
  return name == "file" ? BackingChoice::kFile : BackingChoice::kPlain;
}

LargeHeap::FileExtent file_extent(PageRange extent) {
  os::Locked locked(large_heap.lock());
  return large_heap.file_extent(extent);
}

}  // namespace

TEST_CASE("a block is on its alignment, as large as asked, and all zeroes when it is new") {
  for (const char* backing : kBackingNames) {
    HeapFixture heap(choice(backing));
    for (uint64_t alignment : {kExtentBytes, 64 * kMiB}) {
      Block block(5 * kMiB + 1, alignment);
      REQUIRE(block.data() != nullptr);
      CHECK(reinterpret_cast<uint64_t>(block.data()) % alignment == 0);
      CHECK(block.region().committed == 5 * kMiB + kPageBytes);
      CHECK(block.region().chunk->backing->name() == std::string(backing));
      CHECK(test::is_zero(block.data(), block.region().committed));
    }
  }
}

TEST_CASE("a block is found by its start as a block, and by what lies in it as being around") {
  HeapFixture heap(BackingChoice::kPlain);
  Block block(3 * kMiB);
  char* const p = block.data();
  CHECK(LargeHeap::block_at(p) != nullptr);
  CHECK(LargeHeap::block_at(p + 1) == nullptr);
  CHECK(LargeHeap::block_at(p + kExtentBytes) == nullptr);
  CHECK(LargeHeap::block_around(p + 3 * kMiB - 1) == LargeHeap::block_at(p));
  block.free();
  CHECK(LargeHeap::block_at(p) == nullptr);
  CHECK(LargeHeap::block_around(p + 1) == nullptr);
}

TEST_CASE("a request that no machine can meet is ENOMEM, any other leaves errno alone") {
  HeapFixture heap(BackingChoice::kPlain);
  errno = 0;
  CHECK(large_heap.allocate(UINT64_MAX - 100, kExtentBytes, false) == nullptr);
  CHECK(errno == ENOMEM);
  errno = 0;
  CHECK(large_heap.allocate(4 * kMiB, uint64_t{1} << 60, false) == nullptr);
  CHECK(errno == ENOMEM);
  errno = ERANGE;
  {
    Block block(4 * kMiB);
    CHECK(block.grow_or_shrink(8 * kMiB));
  }
  CHECK(errno == ERANGE);
}

TEST_CASE("a block that cannot grow as far as asked is untouched") {
  for (const char* backing : kBackingNames) {
    HeapFixture heap(choice(backing));
    Block block(4 * kMiB);
    test::stamp(block.data(), 4 * kMiB, 1);
    errno = 0;
    CHECK_FALSE(block.grow_or_shrink(UINT64_MAX - 100));
    CHECK_FALSE(block.move(UINT64_MAX - 100));
    CHECK(errno == ENOMEM);
    CHECK(block.region().committed == 4 * kMiB);
    CHECK(test::has_stamp(block.data(), 4 * kMiB, 1));
  }
}

TEST_CASE("a freed block's pages are the next block's, and zero if that is asked for") {
  for (const char* backing : kBackingNames) {
    HeapFixture heap(choice(backing));
    Block keeps_the_chunk(2 * kMiB);
    Block first(6 * kMiB);
    char* const at = first.data();
    test::stamp(at, 6 * kMiB, 2);
    first.free();
    Block second(6 * kMiB);
    CHECK(second.data() == at);
    CHECK(test::has_stamp(at, 6 * kMiB, 2));  // the same pages: nothing was spent on them
    second.free();
    Block third(6 * kMiB, kExtentBytes, /*zeroed=*/true);
    CHECK(third.data() == at);
    CHECK(test::is_zero(at, 6 * kMiB));
  }
}

TEST_CASE("trimming gives back what freed blocks kept, once") {
  for (const char* backing : kBackingNames) {
    HeapFixture heap(choice(backing));
    Block keeps_the_chunk(2 * kMiB);
    Block block(6 * kMiB);
    test::stamp(block.data(), 6 * kMiB, 3);
    block.free();
    CHECK(large_heap.trim());
    CHECK_FALSE(large_heap.trim());
    Block again(6 * kMiB);
    CHECK(test::is_zero(again.data(), 6 * kMiB));
  }
}

TEST_CASE("a block grows in place while the space behind it is free") {
  for (const char* backing : kBackingNames) {
    HeapFixture heap(choice(backing));
    Block block(4 * kMiB);
    test::stamp(block.data(), 4 * kMiB, 4);
    REQUIRE(block.grow_or_shrink(5 * kMiB + 12345));
    REQUIRE(block.grow_or_shrink(33 * kMiB));
    CHECK(test::has_stamp(block.data(), 4 * kMiB, 4));
    test::stamp(block.data(), 33 * kMiB, 5);
    CHECK(test::has_stamp(block.data(), 33 * kMiB, 5));
  }
}

TEST_CASE("a block does not grow into its neighbour but moves, and then has room to grow") {
  for (const char* backing : kBackingNames) {
    HeapFixture heap(choice(backing));
    Block block(4 * kMiB);
    Block neighbour(4 * kMiB);
    test::stamp(block.data(), 4 * kMiB, 6);
    char* const before = block.data();
    REQUIRE(neighbour.data() == before + 4 * kMiB);
    CHECK_FALSE(block.grow_or_shrink(8 * kMiB));
    REQUIRE(block.move(8 * kMiB));
    CHECK(block.data() != before);
    CHECK(LargeHeap::block_at(before) == nullptr);
    Block another(4 * kMiB);
    CHECK(block.grow_or_shrink(16 * kMiB));
    CHECK(test::has_stamp(block.data(), 4 * kMiB, 6));
  }
}

TEST_CASE("a block of less than a granule grows in it, and moves with its bytes when it outgrows it") {
  HeapFixture heap(BackingChoice::kFile);
  Block block(64 * kKiB);
  test::stamp(block.data(), 64 * kKiB, 7);
  REQUIRE(block.grow_or_shrink(kMiB));
  CHECK(test::is_zero(block.data() + 64 * kKiB, kMiB - 64 * kKiB));
  CHECK_FALSE(block.grow_or_shrink(3 * kMiB));
  REQUIRE(block.move(3 * kMiB));
  CHECK(test::has_stamp(block.data(), 64 * kKiB, 7));
}

TEST_CASE("a block that shrinks gives back whole granules and keeps the rest of its bytes") {
  for (const char* backing : kBackingNames) {
    HeapFixture heap(choice(backing));
    Block block(20 * kMiB);
    test::stamp(block.data(), 20 * kMiB, 7);
    REQUIRE(block.grow_or_shrink(5 * kMiB));
    CHECK(block.region().span.bytes == 6 * kMiB);
    CHECK(test::has_stamp(block.data(), 5 * kMiB, 7));
    CHECK(LargeHeap::block_around(block.data() + 6 * kMiB) == nullptr);
    REQUIRE(block.grow_or_shrink(20 * kMiB));
    CHECK(test::has_stamp(block.data(), 5 * kMiB, 7));
  }
}

TEST_CASE("after a block grew, shrank and was freed, nothing of it is counted as managed") {
  for (const char* backing : kBackingNames) {
    HeapFixture heap(choice(backing));
    const uint64_t before = stats.managed_bytes();
    Block block(10 * kMiB);
    CHECK(stats.managed_bytes() == before + 10 * kMiB);
    REQUIRE(block.grow_or_shrink(17 * kMiB + kPageBytes));
    CHECK(stats.managed_bytes() == before + 17 * kMiB + kPageBytes);
    REQUIRE(block.grow_or_shrink(3 * kMiB));
    CHECK(stats.managed_bytes() == before + block.region().committed);
    block.free();
    CHECK(stats.managed_bytes() == before);
  }
}

TEST_CASE("discarded pages read as zeroes and their neighbours stay") {
  for (const char* backing : kBackingNames) {
    for (const bool holes : {true, false}) {
      HeapFixture heap(choice(backing));
      test::Set<bool> masked(settings.masked.punch, !holes);
      Block block(8 * kMiB);
      test::stamp(block.data(), 8 * kMiB, 8);
      const PageRange range{block.data() + kMiB, 3 * kMiB};  // over a border of granules
      REQUIRE(large_heap.discard(block.region(), range).ok());
      CHECK(test::is_zero(range.base, range.bytes));
      CHECK(test::has_stamp(block.data(), kMiB, 8));
      CHECK_FALSE(test::is_zero(range.end(), kPageBytes));
      test::stamp(block.data(), 8 * kMiB, 9);
      CHECK(test::has_stamp(block.data(), 8 * kMiB, 9));
    }
  }
}

TEST_CASE("a block of which the program unmapped a part leaves nothing of that to the next") {
  for (const char* backing : kBackingNames) {
    HeapFixture heap(choice(backing));
    Block keeps_the_chunk(2 * kMiB);
    Block block(6 * kMiB);
    REQUIRE(large_heap.withdraw(block.region(), {block.data() + kPageBytes, 3 * kMiB}).ok());
    block.free();
    Block next(6 * kMiB);
    test::stamp(next.data(), 6 * kMiB, 10);  // a page that is still gone would end the process
    CHECK(test::has_stamp(next.data(), 6 * kMiB, 10));
  }
}

TEST_CASE("freed blocks keep no more than an eighth of the limit") {
  HeapFixture heap(BackingChoice::kPlain);
  test::Set<uint64_t, std::atomic<uint64_t>> limit(settings.limit_bytes, 64 * kMiB);
  Block keeps_the_chunk(2 * kMiB);
  Block a(6 * kMiB), between(2 * kMiB), b(6 * kMiB);
  test::stamp(a.data(), 6 * kMiB, 11);
  test::stamp(b.data(), 6 * kMiB, 12);
  a.free();
  b.free();  // 12 MiB: the older one goes
  Block first(6 * kMiB);
  CHECK(test::has_stamp(first.data(), 6 * kMiB, 12));
  Block second(6 * kMiB);
  CHECK(test::is_zero(second.data(), 6 * kMiB));
}

TEST_CASE("a program that closes all descriptors gets blocks on, and keeps the ones it has") {
  HeapFixture heap(BackingChoice::kFile);
  Block before(4 * kMiB);
  test::stamp(before.data(), 4 * kMiB, 13);
  const int file = large_heap.any_file();
  REQUIRE(file >= 0);
  close(file);
  CHECK(large_heap.any_file() == -1);  // none is left to be asked about read-ahead
  Block after(4 * kMiB);
  REQUIRE(after.data() != nullptr);
  CHECK(after.region().chunk != before.region().chunk);
  test::stamp(after.data(), 4 * kMiB, 14);
  CHECK(test::has_stamp(before.data(), 4 * kMiB, 13));
}

TEST_CASE("another directory is used from the next block on") {
  HeapFixture heap(BackingChoice::kFile);
  Block before(4 * kMiB);
  test::ScratchDir other;
  REQUIRE(region_directory.change(other.path().c_str()).ok());
  large_heap.retire_chunks();
  Block after(4 * kMiB);
  REQUIRE(after.data() != nullptr);
  char target[4096] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(after.region().chunk->fd);
  REQUIRE(readlink(link.c_str(), target, sizeof target - 1) > 0);
  CHECK(std::string(target).starts_with(other.path()));
  CHECK(after.region().chunk != before.region().chunk);
}

TEST_CASE("a block too large for the limit of files is in memory, in words") {
  HeapFixture heap(BackingChoice::kFile);
  test::SoftLimit small(RLIMIT_FSIZE, 8 * kMiB);
  test::CaughtStderr caught;
  Block block(16 * kMiB);
  REQUIRE(block.data() != nullptr);
  CHECK(block.region().chunk->backing->name() == std::string("plain"));
  CHECK(caught.text().find("ulimit -f") != std::string::npos);
  Block smaller(4 * kMiB);
  CHECK(smaller.region().chunk->backing->name() == std::string("file"));
}

TEST_CASE("without a directory for files blocks are in memory, until another directory is named") {
  HeapFixture heap(BackingChoice::kFile);
  test::CaughtStderr caught;
  {
    test::ScratchDir gone;
    REQUIRE(region_directory.change(gone.path().c_str()).ok());
  }
  Block block(4 * kMiB);
  REQUIRE(block.data() != nullptr);
  CHECK(block.region().chunk->backing->name() == std::string("plain"));
  CHECK(caught.text().find("stay in memory") != std::string::npos);
  REQUIRE(region_directory.change(heap.directory.path().c_str()).ok());
  large_heap.retire_chunks();
  Block in_file(4 * kMiB);
  CHECK(in_file.region().chunk->backing->name() == std::string("file"));
}

TEST_CASE("a block that is freed twice ends the process in words") {
  if (!test::kForkIsFine) return;
  CHECK(test::dies_saying("was freed twice", [] {
    HeapFixture heap(BackingChoice::kPlain);
    Block block(4 * kMiB);
    Region& region = block.region();
    large_heap.release(region);
    large_heap.release(region);
  }));
}

TEST_CASE("the pacer sees the extents of blocks in files in the order of addresses, and no others") {
  HeapFixture heap(BackingChoice::kFile);
  Block a(6 * kMiB), b(4 * kMiB);
  Block freed(4 * kMiB);
  freed.free();
  test::Set<BackingChoice> plain(settings.backing, BackingChoice::kPlain);
  Block in_memory(8 * kMiB);
  std::vector<char*> expected;
  for (Block* block : {&a, &b})
    for (char* g = block->data(); g < block->region().span.end(); g += kExtentBytes) expected.push_back(g);
  std::sort(expected.begin(), expected.end());
  std::vector<char*> seen;
  for (PageRange e = large_heap.next_own_extent(nullptr); !e.empty();
       e = large_heap.next_own_extent(e.end())) {
    CHECK(e.bytes == kExtentBytes);
    seen.push_back(e.base);
  }
  CHECK(seen == expected);
  CHECK(large_heap.next_snapshot_extent(nullptr).empty());
}

TEST_CASE("an extent that is let go of keeps its bytes, one of a freed block cannot be") {
  HeapFixture heap(BackingChoice::kFile);
  Block block(4 * kMiB);
  test::stamp(block.data(), 4 * kMiB, 15);
  const PageRange extent{block.data(), kExtentBytes};
  CHECK(large_heap.let_go(extent));
  const LargeHeap::FileExtent at = file_extent(extent);
  os::start_writeback(at.fd, at.offset, extent.bytes);
  os::drop_from_cache(at.fd, at.offset, extent.bytes);
  unsigned char cached[kExtentBytes / kPageBytes];
  REQUIRE(os::cached_pages(extent, cached).ok());
  CHECK((cached[0] & 1) == 0);
  CHECK(test::has_stamp(block.data(), 4 * kMiB, 15));
  block.free();
  CHECK_FALSE(large_heap.let_go(extent));
  CHECK(file_extent(extent).fd == -1);
}

namespace {

// One thread's life: allocates, resizes, discards and frees, and looks at every byte it once wrote.
class RandomUser {
 public:
  explicit RandomUser(unsigned seed) : random_(seed) {}
  ~RandomUser() {
    while (!blocks_.empty()) forget(0);
  }

  // Empty: all was well.
  std::string run(int steps) {
    for (int step = 0; step < steps && wrong_.empty(); ++step) {
      const unsigned what = random_() % 8;
      if (blocks_.empty() || (what < 3 && blocks_.size() < 6))
        add();
      else if (what < 5)
        resize(random_() % blocks_.size());
      else if (what < 6)
        discard(random_() % blocks_.size());
      else
        forget(random_() % blocks_.size());
    }
    while (!blocks_.empty()) forget(0);
    return wrong_;
  }

 private:
  struct Used {
    char* data;
    uint64_t bytes;
    uint64_t seed;
  };
  uint64_t some_bytes() { return kExtentBytes / 2 + random_() % (6 * kMiB); }
  void check(bool fine, const char* what) {
    if (!fine && wrong_.empty()) wrong_ = what;
  }
  void rewrite(Used& block) {
    block.seed = random_();
    test::stamp(block.data, block.bytes, block.seed);
  }
  void add() {
    const bool zeroed = random_() % 3 == 0;
    const uint64_t alignment = random_() % 4 == 0 ? 8 * kMiB : kExtentBytes;
    Used block{nullptr, some_bytes(), 0};
    block.data = static_cast<char*>(large_heap.allocate(block.bytes, alignment, zeroed));
    check(block.data != nullptr, "no block");
    if (block.data == nullptr) return;
    check(reinterpret_cast<uint64_t>(block.data) % alignment == 0, "not on its alignment");
    check(LargeHeap::block_at(block.data)->committed >= block.bytes, "not as large as asked");
    check(!zeroed || test::is_zero(block.data, block.bytes), "not zeroed");
    rewrite(block);
    blocks_.push_back(block);
  }
  void resize(size_t i) {
    Used& block = blocks_[i];
    const uint64_t bytes = some_bytes();
    Region& region = *LargeHeap::block_at(block.data);
    if (!large_heap.resize_in_place(region, bytes)) {
      block.data = static_cast<char*>(large_heap.move(region, bytes));
      check(block.data != nullptr, "could not move");
    }
    check(test::has_stamp(block.data, std::min(bytes, block.bytes), block.seed), "lost by resizing");
    block.bytes = bytes;
    rewrite(block);
  }
  void discard(size_t i) {
    Used& block = blocks_[i];
    const uint64_t pages = block.bytes / kPageBytes, first = random_() % pages;
    const PageRange range{block.data + first * kPageBytes, (1 + random_() % (pages - first)) * kPageBytes};
    check(large_heap.discard(*LargeHeap::block_at(block.data), range).ok(), "could not discard");
    check(test::is_zero(range.base, range.bytes), "discarded and not zero");
    check(test::has_stamp(block.data, first * kPageBytes, block.seed), "lost by discarding");
    rewrite(block);
  }
  void forget(size_t i) {
    const Used block = blocks_[i];
    check(test::has_stamp(block.data, block.bytes, block.seed), "overwritten by somebody");
    large_heap.release(*LargeHeap::block_at(block.data));
    blocks_.erase(blocks_.begin() + static_cast<long>(i));
  }

  std::mt19937 random_;
  std::vector<Used> blocks_;
  std::string wrong_;
};

void require_random_users_content(unsigned seed, int threads, int steps) {
  std::vector<std::string> wrong(static_cast<size_t>(threads));
  std::vector<std::thread> running;
  for (size_t t = 0; t < wrong.size(); ++t)
    running.emplace_back([&, t] { wrong[t] = RandomUser(seed + static_cast<unsigned>(t)).run(steps); });
  for (auto& r : running) r.join();
  for (const std::string& w : wrong) REQUIRE(w == "");
}

}  // namespace

TEST_CASE("random blocks of several threads keep their bytes, in memory") {
  HeapFixture heap(BackingChoice::kPlain);
  require_random_users_content(100, 4, 150);
}

TEST_CASE("random blocks of several threads keep their bytes, in files") {
  HeapFixture heap(BackingChoice::kFile);
  require_random_users_content(200, 4, 150);
}

TEST_CASE("random blocks keep their bytes on a file system with neither holes nor fallocate nor O_TMPFILE") {
  HeapFixture heap(BackingChoice::kFile);
  test::Set<bool> holes(settings.masked.punch, true), fallocate(settings.masked.fallocate, true),
      tmpfile(settings.masked.tmpfile, true);
  require_random_users_content(300, 2, 60);
}

TEST_CASE("random blocks keep their bytes while somebody trims and looks for extents") {
  HeapFixture heap(BackingChoice::kFile);
  std::atomic<bool> done = false;
  std::thread pacer([&] {
    char* hand = nullptr;
    for (int round = 0; !done; ++round) {
      const PageRange extent = large_heap.next_own_extent(hand);
      hand = extent.empty() ? nullptr : extent.end();
      if (!extent.empty()) large_heap.let_go(extent);
      if (round % 16 == 0) large_heap.trim();
      large_heap.for_each_block([](Region& region) { region.advice.load(); });
    }
  });
  require_random_users_content(400, 2, 60);
  done = true;
  pacer.join();
}

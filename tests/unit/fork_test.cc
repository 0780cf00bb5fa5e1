// fork_test.cc - blocks in files across a fork, and their way back to files afterwards.
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "base/os/procfs.h"
#include "libpreload/backing/rehome.h"
#include "libpreload/large.h"
#include "libpreload/stats.h"
#include "tests/support/wait.h"
#include "tests/unit/heap_fixture.h"
#include "tests/unit/in_child.h"

#include "tests/support/catch.h"

using namespace spillway;
using test::BackingChoice;
using test::Block;
using test::HeapFixture;

namespace {

// A fork as the library's handlers make it. The child answers with its exit code, 0: all was well.
template <typename Body>
pid_t fork_with_heap(Body child) {
  large_heap.before_fork();
  const pid_t pid = fork();
  if (pid == 0) {
    large_heap.after_fork_in_child(/*may_start_threads=*/true);
    _exit(child());
  }
  large_heap.after_fork_in_parent();
  return pid;
}

bool went_well(pid_t child) {
  const test::Ended ended = test::wait_for(child);
  return ended.exit_code == 0;
}

// Lets a child wait until the parent has done something.
class Gate {
 public:
  Gate() { REQUIRE(pipe(ends_) == 0); }
  ~Gate() {
    for (int end : ends_) close(end);
  }
  void open() { REQUIRE(write(ends_[1], "x", 1) == 1); }
  void wait() {
    char c;
    if (read(ends_[0], &c, 1) != 1) _exit(99);
  }

 private:
  int ends_[2];
};

struct ForkModeIs {
  explicit ForkModeIs(ForkMode mode) { settings.fork_mode = mode; }
  ~ForkModeIs() { settings.fork_mode = ForkMode::kSnapshot; }
};

}  // namespace

TEST_CASE("after a fork neither process sees what the other writes") {
  if (!test::kForkIsFine) return;
  for (const ForkMode mode : {ForkMode::kSnapshot, ForkMode::kDuplicate}) {
    HeapFixture heap(BackingChoice::kFile);
    ForkModeIs is(mode);
    Block block(6 * kMiB);
    test::stamp(block.data(), 6 * kMiB, 1);
    Gate parent_wrote;
    const pid_t child = fork_with_heap([&] {
      parent_wrote.wait();
      if (!test::has_stamp(block.data(), 6 * kMiB, 1)) return 1;
      test::stamp(block.data(), 6 * kMiB, 2);
      return test::has_stamp(block.data(), 6 * kMiB, 2) ? 0 : 2;
    });
    test::stamp(block.data(), 3 * kMiB, 3);
    parent_wrote.open();
    CHECK(went_well(child));
    CHECK(test::has_stamp(block.data(), 3 * kMiB, 3));
  }
}

TEST_CASE("in shared mode both processes write to one block") {
  if (!test::kForkIsFine) return;
  HeapFixture heap(BackingChoice::kFile);
  ForkModeIs shared(ForkMode::kShared);
  Block block(4 * kMiB);
  test::stamp(block.data(), 4 * kMiB, 4);
  CHECK(went_well(fork_with_heap([&] {
    if (!test::has_stamp(block.data(), 4 * kMiB, 4)) return 1;
    test::stamp(block.data(), 4 * kMiB, 5);
    return 0;
  })));
  CHECK(test::has_stamp(block.data(), 4 * kMiB, 5));
}

TEST_CASE("after a fork both processes allocate, grow, shrink and free on") {
  if (!test::kForkIsFine) return;
  const auto use = [](Block& old) {
    if (!test::has_stamp(old.data(), 5 * kMiB, 6)) return 1;
    if (!old.grow_or_shrink(9 * kMiB) && !old.move(9 * kMiB)) return 2;
    if (!test::has_stamp(old.data(), 5 * kMiB, 6)) return 3;
    test::stamp(old.data(), 9 * kMiB, 7);
    Block fresh(4 * kMiB, kExtentBytes, /*zeroed=*/true);
    if (fresh.data() == nullptr || !test::is_zero(fresh.data(), 4 * kMiB)) return 4;
    test::stamp(fresh.data(), 4 * kMiB, 8);
    if (!old.grow_or_shrink(3 * kMiB) || !test::has_stamp(old.data(), 3 * kMiB, 7)) return 5;
    return test::has_stamp(fresh.data(), 4 * kMiB, 8) ? 0 : 6;
  };
  for (const bool holes : {true, false}) {
    HeapFixture heap(BackingChoice::kFile);
    test::Set<bool> masked(settings.masked.punch, !holes);
    Block block(5 * kMiB);
    test::stamp(block.data(), 5 * kMiB, 6);
    const pid_t child = fork_with_heap([&] { return use(block); });
    CHECK(use(block) == 0);
    CHECK(went_well(child));
  }
}

TEST_CASE("what freed blocks kept before a fork is not handed out unmapped after it") {
  if (!test::kForkIsFine) return;
  for (const bool holes : {true, false}) {
    HeapFixture heap(BackingChoice::kFile);
    test::Set<bool> masked(settings.masked.punch, !holes);
    Block a(4 * kMiB), between(2 * kMiB), b(4 * kMiB), last(2 * kMiB);
    test::stamp(a.data(), 4 * kMiB, 9);
    a.free();
    b.free();
    const auto use = [] {
      Block one(4 * kMiB), two(4 * kMiB, kExtentBytes, true);
      if (!test::is_zero(two.data(), 4 * kMiB)) return 1;
      test::stamp(one.data(), 4 * kMiB, 10);
      test::stamp(two.data(), 4 * kMiB, 11);
      return test::has_stamp(one.data(), 4 * kMiB, 10) ? 0 : 2;
    };
    CHECK(went_well(fork_with_heap(use)));
    CHECK(test::in_child(use).exit_code == 0);
  }
}

TEST_CASE("a block that is half a snapshot and half its own is recycled whole") {
  if (!test::kForkIsFine) return;
  for (const bool holes : {true, false}) {
    const test::Ended ended = test::in_child([&] {
      HeapFixture heap(BackingChoice::kFile);
      test::Set<bool> masked(settings.masked.punch, !holes);
      Block keeps_the_chunk(2 * kMiB);
      Block block(4 * kMiB);
      if (!went_well(fork_with_heap([] { return 0; }))) return 1;
      if (!block.grow_or_shrink(12 * kMiB)) return 2;
      test::stamp(block.data(), 12 * kMiB, 12);
      block.free();
      Block next(12 * kMiB);
      test::stamp(next.data(), 12 * kMiB, 13);  // SIGSEGV: the snapshot's part was not mapped again
      return test::has_stamp(next.data(), 12 * kMiB, 13) ? 0 : 3;
    });
    INFO("holes: " << holes << ", signal " << ended.signal);
    CHECK(ended.exit_code == 0);
  }
}

TEST_CASE("a snapshot extent is shown to the pacer until it is thawed, and then is an own one") {
  HeapFixture heap(BackingChoice::kFile);
  Block block(4 * kMiB);
  test::stamp(block.data(), 4 * kMiB, 14);
  // What a fork does to the parent.
  large_heap.before_fork();
  large_heap.after_fork_in_parent();
  CHECK(large_heap.next_own_extent(nullptr).empty());
  const PageRange extent = large_heap.next_snapshot_extent(nullptr);
  CHECK(extent.base == block.data());
  {
    os::Locked locked(large_heap.lock());
    CHECK(large_heap.thaw_extent(extent));
    CHECK_FALSE(large_heap.thaw_extent(extent));
  }
  CHECK(large_heap.next_own_extent(nullptr).base == block.data());
  CHECK(large_heap.next_snapshot_extent(nullptr).base == block.data() + kExtentBytes);
  CHECK(test::has_stamp(block.data(), 4 * kMiB, 14));
}

TEST_CASE("written snapshots go back to files when they have become much, while other threads write on") {
  if (!test::kForkIsFine) return;  // nor can threads be stopped under the thread sanitizer
  HeapFixture heap(BackingChoice::kFile);
  test::Set<uint64_t, std::atomic<uint64_t>> limit(settings.limit_bytes,
                                                   64 * kMiB);  // 8 MiB may be written before
  os::PageTable pages;
  REQUIRE(pages.open().ok());
  Block block(64 * kMiB);
  test::stamp(block.data(), 64 * kMiB, 15);
  large_heap.before_fork();
  large_heap.after_fork_in_parent();
  Rehome rehome;
  rehome.expect_snapshots(1);
  const uint64_t before = stats.rehomed_bytes;
  (void)rehome.run(pages);
  CHECK(stats.rehomed_bytes == before);  // nothing is written yet

  test::stamp(block.data(), 32 * kMiB, 15);
  std::atomic<bool> done = false;
  std::atomic<uint64_t> written = 0;
  char* const word = block.data() + 16;
  std::thread writer([&] {
    while (!done) __atomic_store_n(reinterpret_cast<uint64_t*>(word), ++written, __ATOMIC_RELAXED);
  });
  const bool rehomed = test::wait_until([&] {
    (void)rehome.run(pages);
    return stats.rehomed_bytes - before >= 32 * kMiB;
  });
  done = true;
  writer.join();
  CHECK(rehomed);
  CHECK(__atomic_load_n(reinterpret_cast<uint64_t*>(word), __ATOMIC_RELAXED) == written);
  CHECK(large_heap.next_own_extent(nullptr).base == block.data());
  CHECK(large_heap.next_snapshot_extent(nullptr).base == block.data() + 32 * kMiB);
  CHECK(test::has_stamp(block.data(), 64 * kMiB, 15));
}

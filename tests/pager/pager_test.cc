// pager_test.cc - the pager itself, in this process, so that sanitizers see its threads: blocks of several
// times the limit, used by several threads at once. What only a whole program shows (forks, signals, system
// calls) is in tests/preload. The pager is never stopped, so these tests are a program of their own.
#include "libpreload/pager/pager.h"

#include <sys/mman.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "libpreload/pager/trace.h"
#include "libpreload/stats.h"
#include "tests/support/needs.h"
#include "tests/support/program.h"
#include "tests/support/wait.h"
#include "tests/unit/heap_fixture.h"

#include "tests/support/catch.h"

using namespace spillway;
using test::BackingChoice;
using test::Block;
using test::HeapFixture;

namespace {

constexpr uint64_t kLimit = 24 * kMiB;
constexpr uint64_t kBytes = 4 * kLimit;
constexpr uint64_t kPages = kBytes / kPageBytes;

// Also the directory for what leaves memory, which the pager keeps.
bool is_possible() {
  if (!test::needs_root()) return false;
  static const bool possible = [] {
    settings.read_environment();
    settings.limit_bytes = kLimit;
    settings.backing = BackingChoice::kManaged;
    pager.configure();
    return Pager::probe().ok();
  }();
  static HeapFixture heap(BackingChoice::kManaged);
  if (!possible) test::skip("no userfaultfd");
  return possible;
}

// In each page two words: which page of which block it is, and how often it was written to.
struct Page {
  uint64_t name, writes;
};
Page& page_of(const Block& block, uint64_t i) {
  return *reinterpret_cast<Page*>(block.data() + i * kPageBytes);
}

// Pages of `first`, `first` + `step`, ... are one thread's alone.
template <typename Next>
bool are_used(const Block& block, uint64_t uses, std::vector<uint64_t>& writes, Next next) {
  for (uint64_t i = 0; i < uses; ++i) {
    const uint64_t at = next(i);
    Page& page = page_of(block, at);
    if (writes[at] == 0 ? page.name != 0 : page.name != at + 1) return false;
    if (page.writes != writes[at]) return false;
    page = {at + 1, ++writes[at]};
  }
  return true;
}

// All of the threads begin together; false: one of them found something wrong.
template <typename Body>
bool in_threads(int count, Body body) {
  std::atomic<bool> all_right = true;
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&, i] {
      if (!body(static_cast<uint64_t>(i))) all_right = false;
    });
  for (std::thread& thread : threads) thread.join();
  return all_right;
}

uint64_t resident_bytes(const Block& block) {
  std::vector<unsigned char> there(kPages);
  REQUIRE(::mincore(block.data(), kBytes, there.data()) == 0);
  uint64_t count = 0;
  for (const unsigned char page : there) count += page & 1;
  return count * kPageBytes;
}

}  // namespace

TEST_CASE("threads that use a block of four times the limit forward, backward, in steps and at random") {
  if (!is_possible()) return;
  constexpr uint64_t kThreads = 4;
  Block block(kBytes);
  REQUIRE(block.data() != nullptr);
  CHECK(in_threads(kThreads, [&](uint64_t me) {
    std::vector<uint64_t> writes(kPages);
    constexpr uint64_t kMine = kPages / kThreads;
    std::mt19937_64 random(me);
    return are_used(block, kMine, writes, [&](uint64_t i) { return me * kMine + i; }) &&
           are_used(block, kMine, writes, [&](uint64_t i) { return (me + 1) * kMine - 1 - i; }) &&
           are_used(block, kMine, writes,
                    [&](uint64_t i) { return me * kMine + i * 16 % kMine + i * 16 / kMine; }) &&
           are_used(block, 1500, writes, [&](uint64_t) { return me * kMine + random() % kMine; });
  }));
  CHECK(pager.engaged());
  CHECK(resident_bytes(block) <= kLimit + kLimit / 20);
  CHECK((pager.counters().stores > 0) == !settings.compresses);  // so few bytes in a page are compressed well
  CHECK(pager.counters().loads > 0);
}

TEST_CASE("threads that use every fourth page of the same extents find their own bytes") {
  if (!is_possible()) return;
  Block block(kBytes);
  CHECK(in_threads(4, [&](uint64_t me) {
    std::vector<uint64_t> writes(kPages);
    std::mt19937_64 random(me);
    return are_used(block, kPages / 4, writes, [&](uint64_t i) { return i * 4 + me; }) &&
           are_used(block, 1500, writes, [&](uint64_t) { return random() % (kPages / 4) * 4 + me; });
  }));
}

TEST_CASE("what is discarded reads as zeroes while its neighbours are in use") {
  if (!is_possible()) return;
  Block block(kBytes);
  test::stamp(block.data(), kBytes, 1);
  std::atomic<bool> done = false;
  std::thread reader([&] {
    // The first half stays as it is.
    while (!done)
      if (!test::has_stamp(block.data(), kBytes / 2, 1)) done = true;
  });
  std::mt19937_64 random(5);
  bool all_zero = true;
  for (int i = 0; i < 60; ++i) {
    const uint64_t bytes = (random() % 700 + 1) * kPageBytes;
    char* const at = block.data() + kBytes / 2 + random() % ((kBytes / 2 - bytes) / kPageBytes) * kPageBytes;
    all_zero &= large_heap.discard(block.region(), {at, bytes}).ok() && test::is_zero(at, bytes);
  }
  CHECK(all_zero);
  CHECK_FALSE(done);
  done = true;
  reader.join();
}

TEST_CASE("blocks come and go while others are used") {
  if (!is_possible()) return;
  CHECK(in_threads(3, [](uint64_t me) {
    std::mt19937_64 random(me);
    for (uint64_t round = 1; round <= 12; ++round) {
      Block block((random() % 12 + 1) * 2 * kMiB, kExtentBytes, /*zeroed=*/true);
      if (block.data() == nullptr) return false;
      uint64_t bytes = block.region().committed;
      if (!test::is_zero(block.data(), bytes)) return false;
      test::stamp(block.data(), bytes, round);
      if (round % 3 == 0 && block.grow_or_shrink(bytes / 2)) bytes /= 2;
      if (round % 3 == 1 && !block.move(2 * bytes)) return false;
      if (!test::has_stamp(block.data(), bytes, round)) return false;
    }
    return true;
  }));
}

TEST_CASE("advice and limits change nothing but what is in memory") {
  if (!is_possible()) return;
  Block block(kBytes);
  std::atomic<bool> done = false, all_right = true;
  test::stamp(block.data(), kBytes, 3);
  std::thread reader([&] {
    while (!done)
      if (!test::has_stamp(block.data(), kBytes, 3)) all_right = false;
  });
  std::mt19937_64 random(9);
  for (int i = 0; i < 40; ++i) {
    constexpr Advice kAdvice[] = {Advice::kNormal, Advice::kSequential, Advice::kRandom,  Advice::kLoop,
                                  Advice::kKeep,   Advice::kDrop,       Advice::kPrefetch};
    const uint64_t at = random() % (kBytes / kExtentBytes) * kExtentBytes;
    const uint64_t bytes = std::min(kBytes - at, (random() % 4 + 1) * kExtentBytes);
    CHECK(large_heap.advise(block.region(), {block.data() + at, bytes}, kAdvice[random() % 7]).ok());
    if (i % 10 == 0) large_heap.set_limit(i % 20 == 0 ? kLimit * 2 / 3 : kLimit);
  }
  done = true;
  reader.join();
  CHECK(all_right);
  large_heap.set_limit(kLimit / 2);
  CHECK(test::has_stamp(block.data(), kBytes, 3));
  CHECK(test::wait_until([&] { return resident_bytes(block) <= kLimit / 2 + kLimit / 20; }));
  large_heap.set_limit(kLimit);
}

TEST_CASE("the same holds with compression, and on an older kernel") {
  if (!is_possible()) return;
  for (const std::vector<std::string>& env : {std::vector<std::string>{"SPILLWAY_COMPRESS=auto"},
                                              std::vector<std::string>{"SPILLWAY_MASK=move,poison"}}) {
    const test::Outcome got = test::run({.argv = {"/proc/self/exe", "~the same holds*"}, .env = env});
    INFO(got.text());
    CHECK(got.exit_code == 0);
    CHECK(got.out.find("All tests passed") != std::string::npos);
  }
}

// access_advisor_test.cc - which advice a pattern of faults earns.
#include "libpreload/backing/access_advisor.h"

#include <random>

#include "base/os/memory.h"
#include "tests/unit/heap_fixture.h"

#include "tests/support/catch.h"

using namespace spillway;
using test::BackingChoice;
using test::Block;
using test::HeapFixture;

namespace {

constexpr uint64_t kWindow = 128 * kKiB;
constexpr uint64_t kBlockBytes = 256 * kMiB;

struct Advised {
  explicit Advised(uint64_t window = kWindow) : advisor(window, pages) { REQUIRE(pages.open().ok()); }
  HeapFixture heap{BackingChoice::kFile};
  Block block{kBlockBytes};
  os::PageTable pages;
  AccessAdvisor advisor;

  void fault(char* address, uint32_t thread = 1) { advisor.on_fault(address, thread); }
  int advice() { return block.region().advice; }
  void scattered_faults(unsigned seed, int count) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < count; ++i) fault(block.data() + random() % kBlockBytes);
  }
  void stream_of_faults(int64_t step, int count, char* from) {
    for (int i = 0; i < count; ++i, from += step) fault(from);
  }
};

}  // namespace

TEST_CASE("faults all over a block earn the advice that accesses are random") {
  Advised a;
  a.scattered_faults(1, 90);
  CHECK(a.advice() == os::kAdviceRandom);
}

TEST_CASE("a few faults decide nothing") {
  Advised a;
  a.scattered_faults(2, 30);
  CHECK(a.advice() == os::kAdviceNormal);
}

TEST_CASE("a forward stream keeps normal advice") {
  Advised a;
  a.stream_of_faults(static_cast<int64_t>(kWindow + kPageBytes), 400, a.block.data());
  CHECK(a.advice() == os::kAdviceNormal);
}

TEST_CASE("a forward stream that finds some of its pages in memory keeps normal advice") {
  for (const uint64_t window : {kWindow, 8 * kMiB}) {
    Advised a(window);
    std::mt19937_64 random(9);
    for (int round = 0; round < 4; ++round)
      for (uint64_t at = 0; at < kBlockBytes;
           at += kWindow + random() % (12 * kMiB) / kPageBytes * kPageBytes)
        a.fault(a.block.data() + at);
    CHECK(a.advice() == os::kAdviceNormal);
  }
}

TEST_CASE("several streams at once are streams") {
  Advised a;
  for (uint64_t i = 0; i < 100; ++i)
    for (uint64_t stream = 0; stream < 4; ++stream)
      a.fault(a.block.data() + stream * 64 * kMiB + i * (kWindow + kPageBytes));
  CHECK(a.advice() == os::kAdviceNormal);
}

TEST_CASE("threads that stream beside each other, in equal steps through pages in use, are streams") {
  Advised a;
  constexpr uint64_t kStep = 2 * kWindow, kPart = kBlockBytes / 2;
  for (uint64_t at = 0; at < kPart - kStep; at += kStep) {
    for (uint32_t thread : {1, 2}) {
      char* part = a.block.data() + (thread - 1) * kPart;
      for (uint64_t page = at; page < at + kStep; page += kPageBytes)
        (void)*static_cast<volatile char*>(part + page);
      a.fault(part + at + kStep, thread);
    }
    REQUIRE(a.advice() == os::kAdviceNormal);
  }
}

TEST_CASE("a large constant stride is no stream") {
  Advised a;
  a.stream_of_faults(kMiB, 65, a.block.data());
  CHECK(a.advice() == os::kAdviceRandom);
}

TEST_CASE(
    "with a large read-ahead few faults all over a block suffice, also when all are within some windows") {
  Advised a(8 * kMiB);
  a.scattered_faults(7, 40);
  CHECK(a.advice() == os::kAdviceRandom);
}

TEST_CASE("with a large read-ahead streams keep normal advice") {
  for (const int64_t windows_in_halves : {1, 2, -1}) {
    Advised a(8 * kMiB);
    const int64_t step = windows_in_halves * static_cast<int64_t>(4 * kMiB);
    a.stream_of_faults(step, 30, a.block.data() + (step > 0 ? 0 : kBlockBytes - kPageBytes));
    CHECK(a.advice() == os::kAdviceNormal);
  }
}

TEST_CASE("pages that were read ahead and are gone when they are needed speak against reading ahead") {
  Advised a(8 * kMiB);
  std::mt19937_64 random(8);
  for (int i = 0; i < 40; ++i) a.fault(a.block.data() + 64 * kMiB + random() % (3 * kMiB));
  CHECK(a.advice() == os::kAdviceRandom);
}

TEST_CASE("page after page takes the advice back that accesses are random") {
  Advised a;
  a.scattered_faults(3, 90);
  REQUIRE(a.advice() == os::kAdviceRandom);
  a.stream_of_faults(kPageBytes, 120, a.block.data());
  CHECK(a.advice() == os::kAdviceNormal);
}

TEST_CASE("the program's own advice stays") {
  Advised a;
  a.block.region().advice_is_programs = true;
  a.scattered_faults(4, 200);
  CHECK(a.advice() == os::kAdviceNormal);
}

TEST_CASE("faults in small blocks, freed blocks and foreign memory teach nothing") {
  Advised a;
  Block small(4 * kMiB);
  std::mt19937 random(5);
  for (int i = 0; i < 200; ++i) a.fault(small.data() + random() % (4 * kMiB));
  CHECK(small.region().advice == os::kAdviceNormal);
  char* const gone = a.block.data();
  Block keeps_the_chunk(2 * kMiB);
  a.block.free();
  a.fault(gone);
  a.fault(reinterpret_cast<char*>(&a));
  a.fault(nullptr);
  CHECK(LargeHeap::block_around(gone) == nullptr);
}

TEST_CASE("what was learned of a freed block does not count for the next one there") {
  Advised a;
  Block keeps_the_chunk(2 * kMiB);
  a.scattered_faults(6, 90);
  REQUIRE(a.advice() == os::kAdviceRandom);
  char* const at = a.block.data();
  a.block.free();
  Block next(kBlockBytes);
  REQUIRE(next.data() == at);
  CHECK(next.region().advice == os::kAdviceNormal);
}

TEST_CASE("a backward stream is read ahead until nobody follows it") {
  Advised a;
  CHECK_FALSE(a.advisor.advance_streams());
  const int64_t step = static_cast<int64_t>(kWindow / 2 + kPageBytes);
  a.stream_of_faults(-step, 8, a.block.data() + kBlockBytes / 2);
  CHECK(a.advisor.advance_streams());
  int rounds = 0;
  while (a.advisor.advance_streams() && rounds < 1000) ++rounds;
  CHECK(rounds > 10);
  CHECK(rounds < 1000);
}

TEST_CASE("a forward stream is left to the kernel") {
  Advised a;
  a.stream_of_faults(static_cast<int64_t>(kWindow + kPageBytes), 50, a.block.data());
  CHECK_FALSE(a.advisor.advance_streams());
}

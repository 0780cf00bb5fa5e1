// access_sampler_test.cc - which advice pages that come into the page cache earn, of real files.
#include "libpreload/backing/access_sampler.h"

#include <random>

#include "base/os/memory.h"
#include "tests/unit/heap_fixture.h"

#include "tests/support/catch.h"

using namespace spillway;
using test::BackingChoice;
using test::Block;
using test::HeapFixture;

namespace {

constexpr uint64_t kSampledBytes = 128 * kMiB;
constexpr uint64_t kSampledPages = kSampledBytes / kPageBytes;

struct Sampled {
  Sampled() { REQUIRE(pages.open().ok()); }
  HeapFixture heap{BackingChoice::kFile};
  Block block{kSampledBytes};
  os::PageTable pages;
  AccessSampler sampler{128 * kKiB, /*with_votes=*/true};

  int advice() { return block.region().advice; }
  void advise_random() { large_heap.advise_block(block.data(), os::kAdviceRandom); }
  void touch(uint64_t page) { (void)*static_cast<volatile char*>(block.data() + page * kPageBytes); }
  // A look after each `pages_a_look`.
  void stream(uint64_t from, uint64_t to, uint64_t pages_a_look) {
    for (uint64_t page = from; page < to; ++page) {
      touch(page);
      if (page % pages_a_look == 0) sampler.look(pages, 0);
    }
    sampler.look(pages, 0);
  }
};

}  // namespace

TEST_CASE("pages that are touched all over a block earn the advice that accesses are random") {
  Sampled s;
  std::mt19937_64 random(1);
  for (int look = 0; look < 40 && s.advice() == os::kAdviceNormal; ++look) {
    s.sampler.look(s.pages, 0);
    for (int i = 0; i < 4; ++i) s.touch(random() % kSampledPages);
  }
  CHECK(s.advice() == os::kAdviceRandom);
}

TEST_CASE("pages that are touched one after the other keep normal advice") {
  Sampled s;
  s.stream(0, kSampledPages, 1000);
  CHECK(s.advice() == os::kAdviceNormal);
}

TEST_CASE("pages one after the other take the advice back that accesses are random") {
  Sampled s;
  s.advise_random();
  s.stream(0, kSampledPages / 2, 500);
  CHECK(s.advice() == os::kAdviceNormal);
}

TEST_CASE("a stream between single pages that are in memory already takes it back, too, and they leave") {
  Sampled s;
  s.advise_random();
  for (uint64_t page = 0; page < kSampledPages; page += 10) s.touch(page);
  unsigned char cached = 0;
  char* last = s.block.data() + (kSampledPages - 1) / 10 * 10 * kPageBytes;
  REQUIRE(os::cached_pages({last, kPageBytes}, &cached).ok());
  REQUIRE((cached & 1) == 1);
  s.stream(0, kSampledPages / 2, 500);
  CHECK(s.advice() == os::kAdviceNormal);
  REQUIRE(os::cached_pages({last, kPageBytes}, &cached).ok());
  CHECK((cached & 1) == 0);
}

TEST_CASE("pages all over a block keep the advice that accesses are random") {
  Sampled s;
  s.advise_random();
  std::mt19937_64 random(2);
  for (int look = 0; look < 30; ++look) {
    s.sampler.look(s.pages, 0);
    for (int i = 0; i < 200; ++i) s.touch(random() % kSampledPages);
  }
  CHECK(s.advice() == os::kAdviceRandom);
}

TEST_CASE("the sampler leaves the program's own advice alone") {
  Sampled s;
  s.advise_random();
  s.block.region().advice_is_programs = true;
  s.stream(0, kSampledPages / 2, 500);
  CHECK(s.advice() == os::kAdviceRandom);
}

TEST_CASE("a stream that never waits where read-ahead is large is sequential until it waits") {
  Sampled s;
  AccessSampler sampler{8 * kMiB, /*with_votes=*/false};
  uint64_t page = 0, waits = 100;
  auto looks = [&](int count) {
    for (int i = 0; i < count; ++i) {
      for (int k = 0; k < 1024; ++k) s.touch(page++);
      sampler.look(s.pages, waits);
    }
  };
  looks(5);
  CHECK(s.advice() == os::kAdviceSequential);
  waits += 10;
  looks(1);
  CHECK(s.advice() == os::kAdviceNormal);
  looks(3);
  CHECK(s.advice() == os::kAdviceNormal);  // it was taken back once: longer this time
  looks(4);
  CHECK(s.advice() == os::kAdviceSequential);
}

TEST_CASE("a stream where read-ahead is small keeps normal advice") {
  Sampled s;
  s.stream(0, kSampledPages, 1000);
  CHECK(s.advice() == os::kAdviceNormal);
}

TEST_CASE("what took MADV_RANDOM back once needs more votes for it the next time") {
  AccessVotes votes;
  auto looks_needed = [&](int advice, bool is_dense) {
    for (int looks = 1;; ++looks) {
      votes.add(is_dense);
      if (votes.decide(advice, 8) != AccessVotes::kUndecided) return looks;
    }
  };
  CHECK(looks_needed(os::kAdviceNormal, false) == 8);
  CHECK(looks_needed(os::kAdviceRandom, true) == 8);
  CHECK(looks_needed(os::kAdviceNormal, false) == 16);
  CHECK(looks_needed(os::kAdviceRandom, true) == 8);
  CHECK(looks_needed(os::kAdviceNormal, false) == 32);
  CHECK(looks_needed(os::kAdviceRandom, false) == 8);  // it was right this time
  CHECK(looks_needed(os::kAdviceNormal, false) == 16);
}

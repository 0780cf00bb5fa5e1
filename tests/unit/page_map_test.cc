// page_map_test.cc - whose address it is: regions, small memory, nobody.
#include "libpreload/page_map.h"

#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "libpreload/region.h"
#include "tests/unit/in_child.h"

#include "tests/support/catch.h"

using namespace spillway;

namespace {

char* address(uint64_t n) { return reinterpret_cast<char*>(n); }
// The map never looks at the memory it speaks of, so any address will do.
constexpr uint64_t kSomewhere = 0x123'4560'0000;
constexpr uint64_t kLeafBytes = 32 * kGiB;

}  // namespace

TEST_CASE("an address that nobody spoke of has no region and is not small") {
  auto map = std::make_unique<PageMap>();
  for (uint64_t n : {uint64_t{0}, uint64_t{1}, kSomewhere, (uint64_t{1} << 47) - 1}) {
    CHECK(map->region_at(address(n)) == nullptr);
    CHECK(!map->is_small(address(n)));
  }
}

TEST_CASE("every address of a region's granules leads to it, across leaves, and none beside them does") {
  auto map = std::make_unique<PageMap>();
  Region region;
  const uint64_t begin = 100 * kLeafBytes - 2 * kExtentBytes;
  map->set_region({address(begin), 5 * kExtentBytes}, &region);
  for (uint64_t at = begin; at < begin + 5 * kExtentBytes; at += kExtentBytes / 2) {
    CHECK(map->region_at(address(at)) == &region);
    CHECK(!map->is_small(address(at)));
  }
  CHECK(map->region_at(address(begin + 5 * kExtentBytes - 1)) == &region);
  CHECK(map->region_at(address(begin - 1)) == nullptr);
  CHECK(map->region_at(address(begin + 5 * kExtentBytes)) == nullptr);
}

TEST_CASE("the highest address of user space can have a region") {
  auto map = std::make_unique<PageMap>();
  Region region;
  map->set_region({address((uint64_t{1} << 47) - kExtentBytes), kExtentBytes}, &region);
  CHECK(map->region_at(address((uint64_t{1} << 47) - 1)) == &region);
}

TEST_CASE("small memory is known to the granule and belongs to no region") {
  auto map = std::make_unique<PageMap>();
  map->mark_small({address(kSomewhere + kPageBytes), kExtentBytes});  // ends in the second granule
  for (uint64_t at : {kSomewhere, kSomewhere + kExtentBytes, kSomewhere + 2 * kExtentBytes - 1}) {
    CHECK(map->is_small(address(at)));
    CHECK(map->region_at(address(at)) == nullptr);
  }
  CHECK(!map->is_small(address(kSomewhere + 2 * kExtentBytes)));
}

TEST_CASE("a range given to nobody is nobody's again") {
  auto map = std::make_unique<PageMap>();
  Region region;
  const PageRange range{address(kSomewhere), 3 * kExtentBytes};
  map->set_region(range, &region);
  map->set_region(range, nullptr);
  CHECK(map->region_at(range.base) == nullptr);
  CHECK(map->region_at(range.end() - 1) == nullptr);
}

TEST_CASE("the last word on a granule counts, for thousands of random ranges") {
  std::mt19937_64 random(2);
  auto map = std::make_unique<PageMap>();
  std::vector<Region> regions(16);
  std::map<uint64_t, int> model;  // granule -> region, -1: small
  for (int step = 0; step < 5000; ++step) {
    // Around the border of two leaves.
    const uint64_t granule = 50 * kLeafBytes / kExtentBytes - 200 + random() % 400;
    const uint64_t count = 1 + random() % 8;
    const int who = static_cast<int>(random() % 18) - 1;
    const PageRange range{address(granule * kExtentBytes), count * kExtentBytes};
    if (who < 0)
      map->mark_small(range);
    else
      map->set_region(range, who < 16 ? &regions[static_cast<size_t>(who)] : nullptr);
    for (uint64_t g = granule; g < granule + count; ++g) model[g] = who;
  }
  for (const auto& [granule, who] : model) {
    char* p = address(granule * kExtentBytes + random() % kExtentBytes);
    REQUIRE(map->is_small(p) == (who < 0));
    REQUIRE(map->region_at(p) == (who >= 0 && who < 16 ? &regions[static_cast<size_t>(who)] : nullptr));
  }
}

TEST_CASE("threads that enter ranges of one new leaf at once all find theirs") {
  constexpr int kThreads = 4;
  constexpr uint64_t kEach = 64;
  for (int round = 0; round < 20; ++round) {
    auto map = std::make_unique<PageMap>();
    std::vector<Region> regions(kThreads);
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        for (uint64_t i = 0; i < kEach; ++i)
          map->set_region({address(kSomewhere + (i * kThreads + t) * kExtentBytes), kExtentBytes},
                          &regions[t]);
      });
    for (auto& t : threads) t.join();
    for (uint64_t g = 0; g < kThreads * kEach; ++g)
      REQUIRE(map->region_at(address(kSomewhere + g * kExtentBytes)) == &regions[g % kThreads]);
  }
}

TEST_CASE("an address beyond user space is an error of ours") {
  if (!test::kForkIsFine) return;
  CHECK(test::dies_saying("beyond the page map", [] {
    static PageMap map;
    map.mark_small({address(uint64_t{1} << 47), kExtentBytes});
  }));
}

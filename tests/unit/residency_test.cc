// residency_test.cc - the limit for blocks in files.
#include "libpreload/backing/residency.h"

#include <algorithm>

#include "base/os/memory.h"
#include "base/os/procfs.h"
#include "base/os/stop_threads.h"
#include "tests/support/wait.h"
#include "tests/unit/heap_fixture.h"
#include "tests/unit/in_child.h"

#include "tests/support/catch.h"

using namespace spillway;
using test::BackingChoice;
using test::Block;
using test::HeapFixture;

namespace {

// For ever: its thread for writing behind never ends.
Residency& residency() {
  static auto* const one = new Residency(*new WriteBehind);
  return *one;
}

}  // namespace

TEST_CASE("a process under its limit keeps all its pages") {
  HeapFixture heap(BackingChoice::kFile);
  os::PageTable pages;
  REQUIRE(pages.open().ok());
  Block block(16 * kMiB);
  test::stamp(block.data(), 16 * kMiB, 1);
  for (int look = 0; look < 20; ++look) (void)residency().hold(pages, kGiB);
  CHECK(pages.count(block.region().span).present == 16 * kMiB / kPageBytes);
}

TEST_CASE("a process over its limit is taken under it, and finds its bytes when it comes back to them") {
  HeapFixture heap(BackingChoice::kFile);
  os::PageTable pages;
  REQUIRE(pages.open().ok());
  constexpr uint64_t kLimit = 32 * kMiB;
  Block block(96 * kMiB);
  for (uint64_t round = 0; round < 2; ++round) {
    test::stamp(block.data(), 96 * kMiB, 2 + round);
    CHECK(test::wait_until([&] {
      (void)residency().hold(pages, kLimit);
      return pages.count(block.region().span).present * kPageBytes <= kLimit;
    }));
    CHECK(test::has_stamp(block.data(), 96 * kMiB, 2 + round));
  }
}

TEST_CASE("what is let go of leaves the page cache as well") {
  HeapFixture heap(BackingChoice::kFile);
  os::PageTable pages;
  REQUIRE(pages.open().ok());
  Block block(64 * kMiB);
  test::stamp(block.data(), 64 * kMiB, 3);
  const PageRange all{block.data(), 64 * kMiB};
  CHECK(test::wait_until([&] {
    (void)residency().hold(pages, 32 * kMiB);
    static unsigned char cached[64 * kMiB / kPageBytes];
    REQUIRE(os::cached_pages(all, cached).ok());
    return std::count_if(std::begin(cached), std::end(cached), [](unsigned char c) { return c & 1; }) <=
           static_cast<long>(32 * kMiB / kPageBytes);
  }));
  CHECK(test::has_stamp(block.data(), 64 * kMiB, 3));
}

TEST_CASE("the thread that writes behind does not keep the others from being stopped") {
  if (!test::kForkIsFine) return;  // the thread sanitizer's own thread cannot be stopped
  HeapFixture heap(BackingChoice::kFile);
  os::PageTable pages;
  REQUIRE(pages.open().ok());
  Block block(64 * kMiB);
  test::stamp(block.data(), 64 * kMiB, 4);
  (void)residency().hold(pages, 32 * kMiB);
  CHECK(test::wait_until([] { return os::StopThreads().stopped(); }, std::chrono::seconds(5)));
}

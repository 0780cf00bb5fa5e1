#include "libpreload/pager/strides.h"

#include <random>

#include "tests/support/catch.h"

using namespace spillway;

namespace {
const int kStrided = 0, kOtherStrided = 0;
}

TEST_CASE("four touches in equal steps begin a run, and each further one reads ahead") {
  Strides strides;
  Strides::Ahead ahead;
  for (int64_t page : {100, 116, 132}) CHECK(!strides.on_fault(&kStrided, page, ahead));
  REQUIRE(strides.on_fault(&kStrided, 148, ahead));
  CHECK(ahead.first == 164);
  CHECK(ahead.step == 16);
  CHECK(ahead.count == 4);
  // The next that somebody has to wait for is one of those that are being read, or the first that is not.
  REQUIRE(strides.on_fault(&kStrided, 164, ahead));
  CHECK(ahead.first == 164 + 4 * 16);
  CHECK(ahead.count == 5);  // eight from here on
  REQUIRE(strides.on_fault(&kStrided, 164 + 9 * 16, ahead));
  CHECK(ahead.first == 164 + 10 * 16);
  CHECK(ahead.count == 16);
  CHECK(!strides.on_fault(&kStrided, 5, ahead));
}
TEST_CASE("backward steps, and several runs at once") {
  Strides strides;
  Strides::Ahead ahead;
  int found = 0;
  for (int64_t i = 0; i < 10; ++i) {
    found += strides.on_fault(&kStrided, 10000 - 64 * i, ahead) && ahead.step == -64;
    found += strides.on_fault(&kStrided, 50000 + 256 * i, ahead) && ahead.step == 256;
    found += strides.on_fault(&kOtherStrided, 8 * i, ahead) && ahead.step == 8;
  }
  CHECK(found >= 3 * 6);
}
TEST_CASE("neighbouring pages, far ones and random ones are in no steps") {
  Strides strides;
  Strides::Ahead ahead;
  for (int64_t page = 0; page < 200; ++page) CHECK(!strides.on_fault(&kStrided, page, ahead));
  strides = {};
  for (int64_t extent = 0; extent < 200; ++extent) CHECK(!strides.on_fault(&kStrided, 512 * extent, ahead));
  strides = {};
  for (int64_t i = 0; i < 20; ++i) CHECK(!strides.on_fault(&kStrided, 1'000'000 + 5000 * i, ahead));
  std::mt19937_64 random(3);
  int found = 0;
  for (int i = 0; i < 100'000; ++i)
    found += strides.on_fault(&kStrided, static_cast<int64_t>(random() % (1 << 19)), ahead);
  CHECK(found < 20);
}

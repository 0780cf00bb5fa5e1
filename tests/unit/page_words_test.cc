// page_words_test.cc - words of pages, against a map.
#include "libpreload/pager/page_words.h"

#include <map>
#include <random>
#include <vector>

#include "tests/support/catch.h"

using namespace spillway;

namespace {

char* page(uint64_t number) { return reinterpret_cast<char*>(number << kPageShift); }

}  // namespace

TEST_CASE("words of pages are what was set last, through any order of sets and erasures") {
  constexpr uint64_t kCapacity = 256;
  std::vector<PageWords::Entry> memory(kCapacity);
  PageWords words;
  words.use(memory.data(), kCapacity);
  std::map<uint64_t, uint64_t> expected;
  std::mt19937_64 random(1);
  for (int i = 0; i < 200'000; ++i) {
    // Neighbours and pages far apart, more than there is room for.
    const uint64_t number = 1 + random() % 20 * 100'003 + random() % 20;
    if (random() % 2 == 0) {
      const bool has_room = words.has_room_for(page(number));
      CHECK(has_room == (expected.count(number) != 0 || expected.size() < kCapacity / 4 * 3));
      CHECK(words.set(page(number), static_cast<uint64_t>(i)) == has_room);
      if (has_room) expected[number] = static_cast<uint64_t>(i);
    } else {
      words.erase(page(number));
      expected.erase(number);
    }
    const uint64_t asked = 1 + random() % 20 * 100'003 + random() % 20;
    CHECK(words.get(page(asked), 7) == (expected.count(asked) ? expected[asked] : 7));
    CHECK(words.size() == expected.size());
  }
}

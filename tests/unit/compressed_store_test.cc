// compressed_store_test.cc - pages as LZ4, and extents of them, against plain copies.
#include "libpreload/pager/compressed_store.h"

#include "libpreload/pager/digest.h"

#include <cstring>
#include <random>
#include <vector>

#include "tests/support/catch.h"

using namespace spillway;

namespace {

using Filter = PageCodec::Filter;
constexpr uint64_t kPageWords = kPageBytes / 8, kExtentWords = kExtentBytes / 8;

// Words of so many random bits.
std::vector<uint64_t> integers(std::mt19937_64& random, size_t words, int bits) {
  std::vector<uint64_t> data(words);
  for (uint64_t& word : data) word = bits == 0 ? 0 : random() >> (64 - bits);
  return data;
}
const char* bytes_of(const std::vector<uint64_t>& data) { return reinterpret_cast<const char*>(data.data()); }
char* bytes_of(std::vector<uint64_t>& data) { return reinterpret_cast<char*>(data.data()); }

// 0: there is no room, or it does not compress.
uint32_t keep(CompressedStore& store, Extent& owner, const std::vector<uint64_t>& extent) {
  Filter filter;
  if (!CompressedStore::suits(bytes_of(extent), filter)) return 0;
  const uint32_t slot = store.take(owner);
  if (slot == 0) return 0;
  if (!store.pack(slot, bytes_of(extent), filter)) return store.release(slot), 0;
  store.keep(slot);
  return slot;
}
std::vector<uint64_t> expanded(const CompressedStore& store, uint32_t slot) {
  std::vector<uint64_t> data(kExtentWords);
  REQUIRE(store.read(slot, 0, kExtentPages, bytes_of(data)));
  return data;
}

}  // namespace

TEST_CASE("a page comes back from LZ4 as it was, shuffled or not") {
  std::mt19937_64 random(1);
  PageCodec codec;
  for (const Filter filter : {Filter::kNone, Filter::kShuffle})
    for (const int bits : {0, 1, 7, 8, 12, 20, 40}) {
      const auto page = integers(random, kPageWords, bits);
      char compressed[kPageBytes], back[kPageBytes];
      const uint32_t n = codec.compress(filter, bytes_of(page), compressed, sizeof compressed);
      INFO(bits << " bits: " << n << " bytes");
      REQUIRE((n > 0 || bits == 40));
      if (n == 0) continue;
      REQUIRE(PageCodec::expand(filter, compressed, n, back));
      CHECK(memcmp(back, page.data(), kPageBytes) == 0);
    }
}
TEST_CASE("the shuffle makes small integers an eighth") {
  std::mt19937_64 random(2);
  PageCodec codec;
  const auto page = integers(random, kPageWords, 8);
  char to[kPageBytes];
  CHECK(codec.compress(Filter::kShuffle, bytes_of(page), to, sizeof to) < 560);
  CHECK(codec.compress(Filter::kNone, bytes_of(page), to, sizeof to) > 1500);
  CHECK(codec.compress(Filter::kShuffle, bytes_of(page), to, 500) == 0);
}
TEST_CASE("what is no page is refused, not expanded") {
  std::mt19937_64 random(3);
  PageCodec codec;
  const auto page = integers(random, kPageWords, 8);
  char compressed[kPageBytes], back[kPageBytes];
  const uint32_t n = codec.compress(Filter::kShuffle, bytes_of(page), compressed, sizeof compressed);
  CHECK_FALSE(PageCodec::expand(Filter::kShuffle, compressed, n - 1, back));
  CHECK_FALSE(PageCodec::expand(Filter::kShuffle, compressed, 0, back));
}

TEST_CASE("extents that compress are kept and read, whole and by pages; others are refused") {
  CompressedStore store;
  REQUIRE(store.set_up(64).ok());
  store.set_most(32);
  std::mt19937_64 random(4);
  Extent owner;
  CHECK(store.bytes() == 0);
  CHECK(keep(store, owner, integers(random, kExtentWords, 64)) == 0);
  CHECK(store.bytes() == 0);
  const auto data = integers(random, kExtentWords, 8);
  const uint32_t slot = keep(store, owner, data);
  REQUIRE(slot != 0);
  CHECK(expanded(store, slot) == data);
  std::vector<uint64_t> three(3 * kPageWords);
  REQUIRE(store.read(slot, 77, 3, bytes_of(three)));
  CHECK(memcmp(three.data(), data.data() + 77 * kPageWords, 3 * kPageBytes) == 0);
  CHECK(store.extents() == 1);
  CHECK(store.counters().packed_bytes < kExtentBytes / 7);
  store.release(slot);
  CHECK(store.bytes() == 0);
  CHECK(store.counters().packed_bytes == 0);
}
TEST_CASE("pages that do not compress are kept among those that do") {
  CompressedStore store;
  REQUIRE(store.set_up(64).ok());
  store.set_most(32);
  std::mt19937_64 random(5);
  Extent owner;
  auto data = integers(random, kExtentWords, 6);
  for (size_t page = 0; page < kExtentPages; page += 6) {
    const auto noise = integers(random, kPageWords, 64);
    std::copy(noise.begin(), noise.end(), data.begin() + static_cast<ptrdiff_t>(page * kPageWords));
  }
  const uint32_t slot = keep(store, owner, data);
  REQUIRE(slot != 0);
  CHECK(expanded(store, slot) == data);
}
TEST_CASE("pages that are written one by one stay right while they grow, shrink, and the slot is full") {
  CompressedStore store;
  REQUIRE(store.set_up(64).ok());
  store.set_most(32);
  std::mt19937_64 random(6);
  Extent owner;
  auto data = integers(random, kExtentWords, 8);
  const uint32_t slot = keep(store, owner, data);
  REQUIRE(slot != 0);
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto page = static_cast<unsigned>(random() % kExtentPages);
    const int bits = random() % 2 == 0 ? 64 : static_cast<int>(random() % 30);
    const auto words = integers(random, kPageWords, bits);
    if (!store.write(slot, page, bytes_of(words), digest_of_page(bytes_of(words)))) {
      ++refused;
      continue;
    }
    std::copy(words.begin(), words.end(), data.begin() + static_cast<ptrdiff_t>(page * kPageWords));
    if (i % 1000 == 0) CHECK(expanded(store, slot) == data);
  }
  CHECK(expanded(store, slot) == data);
  CHECK(refused > 0);
  CHECK(store.counters().packed_bytes <= kMiB);
  CHECK(store.bytes() < 2 * kMiB);
  store.release(slot);
  CHECK(store.bytes() == 0);
}
TEST_CASE("the store takes no more than it may, and says when that is less than it has") {
  CompressedStore store;
  Extent owner;
  CHECK(store.take(owner) == 0);  // before it is set up
  REQUIRE(store.set_up(64).ok());
  store.set_most(8);
  std::mt19937_64 random(7);
  const auto data = integers(random, kExtentWords, 8);
  std::vector<uint32_t> slots;
  while (const uint32_t slot = keep(store, owner, data)) slots.push_back(slot);
  CHECK(slots.size() > 30);
  CHECK(store.bytes() <= 8 * kExtentBytes);
  CHECK_FALSE(store.is_over());
  store.set_most(6);
  CHECK(store.is_over());
  while (store.is_over()) {
    REQUIRE(store.next() == &owner);
    store.release(slots.back());
    slots.pop_back();
  }
  CHECK(store.bytes() <= 6 * kExtentBytes);
  // A slot that is free again is as good as new.
  store.set_most(8);
  const uint32_t slot = keep(store, owner, data);
  REQUIRE(slot != 0);
  CHECK(expanded(store, slot) == data);
}

// address_space_test.cc - chunks tiled by regions. The random test compares with a model that only knows
// which granules the program has; everything else must follow: no gaps, no overlap, no unmerged neighbours.
#include "libpreload/address_space.h"

#include <map>
#include <memory>
#include <random>
#include <vector>

#include "tests/support/catch.h"

using namespace spillway;
using State = Region::State;

namespace {

// Whose space it is, is all that the address space asks.
class NoBacking final : public Backing {
 public:
  const char* name() const override { return "none"; }
  uint64_t chunk_bytes(uint64_t needed) const override { return needed; }
  Errno open(Chunk&) override { return {}; }
  void close(Chunk&) override {}
  Errno commit(Chunk&, PageRange) override { return {}; }
  Errno advise(PageRange, int) override { return {}; }
  Errno discard(Chunk&, PageRange) override { return {}; }
  bool decommit(Chunk&, PageRange, bool) override { return true; }
  void freeze(Chunk&, PageRange, ForkMode, bool) override {}
  void wake_waiters(Chunk&, void*) override {}
  void finish_freeze(Chunk&) override {}
  Errno thaw(Chunk&, PageRange) override { return {}; }
};

constexpr uint64_t kGranule = kExtentBytes;

// Address space nobody touches: 4 GiB apart, so that every chunk is on a 4 GiB boundary.
PageRange addresses(uint64_t number, uint64_t granules) {
  return {reinterpret_cast<char*>((uint64_t{1} << 42) + number * 4 * kGiB), granules * kGranule};
}

struct Space {
  explicit Space(uint64_t granules) { chunk = space.add_chunk(addresses(0, granules), backing); }
  ~Space() {
    for (Chunk* c = space.chunks(); c != nullptr; c = space.chunks()) {
      c->live_regions = 0;
      for (Region* r = space.first_of(*c); r != nullptr; r = space.next_of(*r))
        if (r->state == State::kLive) {
          ++c->live_regions;
          space.give_back(*r, State::kFree);
          r = space.first_of(*c);
        }
      space.remove_chunk(*c);
    }
  }

  Region* take(uint64_t granules, State wanted = State::kFree, uint64_t alignment = kGranule) {
    Region* region = space.take(backing, granules * kGranule, alignment, wanted);
    if (region != nullptr) space.mark_live(*region);
    return region;
  }
  std::vector<uint64_t> sizes() {  // of all regions, in granules
    std::vector<uint64_t> all;
    for (Region* r = space.first_of(*chunk); r != nullptr; r = space.next_of(*r))
      all.push_back(r->span.bytes / kGranule);
    return all;
  }

  std::unique_ptr<PageMap> map = std::make_unique<PageMap>();
  NoBacking backing;
  AddressSpace space{*map};
  Chunk* chunk;
};

using Sizes = std::vector<uint64_t>;

}  // namespace

TEST_CASE("a taken region is as large as asked, and the rest stays free") {
  Space s(100);
  Region* region = s.take(7);
  REQUIRE(region != nullptr);
  CHECK(region->span.bytes == 7 * kGranule);
  CHECK(s.sizes() == Sizes{7, 93});
  CHECK(s.chunk->live_regions == 1);
}

TEST_CASE("a taken region lies on its alignment, and the space skipped stays free") {
  Space s(100);
  Region* first = s.take(1);
  Region* aligned = s.take(3, State::kFree, 16 * kGranule);
  REQUIRE(aligned != nullptr);
  CHECK(reinterpret_cast<uint64_t>(aligned->span.base) % (16 * kGranule) == 0);
  CHECK(s.sizes() == Sizes{1, 15, 3, 81});
  Region* between = s.take(15);
  CHECK(between->span.base == first->span.end());
}

TEST_CASE("nothing is taken where nothing large enough is free") {
  Space s(10);
  CHECK(s.take(11) == nullptr);
  REQUIRE(s.take(6) != nullptr);
  CHECK(s.take(5) == nullptr);
  CHECK(s.take(4) != nullptr);
}

TEST_CASE("the smallest hole that is large enough is used") {
  Space s(100);
  Region *a = s.take(5), *x = s.take(1), *b = s.take(4), *y = s.take(1);
  REQUIRE((x != nullptr && y != nullptr));
  char* const hole = b->span.base;
  s.space.give_back(*a, State::kFree);
  s.space.give_back(*b, State::kFree);
  CHECK(s.take(4)->span.base == hole);
}

TEST_CASE("free neighbours become one region, whichever comes back first") {
  for (const bool forward : {true, false}) {
    Space s(30);
    Region* r[] = {s.take(10), s.take(10), s.take(10)};
    for (int i = 0; i < 3; ++i) s.space.give_back(*r[forward ? i : 2 - i], State::kFree);
    CHECK(s.sizes() == Sizes{30});
  }
}

TEST_CASE("free and recycled neighbours stay apart") {
  Space s(30);
  Region *a = s.take(10), *b = s.take(10), *c = s.take(10);
  s.space.give_back(*a, State::kFree);
  s.space.give_back(*b, State::kRecycled);
  s.space.give_back(*c, State::kFree);
  CHECK(s.sizes() == Sizes{10, 10, 10});
  CHECK(s.space.recycled_bytes() == 10 * kGranule);
}

TEST_CASE("recycled space is found only when it is asked for") {
  Space s(10);
  s.space.give_back(*s.take(10), State::kRecycled);
  CHECK(s.take(2) == nullptr);
  Region* region = s.take(2, State::kRecycled);
  REQUIRE(region != nullptr);
  CHECK(s.space.recycled_bytes() == 8 * kGranule);
}

TEST_CASE("the recycled region that came first is the oldest") {
  Space s(30);
  Region *a = s.take(3), *x = s.take(1), *b = s.take(3), *y = s.take(1);
  REQUIRE((x != nullptr && y != nullptr));
  s.space.give_back(*b, State::kRecycled);
  s.space.give_back(*a, State::kRecycled);
  CHECK(s.space.oldest_recycled() == b);
  s.space.unlist(*b);
  CHECK(s.space.oldest_recycled() == a);
  CHECK(s.space.recycled_bytes() == 3 * kGranule);
  s.space.give_back(*b, State::kFree);
}

TEST_CASE("the committed part of recycled space is counted up to the first gap") {
  Space s(30);
  Region *a = s.take(4), *b = s.take(4), *c = s.take(4);
  a->committed = 4 * kGranule;
  b->committed = 1 * kGranule;
  c->committed = 4 * kGranule;
  for (Region* r : {a, b, c}) s.space.give_back(*r, State::kRecycled);
  Region* all = s.take(12, State::kRecycled);
  REQUIRE(all != nullptr);
  CHECK(all->committed == 5 * kGranule);
}

TEST_CASE("the committed part of a region is divided with it") {
  Space s(30);
  Region* region = s.take(10);
  region->committed = 6 * kGranule + kPageBytes;
  Region* rest = s.space.cut(*region, 4 * kGranule);
  CHECK(region->committed == 4 * kGranule);
  CHECK(rest->committed == 2 * kGranule + kPageBytes);
  s.space.give_back(*rest, State::kFree);
  CHECK(s.sizes() == Sizes{4, 26});
  CHECK(s.chunk->live_regions == 1);
}

TEST_CASE("a live region is extended by the free space right behind it") {
  Space s(30);
  Region* region = s.take(10);
  bool recycled = true;
  REQUIRE(s.space.extend(*region, 12 * kGranule, recycled));
  CHECK(!recycled);
  CHECK(s.sizes() == Sizes{12, 18});
  CHECK(s.map->region_at(region->span.end() - 1) == region);
  REQUIRE(s.space.extend(*region, 30 * kGranule, recycled));
  CHECK(s.sizes() == Sizes{30});
  CHECK_FALSE(s.space.extend(*region, 31 * kGranule, recycled));
}

TEST_CASE("a live region is not extended over a live neighbour, nor by less than is there") {
  Space s(30);
  Region *a = s.take(10), *b = s.take(5), *c = s.take(5);
  bool recycled = false;
  CHECK_FALSE(s.space.extend(*a, 11 * kGranule, recycled));
  s.space.give_back(*b, State::kFree);
  CHECK_FALSE(s.space.extend(*a, 16 * kGranule, recycled));
  CHECK(s.space.extend(*a, 15 * kGranule, recycled));
  CHECK(c->span.base == a->span.end());
}

TEST_CASE("extending says when the new space may hold old bytes") {
  Space s(30);
  Region *a = s.take(10), *b = s.take(5), *c = s.take(5);
  REQUIRE(c != nullptr);
  s.space.give_back(*b, State::kRecycled);
  bool recycled = false;
  REQUIRE(s.space.extend(*a, 12 * kGranule, recycled));
  CHECK(recycled);
  CHECK(s.space.recycled_bytes() == 3 * kGranule);
}

TEST_CASE("a retired chunk gives out nothing and extends nothing") {
  Space s(30);
  Region* region = s.take(10);
  s.chunk->retired = true;
  bool recycled = false;
  CHECK(s.take(1) == nullptr);
  CHECK_FALSE(s.space.extend(*region, 11 * kGranule, recycled));
}

TEST_CASE("space of one backing is not given to another") {
  Space s(30);
  NoBacking other;
  CHECK(s.space.take(other, kGranule, kGranule, State::kFree) == nullptr);
  REQUIRE(s.space.add_chunk(addresses(1, 10), other) != nullptr);
  Region* region = s.space.take(other, kGranule, kGranule, State::kFree);
  REQUIRE(region != nullptr);
  CHECK(region->chunk->backing == &other);
  s.space.mark_live(*region);
}

TEST_CASE("of a removed chunk nothing is left: not in the map, not in the lists") {
  Space s(30);
  Chunk* second = s.space.add_chunk(addresses(1, 10), s.backing);
  const PageRange range = second->range;
  Region* region = s.space.take(s.backing, 4 * kGranule, kGranule, State::kFree);
  REQUIRE(range.contains(region->span.base));  // the smaller of the two
  s.space.mark_live(*region);
  s.space.give_back(*region, State::kRecycled);
  s.space.remove_chunk(*second);
  for (char* g = range.base; g < range.end(); g += kGranule) CHECK(s.map->region_at(g) == nullptr);
  CHECK(s.space.recycled_bytes() == 0);
  CHECK(s.space.oldest_recycled() == nullptr);
  CHECK(s.space.chunks() == s.chunk);
  CHECK(s.take(10)->chunk == s.chunk);
}

TEST_CASE("a region that becomes live starts without the advice and marks of the last block there") {
  Space s(10);
  Region* region = s.take(10);
  region->advice = 1;
  region->advice_is_programs = region->disturbed = true;
  region->shared_with_children = true;
  s.space.give_back(*region, State::kFree);
  region = s.take(10);
  CHECK(region->advice == 0);
  CHECK_FALSE(region->advice_is_programs);
  CHECK_FALSE(region->disturbed);
  CHECK_FALSE(region->shared_with_children);
}

namespace {

// Everything that must hold whatever was done. The model: base -> granules of every live region.
void require_consistent(Space& s, const std::map<char*, uint64_t>& model) {
  size_t live = 0;
  uint64_t recycled = 0;
  for (Chunk* c = s.space.chunks(); c != nullptr; c = c->next) {
    char* at = c->range.base;
    State before = State::kLive;
    uint64_t live_here = 0;
    for (Region* r = s.space.first_of(*c); r != nullptr; r = s.space.next_of(*r)) {
      REQUIRE(r->chunk == c);
      REQUIRE(r->span.base == at);
      REQUIRE(r->span.bytes >= kGranule);
      REQUIRE(r->committed <= r->span.bytes);
      REQUIRE(s.map->region_at(r->span.base) == r);
      REQUIRE(s.map->region_at(r->span.end() - 1) == r);
      if (r->state == State::kLive) {
        const auto known = model.find(r->span.base);
        REQUIRE(known != model.end());
        REQUIRE(known->second == r->span.bytes / kGranule);
        for (char* g = r->span.base; g < r->span.end(); g += kGranule)
          if (s.map->region_at(g) != r) FAIL("a granule of a live region leads elsewhere");
        ++live_here;
      } else {
        REQUIRE(r->state != before);  // it would have been merged
      }
      if (r->state == State::kRecycled) recycled += r->span.bytes;
      before = r->state;
      at = r->span.end();
    }
    REQUIRE(at == c->range.end());
    REQUIRE(c->live_regions == live_here);
    live += live_here;
  }
  REQUIRE(live == model.size());
  REQUIRE(recycled == s.space.recycled_bytes());
}

}  // namespace

TEST_CASE("thousands of random takes, returns, extensions and cuts leave the space tiled and merged") {
  std::mt19937_64 random(4);
  Space s(300);
  REQUIRE(s.space.add_chunk(addresses(1, 77), s.backing) != nullptr);
  std::map<char*, uint64_t> model;
  uint64_t taken = 0, extended = 0;
  for (int step = 0; step < 6000; ++step) {
    const auto some = [&]() -> Region& {
      auto it = model.begin();
      std::advance(it, static_cast<long>(random() % model.size()));
      return *s.map->region_at(it->first);
    };
    const uint64_t what = random() % 10;
    if (what < 4 || model.empty()) {
      const uint64_t granules = 1 + random() % (random() % 8 == 0 ? 60 : 10);
      const uint64_t alignment = kGranule << (random() % 4 == 0 ? random() % 6 : 0);
      const State wanted = random() % 2 == 0 ? State::kFree : State::kRecycled;
      if (Region* region = s.take(granules, wanted, alignment)) {
        REQUIRE(reinterpret_cast<uint64_t>(region->span.base) % alignment == 0);
        region->committed = region->span.bytes;
        model[region->span.base] = granules;
        ++taken;
      }
    } else if (what < 7) {
      Region& region = some();
      model.erase(region.span.base);
      s.space.give_back(region, random() % 2 == 0 ? State::kFree : State::kRecycled);
    } else if (what < 8) {
      Region& region = some();
      const uint64_t bytes = region.span.bytes + (1 + random() % 8) * kGranule;
      bool recycled = false;
      if (s.space.extend(region, bytes, recycled)) {
        model[region.span.base] = bytes / kGranule;
        ++extended;
      }
    } else if (what < 9) {
      Region& region = some();
      if (region.span.bytes == kGranule) continue;
      const uint64_t left = 1 + random() % (region.span.bytes / kGranule - 1);
      Region* rest = s.space.cut(region, left * kGranule);
      s.space.give_back(*rest, random() % 2 == 0 ? State::kFree : State::kRecycled);
      model[region.span.base] = left;
    } else if (Region* oldest = s.space.oldest_recycled()) {
      s.space.unlist(*oldest);
      s.space.give_back(*oldest, State::kFree);
    }
    if (step % 4 == 0) require_consistent(s, model);
  }
  CHECK(taken > 1000);
  CHECK(extended > 50);
  // What the program gives back in the end is whole again.
  while (!model.empty()) {
    s.space.give_back(*s.map->region_at(model.begin()->first), State::kFree);
    model.erase(model.begin());
  }
  while (Region* oldest = s.space.oldest_recycled()) {
    s.space.unlist(*oldest);
    s.space.give_back(*oldest, State::kFree);
  }
  require_consistent(s, model);
  CHECK(s.sizes() == Sizes{300});
}

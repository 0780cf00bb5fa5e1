// streams_test.cc - which runs of extents are recognised, and how far ahead they are read.
#include "libpreload/pager/streams.h"

#include <random>
#include <set>
#include <vector>

#include "tests/support/catch.h"

using namespace spillway;

namespace {

constexpr int kMost = 8;
bool never_here(const void*, int64_t) { return false; }
const char kChunk = 0, kOtherChunk = 0;

// The extents that are read ahead when these are touched one after the other.
std::set<int64_t> read_ahead(Streams& streams, const std::vector<int64_t>& touched,
                             const void* chunk = &kChunk) {
  std::set<int64_t> all;
  for (int64_t index : touched) {
    const Streams::Ahead ahead = streams.on_fault(chunk, index, kMost);
    CHECK(ahead.count <= kMost);
    for (int i = 0; i < ahead.count; ++i) all.insert(ahead.first + i * ahead.step);
  }
  return all;
}

}  // namespace

TEST_CASE("the second of two neighbours makes a stream, in either direction") {
  Streams streams{never_here};
  CHECK(read_ahead(streams, {10}).empty());
  CHECK(read_ahead(streams, {11}) == std::set<int64_t>{12});
  CHECK(read_ahead(streams, {50, 49}) == std::set<int64_t>{48});
}
TEST_CASE("a stream is read further ahead the longer it goes on, and nothing of it twice") {
  Streams streams{never_here};
  std::set<int64_t> seen;
  int64_t farthest = 0;
  for (int64_t index = 0; index < 40; ++index) {
    const Streams::Ahead ahead = streams.on_fault(&kChunk, index, kMost);
    for (int i = 0; i < ahead.count; ++i) {
      CHECK(seen.insert(ahead.first + i * ahead.step).second);
      farthest = ahead.first + i * ahead.step;
    }
  }
  CHECK(farthest == 39 + kMost);
  for (int64_t index = 2; index <= farthest; ++index) CHECK(seen.count(index) == 1);
}
TEST_CASE("what could not be read ahead is asked for the next time") {
  Streams streams{never_here};
  read_ahead(streams, {0, 1, 2, 3});
  const Streams::Ahead cut = streams.on_fault(&kChunk, 4, kMost);
  REQUIRE(cut.count > 1);
  streams.fell_short(cut, 1);
  CHECK(streams.on_fault(&kChunk, 5, kMost).first == cut.first + cut.step);
  const Streams::Ahead nothing = streams.on_fault(&kChunk, 6, kMost);
  REQUIRE(nothing.count > 0);
  streams.fell_short(nothing, 0);
  CHECK(streams.on_fault(&kChunk, 7, kMost).first == nothing.first);
}
TEST_CASE("a stride must be seen twice") {
  Streams streams{never_here};
  CHECK(read_ahead(streams, {0, 5}).empty());
  CHECK(read_ahead(streams, {10}) == std::set<int64_t>{15, 20});
}
TEST_CASE("several streams at once are all read ahead") {
  Streams streams{never_here};
  std::vector<int64_t> touched;
  for (int64_t step = 0; step < 8; ++step)
    for (int64_t stream = 0; stream < 10; ++stream) touched.push_back(stream * 1000 + step);
  const std::set<int64_t> ahead = read_ahead(streams, touched);
  for (int64_t stream = 0; stream < 10; ++stream) CHECK(ahead.count(stream * 1000 + 8) == 1);
}
TEST_CASE("streams of different chunks have nothing to do with each other") {
  Streams streams{never_here};
  CHECK(read_ahead(streams, {10}, &kChunk).empty());
  CHECK(read_ahead(streams, {11}, &kOtherChunk).empty());
}
TEST_CASE("scattered touches are seldom taken for streams") {
  Streams streams{never_here};
  std::mt19937_64 random(3);
  size_t ahead = 0;
  for (int i = 0; i < 1000; ++i)
    ahead +=
        static_cast<size_t>(streams.on_fault(&kChunk, static_cast<int64_t>(random() % 100'000), kMost).count);
  CHECK(ahead < 20);
}

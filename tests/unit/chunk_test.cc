// chunk_test.cc - which granules of a chunk are mapped, and runs of them.
#include <cstring>
#include <random>
#include <vector>

#include "libpreload/backing/backing.h"

#include "tests/support/catch.h"

using namespace spillway;

namespace {

// A chunk over addresses that nobody touches, with the room behind it that its bitmap needs.
class ChunkOf {
 public:
  explicit ChunkOf(uint64_t granules)
      : memory_(Chunk::footprint(granules * kExtentBytes) / sizeof(uint64_t) + 1),
        chunk_(new (memory_.data()) Chunk) {
    chunk_->range = {reinterpret_cast<char*>(uint64_t{1} << 40), granules * kExtentBytes};
  }
  Chunk* operator->() { return chunk_; }
  Chunk& operator*() { return *chunk_; }
  PageRange granules(uint64_t from, uint64_t count) {
    return {chunk_->range.base + from * kExtentBytes, count * kExtentBytes};
  }

 private:
  std::vector<uint64_t> memory_;
  Chunk* chunk_;
};

}  // namespace

TEST_CASE("nothing of a new chunk is mapped") {
  ChunkOf chunk(130);
  CHECK(chunk->next_run(chunk->range, true).empty());
  const PageRange all = chunk->next_run(chunk->range, false);
  CHECK(all.base == chunk->range.base);
  CHECK(all.bytes == chunk->range.bytes);
}

TEST_CASE("a chunk's bitmap has a bit for its last granule") {
  for (uint64_t granules : {1, 63, 64, 65, 128, 129}) {
    ChunkOf chunk(granules);
    chunk->set_mapped(chunk.granules(granules - 1, 1), true);
    INFO(granules);
    CHECK(chunk->next_run(chunk->range, true).base == chunk.granules(granules - 1, 1).base);
  }
}

TEST_CASE("a run of mapped granules ends where the range that was asked for ends") {
  ChunkOf chunk(200);
  chunk->set_mapped(chunk.granules(10, 150), true);
  const PageRange run = chunk->next_run(chunk.granules(5, 100), true);
  CHECK(run.base == chunk.granules(10, 0).base);
  CHECK(run.bytes == 95 * kExtentBytes);
}

TEST_CASE("runs of granules agree with a vector of bool") {
  constexpr uint64_t kGranules = 200;
  std::mt19937 random(3);
  ChunkOf chunk(kGranules);
  std::vector<bool> model(kGranules);
  for (int step = 0; step < 3000; ++step) {
    const uint64_t from = random() % kGranules, count = 1 + random() % (kGranules - from);
    if (step % 2 == 0) {
      const uint64_t few = std::min<uint64_t>(count, 1 + random() % 70);
      const bool mapped = random() % 2 == 0;
      chunk->set_mapped(chunk.granules(from, few), mapped);
      std::fill_n(model.begin() + static_cast<long>(from), few, mapped);
    }
    const bool wanted = random() % 2 == 0;
    uint64_t first = from;
    while (first < from + count && model[first] != wanted) ++first;
    uint64_t last = first;
    while (last < from + count && model[last] == wanted) ++last;
    const PageRange run = chunk->next_run(chunk.granules(from, count), wanted);
    REQUIRE(run.bytes == (last - first) * kExtentBytes);
    if (!run.empty()) REQUIRE(run.base == chunk.granules(first, 0).base);
    REQUIRE(chunk->is_mapped(chunk.granules(from, 0).base) == model[from]);
  }
}

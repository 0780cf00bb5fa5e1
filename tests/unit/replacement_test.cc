// replacement_test.cc - which extents stay: a memory of some frames, and programs that touch extents in some
// order.
#include "libpreload/pager/replacement.h"

#include <vector>

#include "tests/support/catch.h"

using namespace spillway;

namespace {

class Memory {
 public:
  Memory(int frames, int extents) : frames_(frames), extents_(static_cast<size_t>(extents)) {
    replacement_.set_budget(frames);
  }
  // False: it had to be read.
  bool touch(int index) {
    Extent& extent = extents_[static_cast<size_t>(index)];
    if (extent.state == Extent::State::kResident) return true;
    const bool was_stored = extent.state == Extent::State::kStored;
    if (was_stored) replacement_.on_read(extent, clock_);
    if (resident_ == frames_) {
      Extent* victim = replacement_.victim();
      REQUIRE(victim != nullptr);
      replacement_.remove(*victim);
      victim->state = Extent::State::kStored;
      --resident_;
    }
    clock_ += kExtentPages;
    extent.state = Extent::State::kResident;
    replacement_.add(extent, clock_, was_stored);
    ++resident_;
    return false;
  }
  // The share of hits of so many rounds over extents first to end - 1.
  double loop(int first, int end, int rounds) {
    int hits = 0;
    for (int round = 0; round < rounds; ++round)
      for (int i = first; i < end; ++i) hits += touch(i);
    return static_cast<double>(hits) / rounds / (end - first);
  }
  Replacement& replacement() { return replacement_; }

 private:
  int frames_, resident_ = 0;
  uint64_t clock_ = 0;
  std::vector<Extent> extents_;
  Replacement replacement_;
};

}  // namespace

TEST_CASE("a loop over a third more than fits finds most of it in memory") {
  Memory memory(240, 320);
  memory.loop(0, 320, 3);
  CHECK(memory.loop(0, 320, 10) > 0.65);  // 0.75 is what fits; the oldest first would find nothing
}
TEST_CASE("a loop over four times what fits finds most of what fits") {
  Memory memory(240, 960);
  memory.loop(0, 960, 2);
  CHECK(memory.loop(0, 960, 10) > 0.15);  // of 0.25
}
TEST_CASE("memory that nobody needs any more goes to the loop") {
  Memory memory(240, 1000);
  memory.loop(0, 1000, 1);
  memory.loop(0, 320, 2);  // 760 to 999 are dead
  CHECK(memory.loop(0, 320, 10) > 0.55);
}
TEST_CASE("a loop that has moved finds its memory soon") {
  Memory memory(240, 1000);
  memory.loop(0, 320, 20);
  memory.loop(500, 820, 4);
  CHECK(memory.loop(500, 820, 10) > 0.55);
  // And what fits is not read for long.
  memory.loop(0, 200, 8);
  CHECK(memory.loop(0, 200, 5) == 1.0);
}
TEST_CASE("back and forth finds what fits in each round") {
  Memory memory(240, 320);
  int hits = 0;
  for (int round = 0; round < 12; ++round)
    for (int i = 0; i < 320; ++i) hits += memory.touch(round % 2 ? 319 - i : i);
  CHECK(hits > 11 * 200);
}
TEST_CASE("what is read once is no loop: the oldest leaves first") {
  Memory memory(100, 3000);
  memory.loop(0, 3000, 1);
  CHECK(memory.loop(0, 100, 1) == 0.0);
  CHECK(!memory.replacement().is_loop());
  CHECK(memory.loop(0, 100, 1) == 1.0);
}
TEST_CASE("an extent that was removed is no victim") {
  std::vector<Extent> extents(3);
  Replacement replacement;
  replacement.set_budget(32);
  for (Extent& e : extents) replacement.add(e, 1, false);
  replacement.remove(extents[0]);
  CHECK(replacement.victim() == &extents[1]);
  CHECK(replacement.oldest() == &extents[1]);
  replacement.remove(extents[1]);
  replacement.remove(extents[2]);
  CHECK(replacement.victim() == nullptr);
  CHECK(replacement.oldest() == nullptr);
}

TEST_CASE("the last few that a thread waited for stay") {
  Replacement replacement;
  replacement.set_budget(6);
  replacement.expect_loop();
  std::vector<Extent> extents(6);
  // Two that were read, as in a loop; then two come back from the staging area, again and again.
  uint64_t now = 0;
  for (Extent& extent : extents) replacement.add(extent, ++now, /*was_read=*/&extent < &extents[4]);
  for (int round = 0; round < 100; ++round) {
    for (size_t i = 2; i < 6; ++i) {
      replacement.remove(extents[i]);
      replacement.on_wanted(extents[i]);
      replacement.add(extents[i], ++now, /*was_read=*/false);
    }
    Extent* victim = replacement.victim();
    REQUIRE(victim != nullptr);
    CHECK(victim < &extents[2]);
  }
  replacement.remove(extents[0]);
  replacement.remove(extents[1]);
  CHECK(replacement.victim() == nullptr);
}

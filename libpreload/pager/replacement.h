// replacement.h - which extent leaves memory next: the one that came first, unless much of what leaves is
// read again soon.
//
// A loop over more than fits finds nothing in memory when the oldest leaves first, though most would fit.
// Where that shows, in reads of what was here a few memories ago, what is read leaves again soon after, and
// the rest stays and is found in the next round. Now and then an old one leaves, too, as a probe: are they
// read again, few more leave; are they not, what has stayed without need soon makes room for what is read.
//
// Threads: the caller holds the pager's lock.
#pragma once
#include <atomic>

#include "libpreload/pager/extent.h"

namespace spillway {

class Replacement {
 public:
  constexpr Replacement() = default;

  // So many extents are in memory at most.
  void set_budget(int frames);

  // The extent is about to be read as a whole, again. Extent::since: when it came the last time.
  void on_read(Extent& extent, uint64_t now);
  // The program says that it reads in loops.
  void expect_loop() {
    is_loop_ = true;
    repeats_ = kMost;
  }
  // It is resident now. `was_read`: not brought back from the staging area after all.
  void add(Extent& extent, uint64_t now, bool was_read);
  void remove(Extent& extent);
  // A thread waited for it. One instruction may need several extents at once (a string move whose source and
  // whose target each lie across a boundary): the last few to be waited for stay, or it would never end.
  void on_wanted(Extent& extent) { extent.wanted_as = ++wanted_; }

  // Who leaves next, and who has been here longest; null: nobody. The caller removes it.
  Extent* victim();
  bool is_in_use(const Extent& extent) const { return wanted_ - extent.wanted_as < kAtOnce; }
  Extent* oldest() { return !staying_.empty() ? staying_.front() : passing_.front(); }

  bool is_loop() const { return is_loop_; }
  // How often one was recognised so far.
  uint64_t loops() const { return loops_.load(std::memory_order_relaxed); }

 private:
  static constexpr uint32_t kAtOnce = 4;
  static constexpr uint64_t kSoon = 4;  // in memories
  static constexpr int kEnough = 16, kMost = 64;
  // One victim in so many is an old one: while nothing is known or they are not missed, and when they are.
  static constexpr unsigned kOften = 2, kSeldom = 16;
  // Probes are judged by batches, some batches later: a round of the loop may take so long.
  static constexpr unsigned kBatch = 32, kBatches = 8, kLater = 4, kMissed = kBatch / 4;

  Extent* first_choice();
  void was_missed(Extent& extent);
  void mark_probe(Extent& extent);

  IntrusiveList<Extent> staying_, passing_;  // oldest first
  int passing_count_ = 0;
  int wanted_passing_ = 2;
  uint64_t soon_pages_ = 0;
  unsigned victims_ = 0, probes_ = 0;
  unsigned one_in_ = kOften;
  unsigned missed_[kBatches] = {};  // of the probes of a batch
  uint32_t wanted_ = kAtOnce;       // counts up
  int repeats_ = 0;
  bool is_loop_ = false;
  std::atomic<uint64_t> loops_ = 0;
};

}  // namespace spillway

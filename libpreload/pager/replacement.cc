#include "libpreload/pager/replacement.h"

#include <algorithm>
#include <utility>

namespace spillway {

void Replacement::set_budget(int frames) {
  // What a reader, or several, may still be at.
  wanted_passing_ = std::clamp(frames / 16, 2, 16);
  soon_pages_ = kSoon * static_cast<uint64_t>(frames) * kExtentPages;
}

void Replacement::on_read(Extent& extent, uint64_t now) {
  was_missed(extent);
  const bool repeats = extent.since != 0 && now - extent.since <= soon_pages_;
  repeats_ = repeats ? std::min(repeats_ + 1, kMost) : std::max(repeats_ - 2, 0);
  if (repeats_ >= kEnough && !std::exchange(is_loop_, true)) loops_.fetch_add(1, std::memory_order_relaxed);
  if (repeats_ == 0) is_loop_ = false;
}

void Replacement::add(Extent& extent, uint64_t now, bool was_read) {
  was_missed(extent);
  extent.since = now;
  extent.passing = was_read && is_loop();
  if (extent.passing) {
    passing_.push_back(extent);
    ++passing_count_;
  } else {
    staying_.push_back(extent);
  }
}

void Replacement::remove(Extent& extent) {
  if (extent.passing) --passing_count_;
  (extent.passing ? passing_ : staying_).remove(extent);
}

Extent* Replacement::victim() {
  Extent* first = first_choice();
  if (first == nullptr || !is_in_use(*first)) return first;
  for (IntrusiveList<Extent>* list : {&staying_, &passing_})
    for (Extent* e = list->front(); e != nullptr; e = list->after(e))
      if (!is_in_use(*e)) return e;
  return nullptr;
}

Extent* Replacement::first_choice() {
  const auto stay = [this] {
    Extent* extent = passing_.front();
    remove(*extent);
    extent->passing = false;
    staying_.push_back(*extent);
  };
  if (!is_loop())
    while (!passing_.empty()) stay();
  if (staying_.empty()) return passing_.front();
  if (passing_count_ <= wanted_passing_) return staying_.front();
  if (++victims_ % one_in_ != 0) return passing_.front();
  stay();
  mark_probe(*staying_.front());
  return staying_.front();
}

void Replacement::mark_probe(Extent& extent) {
  const unsigned batch = probes_ / kBatch;
  if (probes_++ % kBatch == 0) {
    if (batch >= kLater) one_in_ = missed_[(batch - kLater) % kBatches] < kMissed ? kOften : kSeldom;
    missed_[batch % kBatches] = 0;
  }
  extent.probe = static_cast<uint8_t>(1 + batch % kBatches);
}

void Replacement::was_missed(Extent& extent) {
  if (extent.probe != 0) ++missed_[extent.probe - 1];
  extent.probe = 0;
}

}  // namespace spillway

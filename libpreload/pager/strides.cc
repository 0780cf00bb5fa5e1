#include "libpreload/pager/strides.h"

#include <algorithm>
#include <cstdlib>

namespace spillway {

bool Strides::was_touched(const void* chunk, int64_t page) const {
  return std::any_of(recent_, recent_ + kRecent,
                     [&](const Touch& t) { return t.chunk == chunk && t.page == page; });
}

// The page is one of those that were read ahead, or the next.
Strides::Run* Strides::run_through(const void* chunk, int64_t page) {
  for (Run& run : runs_) {
    if (run.step == 0 || run.chunk != chunk) continue;
    const int64_t distance = page - run.at;
    if (distance % run.step == 0 && distance / run.step >= 1 && distance / run.step <= run.window + 1)
      return &run;
  }
  return nullptr;
}

// Four touches in equal steps begin a run, whatever was touched in between.
Strides::Run* Strides::begin(const void* chunk, int64_t page) {
  for (unsigned i = 1; i <= kRecent; ++i) {
    const Touch& before = recent_[(touches_ - i) % kRecent];
    const int64_t step = page - before.page;
    if (before.chunk != chunk || std::llabs(step) < kShortest || std::llabs(step) > kLongest) continue;
    if (!was_touched(chunk, page - 2 * step) || !was_touched(chunk, page - 3 * step)) continue;
    Run& run =
        *std::min_element(runs_, runs_ + kRuns, [](const Run& a, const Run& b) { return a.used < b.used; });
    run = {chunk, page, step, page + step, kSmallestWindow / 2, 0};
    return &run;
  }
  return nullptr;
}

bool Strides::on_fault(const void* chunk, int64_t page, Ahead& ahead) {
  Run* run = run_through(chunk, page);
  if (run == nullptr) run = begin(chunk, page);
  recent_[touches_++ % kRecent] = {chunk, page};
  if (run == nullptr) return false;
  run->used = ++clock_;
  run->at = page;
  run->window = std::min(2 * run->window, kLargestWindow);
  // Whoever skipped pages that were in memory has overtaken what was read ahead.
  if ((run->front - page) / run->step < 1) run->front = page + run->step;
  const int64_t end = page + (run->window + 1) * run->step;
  ahead = {run->front, run->step, static_cast<int>((end - run->front) / run->step)};
  run->front = end;
  return true;
}

}  // namespace spillway

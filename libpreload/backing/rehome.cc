#include "libpreload/backing/rehome.h"

#include <algorithm>

#include "base/os/limits.h"
#include "base/os/stop_threads.h"
#include "libpreload/large.h"
#include "libpreload/settings.h"
#include "libpreload/stats.h"

namespace spillway {
namespace {

constexpr int kLookMs = 5;
constexpr int kNeverMs = 100;
// Copied in one stop: about 20 ms.
constexpr int kGranulesPerStop = 16;

}  // namespace

void Rehome::expect_snapshots(unsigned forks) {
  expecting_ = true;
  baseline_bytes_ = meter_.read().anonymous_bytes;
  const uint64_t memory = settings.limit_bytes != 0 ? settings.limit_bytes.load() : os::memory_limit_bytes();
  // Relatives share the memory: the k-th fork of a family gets a k-th of an eighth.
  allowance_bytes_ = std::max(memory / 8 / std::max(1u, forks), kExtentBytes);
}

int Rehome::run(const os::PageTable& pages) {
  if (!expecting_) return kNeverMs;
  const uint64_t anonymous = meter_.read().anonymous_bytes;
  if (anonymous < baseline_bytes_) baseline_bytes_ = anonymous;
  if (anonymous - baseline_bytes_ < allowance_bytes_) return kLookMs;

  bool snapshots = false;
  char* hand = nullptr;
  for (bool more = true; more;) {
    // 1. Which granules have memory of their own; nobody stands still for that.
    PageRange written[kGranulesPerStop];
    int count = 0;
    while (count < kGranulesPerStop) {
      const PageRange granule = large_heap.next_snapshot_extent(hand);
      more = !granule.empty();
      if (!more) break;
      snapshots = true;
      hand = granule.end();
      if (pages.count(granule).anonymous != 0) written[count++] = granule;
    }
    if (count == 0) break;
    // 2. Copy them. The heap's lock first: a thread that stands still must not hold it, nor jemalloc's, which
    //    nothing here needs.
    os::Locked locked(large_heap.lock());
    os::StopThreads stop;
    if (!stop.stopped()) return kNeverMs;
    for (int i = 0; i < count; ++i)
      if (large_heap.thaw_extent(written[i])) stats.rehomed_bytes += written[i].bytes;
  }
  baseline_bytes_ = meter_.read().anonymous_bytes;
  expecting_ = snapshots;
  return kLookMs;
}

}  // namespace spillway

// The interface of include/spillway/preload.h.
#include "spillway/preload.h"

#include <algorithm>
#include <cstring>

#include "base/os/keep_errno.h"
#include "base/os/memory.h"
#include "base/os/procfs.h"
#include "libpreload/backing/pacer.h"
#include "libpreload/large.h"
#include "libpreload/lifecycle.h"
#include "libpreload/pager/pager.h"
#include "libpreload/settings.h"
#include "libpreload/stats.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace spillway;

namespace {

int as_result(Errno e) {
  if (e.ok()) return 0;
  errno = e.code();
  return -1;
}

// The pages of the range, which lie in one block; empty: they do not.
PageRange pages_in_block(const void* address, size_t bytes, Region*& region) {
  region = LargeHeap::block_around(address);
  if (region == nullptr || bytes == 0 || bytes > region->span.bytes ||
      region->span.offset_of(address) + bytes > region->committed)
    return {};
  const auto first = round_down(reinterpret_cast<uint64_t>(address), kPageBytes);
  const auto end = round_up(reinterpret_cast<uint64_t>(address) + bytes, kPageBytes);
  return {reinterpret_cast<char*>(first), end - first};
}

}  // namespace

EXPORT int spillway_preload_advise_(const void* address, size_t bytes, int advice) {
  Region* region;
  const PageRange pages = pages_in_block(address, bytes, region);
  if (pages.empty() || advice < SPILLWAY_ADVICE_NORMAL || advice > SPILLWAY_ADVICE_DROP)
    return as_result(Errno(EINVAL));
  return as_result(large_heap.advise(*region, pages, static_cast<Advice>(advice)));
}

EXPORT int spillway_preload_prefetch_(const void* address, size_t bytes) {
  Region* region;
  const PageRange pages = pages_in_block(address, bytes, region);
  if (pages.empty()) return as_result(Errno(EINVAL));
  return as_result(large_heap.advise(*region, pages, Advice::kPrefetch));
}

EXPORT int64_t spillway_preload_resident_(const void* address, size_t bytes) {
  Region* region;
  PageRange rest = pages_in_block(address, bytes, region);
  if (rest.empty()) return as_result(Errno(EINVAL));
  int64_t resident = 0;
  while (!rest.empty()) {
    unsigned char present[1024];
    const PageRange part = rest.sub(0, std::min<uint64_t>(rest.bytes, sizeof present * kPageBytes));
    if (Errno e = os::cached_pages(part, present); !e.ok()) return as_result(e);
    for (uint64_t i = 0; i < part.bytes >> kPageShift; ++i)
      resident += (present[i] & 1) * int64_t{kPageBytes};
    rest = {part.end(), rest.bytes - part.bytes};
  }
  return resident;
}

EXPORT int spillway_preload_set_limit_(uint64_t bytes) {
  ensure_started();
  settings.limit_bytes = bytes;
  pacer.configure();
  large_heap.set_limit(bytes);
  return 0;
}

EXPORT int spillway_preload_statistics_(spillway_preload_statistics* out, size_t bytes) {
  ensure_started();
  KeepErrno keep;
  spillway_preload_statistics now{};
  now.limit_bytes = settings.limit_bytes;
  now.large_bytes = stats.managed_bytes();
  now.peak_large_bytes = stats.peak_managed_bytes();
  if (pager.engaged()) {
    const Pager::Counters& whole = pager.counters();
    const Lines::Counters& lines = pager.line_counters();
    now.faults = whole.faults;
    now.staged_hits = whole.staged_hits + lines.staged_hits;
    now.read_bytes = whole.loads * kExtentBytes + lines.load_pages * kPageBytes;
    now.written_bytes = whole.stores * kExtentBytes + lines.stores * kPageBytes;
    now.unchanged_bytes = whole.unchanged * kExtentBytes + lines.unchanged * kPageBytes;
  } else {
    const os::ProcessTotals totals = os::process_totals();
    now.read_bytes = totals.storage_read_bytes;
    now.written_bytes = totals.storage_written_bytes;
  }
  memcpy(out, &now, std::min(bytes, sizeof now));
  return 0;
}

#include "libpreload/backing/access_advisor.h"

#include <algorithm>
#include <cstdlib>

#include "base/os/memory.h"
#include "libpreload/large.h"

namespace spillway {
namespace {

constexpr uint64_t kFirstWindow = 4 * kMiB;     // of a stream: what a device delivers in about 2 ms
constexpr uint64_t kLargestWindow = 16 * kMiB;  // larger gained nothing, and eats into small memory limits
constexpr int kRunOfStream = 4;
constexpr uint64_t kSmallWindow = 256 * kKiB;
constexpr int kIdleRounds = 100;
constexpr int64_t kFaultAround = 64 * kKiB;  // a fault maps so much of what is in the page cache
constexpr int kFaultVotes = 64;

char* page_of(char* p) {
  return reinterpret_cast<char*>(round_down(reinterpret_cast<uint64_t>(p), kPageBytes));
}

}  // namespace

AccessAdvisor::Block& AccessAdvisor::block_of(Region* region) {
  Block& block = blocks_[(reinterpret_cast<uint64_t>(region->span.base) >> kExtentShift) % kBlocks];
  if (block.region != region || block.base != region->span.base) {
    block = {};
    block.region = region;
    block.base = region->span.base;
  }
  return block;
}

void AccessAdvisor::on_fault(char* address, uint32_t thread) {
  Region* region = LargeHeap::block_around(address);
  // A block of a few windows is soon in memory, whatever the advice.
  if (region == nullptr || region->span.bytes < 8 * kMiB) return;
  if (region->advice_is_programs) return;
  Block& block = block_of(region);
  vote(block, {page_of(address), thread, 0});
  decide(block, address);
}

// The fault `back` before the next, or null.
const AccessAdvisor::Fault* AccessAdvisor::earlier(const Block& block, int back) const {
  const Fault& fault = block.last[(block.next + kRemembered - back) % kRemembered];
  return fault.page != nullptr ? &fault : nullptr;
}

const AccessAdvisor::Fault* AccessAdvisor::last_of(const Block& block, uint32_t thread) const {
  for (int i = 1; i <= kRemembered; ++i)
    if (const Fault* fault = earlier(block, i); fault != nullptr && fault->thread == thread) return fault;
  return nullptr;
}

// To the nearest of the last faults, since several streams may run through a block; but of no more than so
// many that most of the block remains far from all of them.
int64_t AccessAdvisor::distance_to_nearest(const Block& block, const char* page) const {
  const uint64_t windows = block.region->span.bytes / (8 * window_bytes_);
  const int compared =
      std::clamp<int>(static_cast<int>(std::min<uint64_t>(windows, kRemembered)), 1, kRemembered);
  int64_t distance = INT64_MAX;
  for (int i = 1; i <= compared; ++i)
    if (const Fault* fault = earlier(block, i);
        fault != nullptr && std::abs(page - fault->page) < std::abs(distance))
      distance = page - fault->page;
  return distance;
}

// The program is using most of the pages between the two.
bool AccessAdvisor::is_walked(const char* from, const char* to) const {
  constexpr int kLooks = 16;
  const char* start = std::min(from, to);
  const uint64_t pages = static_cast<uint64_t>(std::abs(to - from)) / kPageBytes;
  if (pages < kLooks) return false;
  int present = 0;
  for (uint64_t i = 0; i < kLooks; ++i) {
    const char* page = start + (pages * i + pages / 2) / kLooks * kPageBytes;
    present += pages_.count({const_cast<char*>(page), kPageBytes}).present != 0;
  }
  return present >= kLooks * 3 / 4;
}

// From its thread's fault before, in the direction in which that one moved, not far, and not by a constant
// stride, or along pages that are in use: a stream, of which some was in memory already (a scan again and
// again of little more than fits) or was read ahead. Says nothing about read-ahead.
bool AccessAdvisor::moves_on(const Block& block, const Fault& fault, const Fault& before) const {
  if ((fault.step > 0) != (before.step > 0) ||
      std::abs(fault.step) > static_cast<int64_t>(block.region->span.bytes / 16))
    return false;
  return fault.step != before.step ||
         (std::abs(fault.step) > kFaultAround && is_walked(before.page, fault.page));
}

void AccessAdvisor::vote(Block& block, Fault fault) {
  const Fault* before = last_of(block, fault.thread);
  if (before != nullptr) fault.step = fault.page - before->page;
  const bool stream_goes_on = before != nullptr && moves_on(block, fault, *before);
  const int64_t distance = distance_to_nearest(block, fault.page);
  block.last[block.next++ % kRemembered] = fault;
  if (distance == INT64_MAX || distance == 0) return;

  const int64_t pages = distance / static_cast<int64_t>(kPageBytes);
  if (block.region->advice == os::kAdviceRandom) {
    // Every page faults: only neighbours make a stream.
    block.votes.add(/*is_dense=*/std::abs(pages) <= 2);
    return;
  }
  // The kernel reads a window around the fault, so the next fault of a dense stream is just beyond it: half a
  // window and a page away going backward. Multiples of 64 KiB are strides, in which small windows help less
  // than they cost.
  const int64_t window = static_cast<int64_t>(window_bytes_);
  const bool far = std::abs(distance) > window + window / 4;
  const bool gone = std::abs(distance) < window / 2 - 2 * static_cast<int64_t>(kPageBytes);
  const bool stride = window_bytes_ <= kSmallWindow && std::abs(pages) >= 16 && pages % 16 == 0;
  if (far || gone || stride) {
    if (!stream_goes_on) block.votes.add(/*is_dense=*/false);
    block.run = 0;
    return;
  }
  block.votes.add(/*is_dense=*/true);
  block.run = distance < 0 ? block.run + 1 : 0;
  if (block.run >= kRunOfStream) {
    start_stream(block.region, fault.page);
    block.run = 0;
  }
}

void AccessAdvisor::decide(Block& block, char* address) {
  const int now = block.region->advice;
  // Each vote under normal advice may cost a window.
  const int votes = now != os::kAdviceRandom && window_bytes_ > kSmallWindow ? kFaultVotes / 4 : kFaultVotes;
  const int advice = block.votes.decide(now, votes);
  if (advice != AccessVotes::kUndecided && advice != now) large_heap.advise_block(address, advice);
}

void AccessAdvisor::start_stream(Region* region, char* at) {
  Stream* chosen = nullptr;
  for (Stream& s : streams_) {
    // Known already, and the reader caught up with it: read further ahead.
    if (s.region == region && static_cast<uint64_t>(std::abs(at - s.front)) <= 2 * s.window + window_bytes_) {
      s.window = std::min(2 * s.window, kLargestWindow);
      chosen = &s;
      break;
    }
    if (s.region == nullptr) chosen = &s;
  }
  if (chosen == nullptr) return;
  if (chosen->region == nullptr) chosen->window = kFirstWindow;
  chosen->region = region;
  chosen->front = at;
  chosen->idle = 0;
  read_ahead(*chosen);
}

void AccessAdvisor::read_ahead(Stream& stream) {
  stream.front -= stream.window;
  // Advice for addresses that have just become somebody else's does no harm.
  const PageRange range = PageRange{stream.front, stream.window}.intersect(stream.region->span);
  if (range.empty())
    stream = {};
  else
    (void)os::prefetch(range);
}

bool AccessAdvisor::advance_streams() {
  bool active = false;
  for (Stream& s : streams_) {
    if (s.region == nullptr) continue;
    // The reader has come half-way through the window: its page there is mapped.
    char* half_way = s.front + s.window / 2;
    if (s.region->is_live_at(half_way) && pages_.count({half_way, kPageBytes}).present != 0) {
      s.idle = 0;
      read_ahead(s);
    } else if (++s.idle > kIdleRounds) {
      s = {};
    }
    active |= s.region != nullptr;
  }
  return active;
}

}  // namespace spillway

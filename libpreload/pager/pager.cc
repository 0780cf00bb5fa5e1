#include "libpreload/pager/pager.h"

#include <algorithm>
#include <utility>

#include "base/os/clock.h"
#include "base/os/memory.h"
#include "libpreload/pager/trace.h"

namespace spillway {

constinit Eternal<Pager> the_pager;

namespace {

// Read ahead of a stream at most, in extents: what a fast device needs under way, and a third of the slots.
constexpr int kLargestWindow = 8;
constexpr uint64_t kHoleBytes = 64 * kKiB;
// Where streams enter an extent: its first and last so many pages.
constexpr unsigned kEdgePages = kExtentPages / 8;

char* page_of(char* address) {
  return reinterpret_cast<char*>(round_down(reinterpret_cast<uint64_t>(address), kPageBytes));
}

}  // namespace

// --- faults

void Pager::on_fault(const os::Userfault::Fault& fault) {
  if (fault.is_protected) return admit(fault);
  PagedChunk* chunk = find_chunk(chunks_, fault.address);
  // A worker looks at a page that the program never touched.
  if (chunk == nullptr && staging_.contains(fault.address)) {
    fill_hole(fault.address);
    return;
  }
  if (chunk == nullptr) return admit(fault);
  Extent& extent = chunk->extent(fault.address);
  const auto page = static_cast<unsigned>((fault.address - address_of(extent)) >> kPageShift);
  ++counters_.faults;
  const bool may_be_stream =
      extent.state == State::kEmpty || extent.ahead || is_on_a_streams_way(extent, page);
  switch (extent.state) {
    case State::kResident: {
      const auto filled =
          static_cast<uint64_t>(fill_hole(fault.address) - page_of(fault.address)) >> kPageShift;
      trace.note_page(TraceKind::kFirstTouch, extent, page, filled);
      const auto fewer = static_cast<uint16_t>(std::min<uint64_t>(extent.holes, filled));
      extent.holes -= fewer;
      if (!extent.shared) holes_ -= fewer;
      return;
    }
    case State::kStored:
    case State::kScattered:
      trace.note_page(TraceKind::kFault, extent, page);
      return on_fault_on_disk(extent, page);
    case State::kStaged:
      ++counters_.staged_hits;
      trace.note(TraceKind::kStagedHit, extent);
      if (!extent.ahead) note_return();
      unlist(extent);
      if (takes_apart(extent, page)) {
        lines_.take_page(extent, page, slot_address(extent.slot) + page * kPageBytes);
        leave_slot(extent);
        return;
      }
      install(extent);
      break;
    case State::kLoading:
      trace.note_page(TraceKind::kFaultUnderWay, extent, page);
      begin_wait(extent);
      if (extent.linked()) {
        to_read_.remove(extent);
        to_read_.push_front(extent);
      }
      break;
    case State::kWriting:
      trace.note_page(TraceKind::kFaultUnderWay, extent, page);
      if (!extent.wanted) note_return();
      begin_wait(extent);
      break;
    case State::kEmpty:
      trace.note(TraceKind::kFirstTouch, extent);
      want(extent);
      break;
  }
  if (may_be_stream && (page < kEdgePages || page >= kExtentPages - kEdgePages)) read_ahead(extent);
}

// Staged, and touched by chance: while accesses are scattered its frame is better used for other pages.
bool Pager::is_worth_a_line(const Extent& extent, unsigned page) {
  return can_be_lines(extent) && !extent.ahead && lines_.are_the_rule() && !is_on_a_streams_way(extent, page);
}

bool Pager::takes_apart(Extent& extent, unsigned page) {
  if (is_worth_a_line(extent, page) && (regrets_ == 0 || --regrets_ == 0)) {
    extent.taken_apart = true;
    return true;
  }
  return is_in_steps(extent, page) && can_be_lines(extent);
}

bool Pager::can_be_lines(const Extent& extent) const {
  return extent.clean && whole_[extent.slot] && extent.file != 0;
}

bool Pager::is_resident(const void* chunk, int64_t index) {
  auto* paged = static_cast<PagedChunk*>(const_cast<void*>(chunk));
  const auto extents = static_cast<int64_t>(paged->range.bytes >> kExtentShift);
  return index < 0 || index >= extents ||
         paged->extent(paged->range.base + (index << kExtentShift)).state == State::kResident;
}

bool Pager::is_on_a_streams_way(const Extent& extent, unsigned page) {
  const auto index = static_cast<int64_t>(extent.chunk->offset(extent) >> kExtentShift);
  return streams_.expects(extent.chunk, index, page < kEdgePages, page >= kExtentPages - kEdgePages);
}

// The whole extent for streams, and a line for what is touched here and there.
void Pager::on_fault_on_disk(Extent& extent, unsigned page) {
  const bool is_here = extent.present.has(page) || extent.staged.has(page);
  if (extent.pending && !is_here) return;
  if (!is_here && !is_in_steps(extent, page) && extent.lines_under_way == 0 && !extent.indivisible) {
    const bool is_next = extent.advice == Advice::kSequential || is_on_a_streams_way(extent, page);
    Lines::Whole whole = lines_.suggests_whole(extent, page);
    if (whole == Lines::Whole::kRun)
      note_use(extent, /*sparse=*/false);
    else if (is_next && !is_doubtful(extent))
      whole = Lines::Whole::kRun;
    if (whole != Lines::Whole::kNo && extent.advice != Advice::kRandom) {
      lines_.note_whole(extent, whole);
      if (std::exchange(extent.taken_apart, false) && whole == Lines::Whole::kDense) regrets_ = kForOneRegret;
      want(extent);
      if (whole == Lines::Whole::kRun) read_ahead(extent);
      return;
    }
  }
  // After the fork.
  if (settling_ && !is_here) return lines_.miss();
  streams_.on_scattered_fault();
  if (lines_.frames() == 0) lines_.grow();
  lines_.on_fault(extent, page);
}

// Touched in large steps: pages alone, and those of the next steps.
bool Pager::is_in_steps(Extent& extent, unsigned page) {
  PagedChunk& chunk = *extent.chunk;
  const auto index = static_cast<int64_t>(chunk.offset(extent) >> kPageShift) + page;
  Strides::Ahead ahead;
  if (!strides_.on_fault(&chunk, index, ahead)) return false;
  note_use(extent, /*sparse=*/true);
  for (int i = 0; i < ahead.count && !settling_; ++i) {
    const int64_t at = ahead.first + i * ahead.step;
    if (at < 0 || static_cast<uint64_t>(at) >= chunk.range.bytes >> kPageShift) break;
    Extent& next = chunk.extent(chunk.range.base + (at << kPageShift));
    if ((next.state != State::kStored && next.state != State::kScattered) || next.pending) continue;
    if (!lines_.read_ahead(next, static_cast<unsigned>(at % kExtentPages))) break;
  }
  return true;
}

// A stream comes by, but does it use what is read? Now and then an extent is read by lines, which shows it.
bool Pager::is_doubtful(Extent& extent) {
  if (extent.advice == Advice::kSequential) return false;
  if (!extent.sampled && sparse_ <= 0 && ++doubts_ % doubt_each_ != 0) return false;
  extent.sampled = true;
  return true;
}

void Pager::note_use(Extent& extent, bool sparse) {
  if (!extent.sampled && !sparse) return;
  extent.sampled = false;
  sparse_ = std::clamp(sparse_ + (sparse ? 1 : -1), -kSparse, kSparse);
  doubt_each_ = sparse ? kDoubtOften : std::min(2 * doubt_each_, kDoubtSeldom);
}

// Pages that were never touched, in an extent that is there. Several at once, up to the first that exists.
// Returns how far it came.
char* Pager::fill_hole(char* address) {
  static const char zeroes[kHoleBytes] = {};
  char* page = page_of(address);
  char* end =
      reinterpret_cast<char*>(round_down(reinterpret_cast<uint64_t>(address), kHoleBytes)) + kHoleBytes;
  const PageRange hole{page, static_cast<uint64_t>(end - page)};
  uint64_t done = 0;
  // EEXIST: it is there. ENOENT: the program changed some of these pages (mprotect); one at least is there.
  if (userfault_.copy(hole, zeroes, done) == ENOENT && done == 0)
    (void)userfault_.copy({page, kPageBytes}, zeroes, done);
  userfault_.wake(hole);
  return page + done;
}

// --- what is not a large block

// First touches of small blocks as a rule, and first writes after a fork, which make copies of pages. While
// memory is full they wait until large blocks have made room.
void Pager::admit(const os::Userfault::Fault& fault) {
  if (budget_.is_stale()) look_at_memory();
  if (!others_fit() && !settling_ && !frozen_ && waiting_count_ < kMostWaiting) {
    keep_budget();
    evict_ahead();
    if (!others_fit() && !is_stuck()) {
      trace.note(TraceKind::kWait, fault.address, 1);
      waiting_[waiting_count_++] = fault.address;
      return;
    }
  }
  char* page = page_of(fault.address);
  if (fault.is_protected)
    budget_.admit(allow_writes(page));
  else
    budget_.admit(static_cast<uint64_t>(fill_hole(page) - page));
  set_budget();
}

// Returns how many bytes may be copied now.
uint64_t Pager::allow_writes(char* page) {
  char* base = reinterpret_cast<char*>(round_down(reinterpret_cast<uint64_t>(page), kHoleBytes));
  if (userfault_.unprotect({base, kHoleBytes}).ok()) return kHoleBytes;
  if (!userfault_.unprotect({page, kPageBytes}).ok()) userfault_.wake({page, kPageBytes});
  return kPageBytes;
}

void Pager::admit_waiting() {
  if (waiting_count_ == 0 || (!others_fit() && !is_stuck())) return;
  // Not filled here: who holds the lock may be a worker that holds up the one that answers faults.
  while (waiting_count_ > 0) userfault_.wake({page_of(waiting_[--waiting_count_]), kPageBytes});
}

void Pager::begin_wait(Extent& extent) {
  if (!std::exchange(extent.wanted, true)) extent.wanted_us = os::monotonic_us();
}

void Pager::want(Extent& extent) {
  begin_wait(extent);
  if (extent.pending) return;
  extent.pending = true;
  pending_.push_back(extent);
  note_demand();
}

void Pager::read_ahead(Extent& extent) {
  serve_pending();  // a frame for who waits comes first
  PagedChunk& chunk = *extent.chunk;
  const auto index = static_cast<int64_t>(chunk.offset(extent) >> kExtentShift);
  const Streams::Ahead ahead = streams_.on_fault(&chunk, index, std::min(kLargestWindow, slots_ / 3));
  for (int i = 0; i < ahead.count; ++i) {
    const int64_t at = ahead.first + i * ahead.step;
    if (at < 0 || static_cast<uint64_t>(at) >= chunk.range.bytes >> kExtentShift) return;
    Extent& next = chunk.extent(chunk.range.base + (at << kExtentShift));
    // Empty ones ahead of a stream of first touches are zeroed by the workers meanwhile.
    const bool useful =
        next.state == State::kStored || next.state == State::kScattered || next.state == State::kEmpty;
    if (!useful || next.pending || (sparse_ > 0 && next.state != State::kEmpty)) continue;
    const uint16_t slot = take_frame(/*for_demand=*/false);
    note_demand();
    if (slot == 0) return streams_.fell_short(ahead, i);
    if (!load(next, slot)) continue;
    ++counters_.read_ahead;
    trace.note(TraceKind::kReadAhead, next);
    next.ahead = true;
  }
}

// Nothing will become free by itself.
bool Pager::is_stuck() const {
  return under_way_ == 0 && to_write_.empty() && to_read_.empty() && !lines_.will_shrink() &&
         lines_.is_idle();
}

void Pager::serve_pending() {
  while (Extent* extent = pending_.front()) {
    uint16_t slot = take_frame(/*for_demand=*/true);
    // Better too much memory than none.
    if (slot == 0 && is_stuck()) {
      evict_ahead();
      if (!to_write_.empty()) return wake_workers();
      if (lines_.will_shrink()) return;
      slot = make_frame();
    }
    if (slot == 0) return;
    if (extent->state == State::kScattered && (extent->lines_under_way > 0 || !make_vacancy())) {
      garbage_[garbage_count_++] = slot;
      return;
    }
    unlist(*extent);
    if (extent->state == State::kEmpty && zeroed_[slot]) {
      extent->slot = slot;
      lines_.tick(kExtentPages);
      install(*extent);
    } else if (!load(*extent, slot)) {
      // By lines, then.
      extent->wanted = false;
      userfault_.wake({address_of(*extent), kExtentBytes});
    }
  }
}

// False: its pages cannot be collected, and the frame is back.
bool Pager::load(Extent& extent, uint16_t slot) {
  if (extent.state == State::kScattered) {
    const bool can_be = !extent.indivisible && extent.lines_under_way == 0 && make_vacancy();
    if (!can_be || !lines_.collect(extent, slot_address(vacant_[vacant_count_ - 1]))) {
      garbage_[garbage_count_++] = slot;
      return false;
    }
    extent.collected = vacant_[--vacant_count_];
  }
  if (extent.file != 0) residents_.on_read(extent, lines_.clock());
  extent.slot = slot;
  extent.state = State::kLoading;
  if (extent.wanted)
    to_read_.push_front(extent);
  else
    to_read_.push_back(extent);
  wake_worker();
  return true;
}

void Pager::put_back_collected(Extent& extent) {
  if (extent.collected == 0) return;
  lines_.scatter(extent, slot_address(extent.collected));
  vacant_[vacant_count_++] = extent.collected;
  extent.collected = 0;
}

void Pager::forget_collected(Extent& extent) {
  if (extent.collected == 0) return;
  (void)os::discard(slot_range(extent.collected));
  vacant_[vacant_count_++] = extent.collected;
  extent.collected = 0;
  lines_.forget(extent);
}

}  // namespace spillway

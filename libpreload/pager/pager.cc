#include "libpreload/pager/pager.h"

#include <algorithm>
#include <cstring>

#include "base/os/fatal.h"
#include "base/os/memory.h"
#include "libpreload/pager/digest.h"
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
      unlist(extent);
      if (is_worth_a_line(extent, page) || (is_in_steps(extent, page) && can_be_lines(extent))) {
        lines_.take_page(extent, page, slot_address(extent.slot) + page * kPageBytes);
        leave_slot(extent);
        return;
      }
      install(extent);
      break;
    case State::kLoading:
      trace.note_page(TraceKind::kFaultUnderWay, extent, page);
      extent.wanted = true;
      if (extent.linked()) {
        to_read_.remove(extent);
        to_read_.push_front(extent);
      }
      break;
    case State::kWriting:
      trace.note_page(TraceKind::kFaultUnderWay, extent, page);
      extent.wanted = true;
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

void Pager::want(Extent& extent) {
  extent.wanted = true;
  if (extent.pending) return;
  extent.pending = true;
  pending_.push_back(extent);
}

void Pager::read_ahead(Extent& extent) {
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
    if (slot == 0) return;
    if (!load(next, slot)) continue;
    ++counters_.read_ahead;
    trace.note(TraceKind::kReadAhead, next);
    next.ahead = true;
  }
}

// Nothing will become free by itself.
bool Pager::is_stuck() const {
  return under_way_ == 0 && to_write_.empty() && to_read_.empty() && !lines_.is_shrinking() &&
         lines_.is_idle();
}

void Pager::serve_pending() {
  while (Extent* extent = pending_.front()) {
    uint16_t slot = take_frame(/*for_demand=*/true);
    // Better too much memory than none.
    if (slot == 0 && is_stuck()) {
      evict_ahead();
      if (!to_write_.empty()) return wake_workers();
      if (lines_.is_shrinking()) return;
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
  wake_workers();
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

// --- lines

bool Pager::lines_are_oldest() {
  const Extent* oldest = residents_.oldest();
  // In doubt, lines: an extent that has just been moved back from the staging area is wanted.
  return oldest == nullptr || lines_.age() >= lines_.clock() - oldest->since;
}

// Lines get a frame that is spare, or one of what is older than all of them. Not the last spare ones:
// evict_ahead would take them back at once.
void Pager::grow_lines() {
  if (lines_.frames() == 0 || !lines_.is_tight()) return;
  const int unused = std::max(0, allowed_frames() - own_frames());
  if (unused + garbage_count_ <= wanted_spare()) {
    if (lines_are_oldest()) return;
    if (garbage_count_ == 0) {
      Extent* staged = staged_clean_.front();
      if (staged == nullptr) {
        // Not one that would be wanted back at once: those come and go within half a memory's turn.
        Extent& oldest = *residents_.oldest();
        const bool is_old =
            lines_.clock() - oldest.since > static_cast<uint64_t>(budget_frames_) * kExtentPages / 2;
        if (is_old && to_write_.empty() && vacant_count_ > 0 && write_errors_.may_write()) evict(oldest);
        return;
      }
      unlist(*staged);
      leave_slot(*staged);
      not_in_memory(*staged);
    }
  }
  if (unused == 0 && garbage_count_ > 0) drop_frame(garbage_[--garbage_count_]);
  lines_.grow();
}

// --- frames

int Pager::spare_frames() const {
  int clean = 0;
  for (Extent* e = const_cast<List&>(staged_clean_).front(); e != nullptr;
       e = const_cast<List&>(staged_clean_).after(e))
    clean += !e->ahead;
  return clean;
}

// A slot with a frame to fill; 0: there is none now.
uint16_t Pager::take_frame(bool for_demand) {
  if (garbage_count_ > 0) return garbage_[--garbage_count_];
  if (own_frames() < allowed_frames() && budget_.is_stale()) look_at_memory();
  if (own_frames() < allowed_frames())
    if (const uint16_t slot = make_frame(); slot != 0) return slot;
  for (Extent* e = staged_clean_.front(); e != nullptr; e = staged_clean_.after(e)) {
    if (e->ahead && !for_demand) continue;
    unlist(*e);
    leave_slot(*e);
    not_in_memory(*e);
    return garbage_count_ > 0 ? garbage_[--garbage_count_] : make_frame();
  }
  return 0;
}

// A slot without a frame. False: not now.
bool Pager::make_vacancy() {
  if (vacant_count_ == 0 && garbage_count_ > 0) drop_frame(garbage_[--garbage_count_]);
  if (vacant_count_ == 0 && !staged_clean_.empty()) {
    Extent& extent = *staged_clean_.front();
    const uint16_t slot = extent.slot;
    unlist(extent);
    extent.slot = 0;
    not_in_memory(extent);
    drop_frame(slot);
  }
  return vacant_count_ > 0;
}

// A zeroed frame in a vacant slot.
uint16_t Pager::make_frame() {
  if (vacant_count_ == 0) return 0;
  os::make_own(nursery_);
  const uint16_t slot = vacant_[vacant_count_ - 1];
  uint64_t done = 0;
  if (!userfault_.move(slot_address(slot), nursery_, done).ok()) {
    (void)os::discard(slot_range(slot));
    (void)os::discard(nursery_);
    return 0;
  }
  --vacant_count_;
  ++frames_;
  counters_.peak_frames = std::max<uint64_t>(counters_.peak_frames, static_cast<uint64_t>(frames_));
  whole_[slot] = zeroed_[slot] = true;
  return slot;
}

// The frame of a slot is not needed here; as a rule another extent's bytes go there.
void Pager::leave_slot(Extent& extent) {
  const uint16_t slot = extent.slot;
  extent.slot = 0;
  zeroed_[slot] = false;
  if (whole_[slot] && own_frames() <= allowed_frames())
    garbage_[garbage_count_++] = slot;
  else
    drop_frame(slot);
}

void Pager::drop_frame(uint16_t slot) {
  (void)os::discard(slot_range(slot));
  --frames_;
  vacant_[vacant_count_++] = slot;
}

void Pager::keep_budget() {
  const auto is_over = [this] {
    return own_frames() > allowed_frames() || (waiting_count_ > 0 && !others_fit()) || is_pressed();
  };
  while (is_over() && garbage_count_ > 0) drop_frame(garbage_[--garbage_count_]);
  while (is_over() && !staged_clean_.empty()) {
    Extent& extent = *staged_clean_.front();
    unlist(extent);
    leave_slot(extent);
    not_in_memory(extent);
    if (is_over() && garbage_count_ > 0) drop_frame(garbage_[--garbage_count_]);
  }
}

// --- leaving

// So many extents are on their way out that the next faults find frames.
void Pager::evict_ahead() {
  if (!write_errors_.may_write()) return;
  const int over = own_frames() - allowed_frames();
  int spare = garbage_count_ + spare_frames() + under_way_ + std::max(0, -over);
  for (Extent* e = to_write_.front(); e != nullptr; e = to_write_.after(e)) ++spare;
  // Who waits for memory needs what is freed, not what is spare.
  if (waiting_count_ > 0 || is_pressed()) spare = under_way_ + (to_write_.empty() ? 0 : kFewSpare);
  int tries = 2 * slots_;
  while (spare < wanted_spare() + std::max(0, over) && vacant_count_ > 0 && tries-- > 0) {
    if (lines_are_oldest() && lines_.shrink()) {
      ++spare;
      lines_.ring().wake();
      continue;
    }
    // They are about to: what is resident is younger, and would be wanted back.
    if (over <= 0 && lines_.is_shrinking() && lines_are_oldest()) return;
    Extent* victim = choose_victim();
    if (victim == nullptr) return;
    spare += evict(*victim);
  }
}

// What is to be kept goes round, and leaves when there seems to be nothing else.
Extent* Pager::choose_victim() {
  Extent* victim = residents_.victim();
  for (int i = 0; victim != nullptr && victim->advice == Advice::kKeep && i < slots_; ++i) {
    residents_.remove(*victim);
    residents_.add(*victim, victim->since, /*was_read=*/false);
    victim = residents_.victim();
  }
  return victim;
}

bool Pager::evict(Extent& extent) {
  const PageRange range{address_of(extent), kExtentBytes};
  const uint16_t slot = vacant_[vacant_count_ - 1];
  uint64_t done = 0;
  Errno e = userfault_.move(slot_address(slot), range, done);
  // A copy of what is shared takes memory.
  const bool may_copy =
      !extent.shared || own_frames() < allowed_frames() || under_way_ + !to_write_.empty() == 0;
  if (e == EBUSY && done == 0 && may_copy) {
    // Shared with a child of a fork, as a rule: after a write the page is this process's alone. Not before
    // its holes are filled: this thread may be the one that answers faults.
    for (char* at = range.base; at < range.end();) at = std::max(at + kPageBytes, fill_hole(at));
    if (!extent.shared) holes_ -= extent.holes;
    extent.holes = 0;
    userfault_.make_own(range);
    e = userfault_.move(slot_address(slot), range, done);
  }
  const bool is_shared = extent.shared;
  end_residence(extent);
  if (!e.ok()) {
    // Pinned, locked or protected: it stays. What moved comes back before anybody can see that it was gone.
    uint64_t back = 0;
    if (done != 0) {
      const Errno undone = userfault_.move(range.base, slot_range(slot).sub(0, done), back);
      if (!undone.ok()) os::die("cannot put pages back: %s", strerror(undone.code()));
    }
    start_residence(extent, /*was_read=*/false);
    if (is_shared) share(extent);
    return false;
  }
  trace.note(TraceKind::kEvict, extent, kExtentPages - extent.holes);
  --vacant_count_;
  whole_[slot] = extent.holes == 0;
  zeroed_[slot] = false;
  extent.slot = slot;
  extent.state = State::kStaged;
  extent.clean = false;
  to_write_.push_back(extent);
  wake_workers();
  return true;
}

// Out of the list it is in.
void Pager::unlist(Extent& extent) {
  if (extent.pending) {
    extent.pending = false;
    pending_.remove(extent);
  } else if (extent.state == State::kLoading) {
    to_read_.remove(extent);
  } else if (extent.state == State::kStaged) {
    (extent.clean ? staged_clean_ : to_write_).remove(extent);
  } else if (extent.state == State::kResident) {
    end_residence(extent);
  }
}

void Pager::not_in_memory(Extent& extent) {
  if (extent.state == State::kStaged) trace.note(TraceKind::kDrop, extent);
  extent.ahead = false;
  extent.state = extent.file != 0 ? State::kStored : State::kEmpty;
}

void Pager::forget_file(Extent& extent) {
  if (extent.file == SpillFiles::kCompressed)
    compressed_.release(extent.packed);
  else
    extent.chunk->files.forget(extent.file);
  extent.file = 0;
}

void Pager::became_staged(Extent& extent) {
  extent.state = State::kStaged;
  (extent.clean ? staged_clean_ : to_write_).push_back(extent);
}

// --- coming back

void Pager::start_residence(Extent& extent, bool was_read) {
  extent.state = State::kResident;
  residents_.add(extent, lines_.clock(), was_read);
  holes_ += extent.holes;
}

void Pager::end_residence(Extent& extent) {
  residents_.remove(extent);
  if (!extent.shared) holes_ -= extent.holes;
  shared_ -= extent.shared;
  extent.shared = false;
}

// From a fork on. For all the pager can tell, for ever: but a move succeeds when the other process is gone.
void Pager::share(Extent& extent) {
  if (std::exchange(extent.shared, true)) return;
  ++shared_;
  holes_ -= extent.holes;
}

void Pager::become_resident(Extent& extent, bool was_read) {
  extent.ahead = extent.wanted = false;
  start_residence(extent, was_read);
  userfault_.wake({address_of(extent), kExtentBytes});
}

// From its slot to where the program sees it; whoever waits goes on.
void Pager::install(Extent& extent) {
  const uint16_t slot = extent.slot;
  const bool was_read = extent.state == State::kLoading || extent.ahead;
  char* to = address_of(extent);
  uint64_t done = 0;
  Errno e = userfault_.move(to, slot_range(slot), done);
  // The kernel lets go of the pages of a finished read a moment later.
  for (int i = 0; e == EBUSY && i < 100; ++i) {
    uint64_t more = 0;
    e = userfault_.move(to + done, slot_range(slot).sub(done, kExtentBytes - done), more);
    done += more;
  }
  if (whole_[slot] || userfault_.fills_holes()) extent.holes = 0;
  if (e.ok()) {
    extent.slot = 0;
    vacant_[vacant_count_++] = slot;
    return become_resident(extent, was_read);
  }
  // Locked, protected or partly there: page by page.
  while (done < kExtentBytes) {
    uint64_t more = 0;
    e = userfault_.copy({to + done, kExtentBytes - done}, slot_address(slot) + done, more);
    done += more;
    if (e == EEXIST)
      done += kPageBytes;
    else if (!e.ok())
      break;  // the program unmapped it
  }
  extent.holes = 1;  // or none
  ++frames_;
  whole_[slot] = false;  // parts of it may have moved
  leave_slot(extent);
  become_resident(extent, was_read);
}

// A frame was filled for it. `is_newer`: than the file.
void Pager::loaded(Extent& extent, Errno error, bool is_newer) {
  lines_.tick(kExtentPages);
  // First: the file of an extent that was dropped may be gone, too.
  if (extent.dropped) {
    forget_collected(extent);
    extent.dropped = false;
    if (extent.file != 0) forget_file(extent);
    leave_slot(extent);
    not_in_memory(extent);
    if (extent.wanted) want(extent);
    return;
  }
  if (!error.ok()) {
    // Most of its pages may be readable: by lines, which deal with those that are not.
    leave_slot(extent);
    put_back_collected(extent);
    extent.state = State::kScattered;
    extent.indivisible = true;
    extent.ahead = extent.wanted = false;
    userfault_.wake({address_of(extent), kExtentBytes});
    return;
  }
  forget_collected(extent);
  extent.clean = !is_newer;
  if (extent.wanted)
    install(extent);
  else
    became_staged(extent);
}

// Looks whether the extent has changed, and writes it. Called with the lock, which it gives up meanwhile.
void Pager::store(Extent& extent) {
  PagedChunk& chunk = *extent.chunk;
  const uint64_t offset = chunk.offset(extent);
  const char* frame = slot_address(extent.slot);
  const uint8_t file_before = extent.file;
  lock_.unlock();
  const Digest digest = Digest::of(frame, kExtentBytes);
  lock_.lock();

  const bool is_zero = digest == digest_of_zeroes_;
  Errno error;
  if (!extent.dropped && !extent.wanted) {
    if (is_zero) {
      ++counters_.zeroes;
      trace.note(TraceKind::kZero, extent);
      forget_file(extent);
    } else if (file_before != 0 && digest == Digest{extent.digest[0], extent.digest[1]}) {
      ++counters_.unchanged;
      trace.note(TraceKind::kUnchanged, extent);
    } else if (compress(extent, frame)) {
      extent.digest[0] = digest.low;
      extent.digest[1] = digest.high;
    } else {
      const uint8_t file = chunk.files.current(directory_, chunk.range.bytes, error);
      if (file != extent.file) {
        forget_file(extent);
        if (file != 0) chunk.files.refer(file);
      }
      extent.file = file;
      if (file != 0) {
        ++counters_.stores;
        lock_.unlock();
        error = chunk.files.write(file, frame, kExtentBytes, offset);
        lock_.lock();
        if (error.ok()) trace.note(TraceKind::kWrite, extent);
        extent.digest[0] = digest.low;
        extent.digest[1] = digest.high;
      }
      if (!error.ok() && extent.file != 0) forget_file(extent);
    }
    extent.clean = error.ok();
  }

  if (extent.dropped) {
    extent.dropped = false;
    if (extent.file != 0) forget_file(extent);
    leave_slot(extent);
    not_in_memory(extent);
    if (extent.wanted) want(extent);
  } else if (extent.wanted || !extent.clean) {
    if (!error.ok()) write_errors_.failed(directory_, error);
    install(extent);
  } else {
    became_staged(extent);
  }
}

}  // namespace spillway

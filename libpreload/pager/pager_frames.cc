// Frames: who has them, what leaves memory for others, and how it comes back.
#include <algorithm>

#include "base/os/clock.h"
#include "base/os/fatal.h"
#include "base/os/memory.h"
#include "libpreload/pager/pager.h"
#include "libpreload/pager/trace.h"

namespace spillway {

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
    note_demand();
    if (garbage_count_ == 0) {
      Extent* staged = staged_clean_.front();
      if (staged == nullptr) {
        // Not one that would be wanted back at once: those come and go within half a memory's turn.
        Extent& oldest = *residents_.oldest();
        const bool is_old =
            lines_.clock() - oldest.since > static_cast<uint64_t>(budget_frames_) * kExtentPages / 2;
        if (is_old && !residents_.is_in_use(oldest) && to_write_.empty() && vacant_count_ > 0 &&
            write_errors_.may_write())
          evict(oldest);
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
  // What was read ahead will be touched next: taken for that, it would be read twice, and a stream that has
  // lost one extent loses each one after it in the same way. Who waits gets what is on its way out.
  const bool takes_ahead = for_demand && under_way_ == 0 && to_write_.empty();
  for (Extent* e = staged_clean_.front(); e != nullptr; e = staged_clean_.after(e)) {
    if (e->ahead && !takes_ahead) continue;
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
    if (victim == nullptr) {
      if (over > 0 && lines_.shrink()) lines_.ring().wake();
      return;
    }
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
  if (e == EBUSY && may_copy) {
    // Shared with a child of a fork, as a rule, all of it or what was not written since: after a write a page
    // is this process's alone. Not before holes are filled: this thread may be the one that answers faults.
    const PageRange rest = range.sub(done, kExtentBytes - done);
    for (char* at = rest.base; at < rest.end(); at = std::max(at + kPageBytes, fill_hole(at)))
      ;
    if (done == 0) {
      if (!extent.shared) holes_ -= extent.holes;
      extent.holes = 0;
    }
    userfault_.make_own(rest);
    uint64_t more = 0;
    e = userfault_.move(slot_address(slot) + done, rest, more);
    done += more;
  }
  const bool is_shared = extent.shared;
  end_residence(extent);
  if (!e.ok()) {
    // Pinned, locked or protected: it stays. What moved comes back before anybody can see that it was gone.
    if (done != 0 && !userfault_.put_back(range.base, slot_range(slot).sub(0, done)))
      os::die("cannot put pages back");
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
  wake_worker();
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
  if (extent.wanted) counters_.stall_us += os::monotonic_us() - extent.wanted_us;
  extent.ahead = extent.wanted = false;
  residents_.on_wanted(extent);
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
  // Locked, protected or partly there: page by page, since there may be several mappings.
  for (; done < kExtentBytes; done += kPageBytes) {
    char* const from = slot_address(slot) + done;
    if (!os::Userfault::is_there(from)) continue;  // this thread may be the one that answers faults
    uint64_t more = 0;
    e = userfault_.copy({to + done, kPageBytes}, from, more);
    // EEXIST: it is there. ENOENT: the program unmapped it.
    if (!e.ok() && e != EEXIST && e != ENOENT) os::die("cannot bring a page back: %s", strerror(e.code()));
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

}  // namespace spillway

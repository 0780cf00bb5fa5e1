// How pages of scattered extents leave memory, and come back from the staging area.
#include <algorithm>

#include "base/os/fatal.h"
#include "base/os/memory.h"
#include "libpreload/pager/digest.h"
#include "libpreload/pager/lines.h"
#include "libpreload/pager/trace.h"

namespace spillway {

// --- leaving, and coming back

int Lines::frames() const {
  const int used = std::max(granted_, static_cast<int>((pages_ + kExtentPages - 1) / kExtentPages));
  return used + used / kFramesPerFrameOfTables;
}

bool Lines::shrink() {
  if (granted_ == 0 || is_shrinking()) return false;
  if (granted_ == 1 && pages_ != 0) return false;
  --granted_;
  return true;
}

uint64_t Lines::age() const {
  return !new_.empty() ? new_.age(clock_) : !proven_.empty() ? proven_.age(clock_) : 0;
}

void Lines::make_room() {
  const uint64_t goal = room() - std::min(room(), needs_room() ? kAtOnce : 0);
  for (int tries = 0; tries < 256 && unstaged() > goal; ++tries)
    if (!stage_next()) break;
  is_held_up_ = held_ == 0 && writes_ == 0;
  write_staged();
  if (pages_ > room()) drop_staged(room() - std::min(room(), kAtOnce));
}

bool Lines::stage_next() {
  if (tail_ - head_ == slot_mask_ + 1) return false;
  Queue& queue = proven_.size() > room() / 4 * 3 || new_.empty() ? proven_ : new_;
  if (queue.empty()) return false;
  unsigned page;
  char* address = queue.pop();
  Extent* extent = extent_of(address, page);
  if (extent == nullptr || !extent->present.has(page)) return true;
  // Locked, protected or pinned: its turn comes again.
  if (!stage(*extent, page)) queue.push(address, clock_);
  return true;
}

bool Lines::stage(Extent& extent, unsigned page) {
  const PageRange from = page_range(extent, page);
  if (tail_ - head_ == slot_mask_ + 1 || !words_.has_room_for(from.base)) return false;
  char* to = slot_address(tail_);
  uint64_t done = 0;
  // This thread is the one that answers faults: it may not touch what is not there.
  constexpr auto kNoHoles = os::Userfault::Holes::kRefuse;
  Errno e = userfault_->move(to, from, done, kNoHoles);
  if (e == EBUSY) {
    // Shared with a child of a fork, as a rule: after a write the page is this process's alone.
    userfault_->make_own(from);
    e = userfault_->move(to, from, done, kNoHoles);
  }
  if (!e.ok()) return false;
  trace.note_page(TraceKind::kEvict, extent, page);
  const uint64_t digest = digest_of_page(to);
  const bool is_clean =
      digest == (extent.file == SpillFiles::kCompressed ? compressed_->digest(extent.packed, page)
                                                        : words_.get(from.base, ~digest));
  slot(tail_) = {&extent, digest, static_cast<uint16_t>(page), is_clean};
  ++held_;
  counters_.unchanged += is_clean;
  if (is_clean) trace.note_page(TraceKind::kUnchanged, extent, page);
  (void)words_.set(from.base, tail_++);  // there is room
  extent.present.remove(page);
  extent.staged.add(page);
  return true;
}

void Lines::bring_back(uint64_t number) {
  Slot& s = slot(number);
  Extent& extent = *s.extent;
  const PageRange from{slot_address(number), kPageBytes};
  char* to = page_address(extent, s.page);
  uint64_t done = 0;
  // A page that is being written is pinned.
  Errno e(EBUSY);
  if (!s.writing) e = userfault_->move(to, from, done);
  if (e.ok()) {
    emptied(s);
  } else {
    e = userfault_->copy({to, kPageBytes}, from.base, done, /*wakes=*/false);
    pages_ += e.ok();
  }
  const uint64_t digest = leave(s);
  if (e.ok()) {
    know(extent, s.page, digest);
    present(extent, s.page, proven_);
  } else if (!s.holds) {
    --pages_;
  }
}

// The digest of what the file has. For a page that changed it is not known any more: any other will do.
uint64_t Lines::leave(Slot& s) {
  words_.erase(page_address(*s.extent, s.page));
  s.extent->staged.remove(s.page);
  s.left = true;
  return s.clean ? s.digest : ~s.digest;
}

void Lines::become_stored(Extent& extent) {
  if (extent.lines_under_way > 0 || !extent.present.empty() || !extent.staged.empty()) return;
  extent.state = Extent::State::kStored;
}

void Lines::write_staged() {
  if (!write_errors_->may_write()) return;
  next_write_ = std::max(next_write_, head_);
  const uint64_t end = head_ + (tail_ - head_) / 2 + (pages_ > room() ? kAtOnce : 0);
  while (next_write_ < std::min(end, tail_) && writes_ < kMostWrites) start_write(next_write_++);
}

void Lines::start_write(uint64_t number) {
  Slot& s = slot(number);
  if (s.left || s.clean) return;
  Extent& extent = *s.extent;
  SpillFiles& files = extent.chunk->files;
  if (extent.demoting) return bring_back(number);
  if (extent.file == SpillFiles::kCompressed &&
      compressed_->write(extent.packed, s.page, slot_address(number), s.digest)) {
    extent.digest[0] = extent.digest[1] = 0;
    trace.note_page(TraceKind::kCompress, extent, s.page);
    s.clean = true;
    return;
  }
  if (!files.may_write(extent.file)) {
    bring_back(number);
    if (!extent.linked()) unwritable_.push_back(extent);
    return;
  }
  s.writing = true;
  ++writes_;
  ++under_way_;
  ++extent.lines_under_way;
  ++counters_.stores;
  // Of the whole, if it is ever read.
  extent.digest[0] = extent.digest[1] = 0;
  ring_.write(files.descriptor(extent.file), slot_address(number), kPageBytes,
              extent.chunk->offset(extent) + s.page * kPageBytes,
              kIsWrite | static_cast<uint32_t>(number & slot_mask_));
}

void Lines::written(Slot& s, Errno error) {
  Extent& extent = *s.extent;
  s.writing = false;
  --writes_;
  --extent.lines_under_way;
  if (error.ok()) {
    trace.note_page(TraceKind::kWrite, extent, s.page);
    s.clean = true;
    return;
  }
  write_errors_->failed(directory_, error);
  // Nobody knows what the file has now: it stays a page that is to be written.
  if (!s.left) bring_back(words_.get(page_address(extent, s.page), 0));
}

// The oldest staged pages go, up to the first that is still to be written.
void Lines::drop_staged(uint64_t goal) {
  uint64_t end = head_;
  for (uint64_t left = pages_; end != tail_ && left > goal; ++end) {
    Slot& s = slot(end);
    if (s.writing || (!s.left && !s.clean)) break;
    left -= s.holds;
  }
  vacate(end);
}

// Its page went elsewhere.
void Lines::emptied(Slot& s) {
  s.holds = false;
  --held_;
}

// Slots up to `end` become free.
void Lines::vacate(uint64_t end) {
  while (head_ != end) {
    const uint64_t first = head_ & slot_mask_;
    const uint64_t count = std::min(end - head_, slot_mask_ + 1 - first);
    for (uint64_t i = 0; i < count; ++i) {
      Slot& s = slot(head_ + i);
      if (s.holds) {
        emptied(s);
        --pages_;
      }
      if (s.left) continue;
      trace.note_page(TraceKind::kDrop, *s.extent, s.page);
      (void)leave(s);
      become_stored(*s.extent);
    }
    (void)os::discard({slot_address(head_), count << kPageShift});
    head_ += count;
  }
}

void Lines::settle() {
  for (uint64_t number = head_; number != tail_; ++number)
    if (!slot(number).left && !slot(number).clean) bring_back(number);
  vacate(tail_);
}

// --- whole extents

Extent* Lines::take_unwritable() {
  Extent* extent = unwritable_.front();
  if (extent != nullptr) unwritable_.remove(*extent);
  return extent;
}

bool Lines::collect(Extent& extent, char* area) {
  const PageRange range{address_of(extent), kExtentBytes};
  uint64_t done = 0;
  Errno e = userfault_->move(area, range, done);
  if (!e.ok()) {
    // Shared with a child of a fork, as a rule.
    for (unsigned page = extent.present.next(0); page < kExtentPages; page = extent.present.next(page + 1))
      if (page >= done >> kPageShift) {
        fill_hole(page_range(extent, page));
        userfault_->make_own(page_range(extent, page));
      }
    uint64_t more = 0;
    e = userfault_->move(area + done, range.sub(done, kExtentBytes - done), more);
    done += more;
  }
  if (!e.ok()) {
    if (done != 0 && !userfault_->put_back(range.base, {area, done}))
      os::die("cannot put pages of a scattered extent back");
    userfault_->wake(range);
    extent.indivisible = true;
    return false;
  }
  for (unsigned page = extent.staged.next(0); page < kExtentPages; page = extent.staged.next(page + 1)) {
    const uint64_t number = words_.get(page_address(extent, page), 0);
    if (!userfault_->put_back(area + page * kPageBytes, {slot_address(number), kPageBytes}))
      os::die("cannot move a page out of the staging area");
    emptied(slot(number));
    const uint64_t digest = leave(slot(number));
    (void)words_.set(page_address(extent, page), digest);
    extent.present.add(page);
  }
  return true;
}

void Lines::scatter(Extent& extent, char* area) {
  for (unsigned page = extent.present.next(0); page < kExtentPages; page = extent.present.next(page + 1)) {
    if (!userfault_->put_back(page_address(extent, page), {area + page * kPageBytes, kPageBytes}))
      os::die("cannot put pages of a scattered extent back");
    present(extent, page, new_);
  }
  extent.state = Extent::State::kScattered;
}

void Lines::forget(Extent& extent) {
  pages_ -= extent.present.count();
  for (unsigned page = extent.present.next(0); page < kExtentPages; page = extent.present.next(page + 1))
    words_.erase(page_address(extent, page));
  extent.present.clear();
  for (unsigned page = extent.staged.next(0); page < kExtentPages; page = extent.staged.next(page + 1))
    (void)leave(slot(words_.get(page_address(extent, page), 0)));
}

}  // namespace spillway

// The pager's threads.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/os/clock.h"
#include "base/os/futex.h"
#include "base/os/keep_errno.h"
#include "base/os/memory.h"
#include "base/os/stop_threads.h"
#include "base/os/thread.h"
#include "libpreload/pager/pager.h"
#include "libpreload/pager/trace.h"
#include "libpreload/settings.h"
#include "libpreload/small_window.h"
#include "libpreload/stats.h"

namespace spillway {
namespace {

// After a fault the next one is often near: the handler looks so long before it sleeps, since waking a thread
// costs more than answering.
constexpr uint64_t kStayAwakeUs = 15;
constexpr int kFewestSlots = 6;
constexpr int kMostFaults = 64;  // answered together

os::Userfault::Without kernel_without() {
  return {.move = settings.masked.move, .poison = settings.masked.poison};
}

}  // namespace

Errno Pager::probe() {
  os::Userfault userfault;
  const Errno e = userfault.open(kernel_without());
  userfault.close();
  // Not unasked: nothing but UFFDIO_MOVE tells which pages a device is writing to.
  const bool is_safe = userfault.respects_pins() || settings.backing == Settings::BackingChoice::kManaged;
  if (e.ok() && !is_safe) return Errno(EOPNOTSUPP);
  // Without it a fork would have to end the program.
  return e.ok() ? os::probe_passing_descriptors() : e;
}

void Pager::configure() { budget_.configure(settings.limit_bytes, settings.weight, settings.minimum_bytes); }

// What large blocks have of the memory, to the page.
uint64_t Pager::resident_bytes() const {
  return (static_cast<uint64_t>(own_frames()) << kExtentShift) - (holes_ << kPageShift) +
         lines_.resident_bytes() + compressed_.bytes();
}

void Pager::set_budget() {
  budget_frames_ = std::max(static_cast<int>(budget_.bytes() >> kExtentShift), kFewestFrames);
  residents_.set_budget(budget_frames_);
  const int most = std::min(budget_frames_ * kCompressedShare / kOfShares, budget_frames_ - kFewestFrames);
  compressed_.set_most(settings.compresses && !empties_compressed_ ? most : 0);
}

void Pager::look_at_memory() {
  const int lacking = std::max(kFewestFrames + kFewSpare - own_frames() - lines_.frames(), 0);
  family_.tell(static_cast<uint64_t>(lacking) << kExtentShift);
  budget_.look(resident_bytes(), managed_bytes(), family_.others());
  set_budget();
  trace.note_memory(resident_bytes(), budget_.bytes());
}
Errno Pager::engage(const char* directory) {
  KeepErrno keep;
  snprintf(directory_, sizeof directory_, "%s", directory);
  return start();
}

Errno Pager::start() {
  started_ = 0;
  has_begun_ = true;
  if (!os::start_thread(run_faults, this)) return Errno(EAGAIN);
  while (started_ == 0) os::wait(started_, 0);
  if (started_ == 2) return start_error_;
  engaged_ = true;
  return {};
}

void* Pager::run_faults(void* self) {
  Pager& me = *static_cast<Pager*>(self);
  os::leave_this_thread_running();
  me.own_descriptors_ = os::use_own_descriptors();
  me.start_error_ = me.set_up();
  const bool ok = me.start_error_.ok();
  if (!ok) me.userfault_.close();
  if (!ok) trace.stop();
  me.started_ = ok ? 1 : 2;
  os::wake_all(me.started_);
  if (ok) me.answer_faults();
  return nullptr;
}

Errno Pager::make_staging() {
  slots_ = std::clamp(budget_frames_ / 6, kFewestSlots, kMostSlots);
  Result<PageRange> range = os::reserve(static_cast<uint64_t>(slots_ + 1) * kExtentBytes, kExtentBytes);
  if (!range) return range.error();
  if (Errno e = os::map_anonymous(*range); !e.ok()) return e;
  (void)os::use_huge_pages(*range);
  if (Errno e = os::not_in_children(*range); !e.ok()) return e;
  nursery_ = range->sub(0, kExtentBytes);
  staging_ = range->sub(kExtentBytes, static_cast<uint64_t>(slots_) * kExtentBytes);
  vacant_count_ = garbage_count_ = 0;
  for (int slot = slots_; slot > 0; --slot) vacant_[vacant_count_++] = static_cast<uint16_t>(slot);
  return userfault_.add_staging(staging_);
}

Errno Pager::watch_all(const Chunk& chunk) {
  for (PageRange rest = chunk.range; !rest.empty();) {
    const PageRange run = chunk.next_run(rest, /*mapped=*/true);
    if (run.empty()) break;
    if (Errno e = userfault_.watch(run); !e.ok()) return e;
    rest = {run.end(), static_cast<uint64_t>(rest.end() - run.end())};
  }
  return {};
}

// Everything mapped is watched from here on, and what is there is known: a touch meanwhile waits for an
// answer.
Errno Pager::watch_memory(const os::PageTable& pages) {
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next) {
    Errno error;
    const uint8_t file = c->files.current(directory_, c->range.bytes, error);
    // A child can still read what its parent wrote.
    if (file == 0 && !c->files.any()) return error;
    Errno unwatched;
    // Nobody tells when more of it is given out. Watched before it is looked at, it cannot be missed.
    if (c->chunk->of_small_blocks) unwatched = watch_all(*c->chunk);
    if (!unwatched.ok()) return unwatched;
    for_each_mapped_run(*c->chunk, [&](PageRange run) {
      if (const Errno e = userfault_.watch(run); !e.ok()) {
        // What is there stays, as if there were no pager. What is on disk would read as zeroes.
        for (char* at = run.base; at < run.end(); at += kExtentBytes)
          if (is_on_disk(c->extent(at))) unwatched = e;
        return;
      }
      // No room on the disk now: what cannot be written stays.
      if (file != 0) (void)c->files.preallocate(file, c->range.offset_of(run.base), run.bytes);
      for (char* at = run.base; at < run.end(); at += kExtentBytes) {
        Extent& extent = c->extent(at);
        const uint64_t present = pages.count({at, kExtentBytes}).present;
        if (is_on_disk(extent) || present == 0) continue;
        extent.holes = static_cast<uint16_t>(kExtentPages - present);
        start_residence(extent, /*was_read=*/false);
        trace.note(TraceKind::kPresent, extent, present);
        ++frames_;
      }
    });
    if (!unwatched.ok()) return unwatched;
  }
  return {};
}

// All that could be wanted in memory at once.
uint64_t Pager::managed_bytes() { return stats.managed_bytes() + small_window.spillable().bytes; }

int Pager::most_frames() const {
  return std::max(budget_frames_, static_cast<int>(budget_.most_bytes() >> kExtentShift));
}

Errno Pager::set_up() {
  os::PageTable pages;
  if (Errno e = pages.open(); !e.ok()) return e;
  if (Errno e = userfault_.open(kernel_without()); !e.ok()) return e;
  if (digest_of_zeroes_ == Digest{}) digest_of_zeroes_ = Digest::of_zeroes();
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next)
    if (Errno e = c->files.adopt(); !e.ok()) return e;
  budget_.open();
  family_.found();
  // Of a child nothing is its own yet.
  most_bytes_ = budget_.most_bytes();
  budget_.look(is_child_ ? 0 : os::MemoryMeter().read().anonymous_bytes, managed_bytes(), family_.others());
  set_budget();
  trace.start(settings.limit_bytes, budget_.bytes());
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next)
    trace.note(TraceKind::kChunk, c->range.base, c->range.bytes >> kPageShift);
  if (Errno e = make_staging(); !e.ok()) return e;
  // Without it extents go to the disk.
  if (settings.compresses) (void)compressed_.set_up(most_frames());
  if (Errno e = lines_.set_up(userfault_, chunks_, directory_, write_errors_, compressed_, most_frames());
      !e.ok())
    return e;
  if (Errno e = watch_memory(pages); !e.ok()) return e;
  int workers = 0;
  while (workers < kWorkers && os::start_thread(run_worker, this)) ++workers;
  if (workers == 0) return Errno(EAGAIN);
  // From here on the pager's threads must not allocate.
  // All of that half, whatever is mapped there yet.
  if (small_window.is_open())
    if (Errno e = userfault_.watch(small_window.memory_half()); !e.ok()) return e;
  if (is_child_) protect_everything();
  trace.note_memory(resident_bytes(), budget_.bytes());
  return {};
}

void Pager::answer_faults() {
  os::wake_soon();
  if (own_descriptors_) follower_.start();
  os::Userfault::Fault faults[kMostFaults];
  int n = 0, wait_ms = 0;
  for (uint64_t awake_until = 0;;) {
    const bool is_awake = awake_until != 0 && os::monotonic_us() < awake_until;
    if (!is_awake && n < kMostFaults) lines_.ring().wait(wait_ms);
    const bool happened = lines_.ring().look();
    n = lines_.ring().take_readable() || is_awake || n == kMostFaults ? userfault_.read(faults, kMostFaults)
                                                                      : 0;
    if (is_awake && n == 0 && !happened) continue;
    lock_.lock();
    while (frozen_) n = answer_others_only(faults, n);
    const bool is_through = lines_.finish();
    for (int i = 0; i < n; ++i) on_fault(faults[i]);
    // The device is at it while the rest is done.
    if (lines_.needs_room()) lines_.ring().submit();
    if (budget_.is_time_to_look(waiting_count_ > 0)) look_at_memory();
    if (!settling_) {
      lines_.make_room();
      while (Extent* extent = lines_.take_unwritable()) want(*extent);
      grow_lines();
      if ((is_through || lines_.is_idle()) && lines_.take_missed()) wake_everybody();
    }
    make_progress();
    if (n > 0 && own_descriptors_) follower_.note(only_thread(faults, n));
    awake_until = n > 0 && lines_.is_idle() && !follower_.follows() ? os::monotonic_us() + kStayAwakeUs : 0;
    wait_ms = waiting_count_ > 0 ? 1 : budget_.look_again_ms();
    lock_.unlock();
  }
}

// Whose faults these are, if of one thread and answered by now.
uint32_t Pager::only_thread(const os::Userfault::Fault* faults, int n) const {
  for (int i = 0; i < n; ++i)
    if (faults[i].thread != faults[0].thread) return 0;
  const bool is_answered = lines_.is_idle() && pending_.empty() && to_read_.empty() && under_way_ == 0;
  return is_answered ? faults[0].thread : 0;
}

// After everything that may have made room.
void Pager::make_progress() {
  keep_budget();
  serve_pending();
  evict_ahead();
  admit_waiting();
}

// While a fork is made: whoever makes it may need a page of a small block. Returns how many faults are left.
int Pager::answer_others_only(os::Userfault::Fault* faults, int n) {
  os::Userfault::Fault* others = std::partition(faults, faults + n, [this](const os::Userfault::Fault& f) {
    return !f.is_protected && find_chunk(chunks_, f.address) != nullptr;
  });
  const int left = static_cast<int>(others - faults);
  for (int i = left; i < n; ++i) on_fault(faults[i]);
  lock_.unlock();
  int came = 0;
  if (left == kMostFaults)
    os::sleep_us(100);
  else if (userfault_.wait(1))
    came = userfault_.read(faults + left, kMostFaults - left);
  lock_.lock();
  return left + came;
}

void Pager::wake_everybody() {
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next) userfault_.wake(c->range);
}

void Pager::wake_workers() {
  work_there_.fetch_add(1);
  os::wake_all(work_there_);
}

// There is one more thing to do. Those who are awake look again before they wait: to wake all for each thing
// had two of three find nothing, and an interrupt of a virtual processor costs more than most of the work.
void Pager::wake_worker() {
  work_there_.fetch_add(1);
  if (idle_workers_ > 0) os::wake_one(work_there_);
}

void* Pager::run_worker(void* self) {
  Pager& me = *static_cast<Pager*>(self);
  os::leave_this_thread_running();
  if (me.own_descriptors_) os::share_own_descriptors();
  me.work();
  return nullptr;
}

void Pager::work() {
  lock_.lock();
  for (;;) {
    const uint32_t seen = work_there_;
    if (work_once()) continue;
    ++idle_workers_;
    lock_.unlock();
    os::wait(work_there_, seen);
    lock_.lock();
    --idle_workers_;
  }
}

// With the lock, which it gives up while it reads or writes. False: there is nothing to do.
bool Pager::work_once() {
  if (const Work work = request_.work.exchange(Work::kNone); work != Work::kNone) {
    request_.result = perform(work);
    request_.done = 1;
    os::wake_all(request_.done);
    if (!frozen_) {
      make_progress();
      wake_workers();
    }
    return true;
  }
  if (frozen_ || settling_) return false;

  Extent* to_read = to_read_.front();
  Extent* to_write = to_write_.front();
  // Who waits for a frame waits for a write.
  const bool write_first = !pending_.empty() || to_read == nullptr;
  ++under_way_;
  if (has_too_many_files() && gather_once()) {
    // Else there would be none to write to in the end.
  } else if (to_write != nullptr && write_first) {
    to_write_.remove(*to_write);
    to_write->state = State::kWriting;
    store(*to_write);
  } else if (to_read != nullptr) {
    Extent& extent = *to_read;
    to_read_.remove(extent);
    const uint64_t offset = extent.chunk->offset(extent);
    char* frame = slot_address(extent.slot);
    const bool is_zeroed = zeroed_[extent.slot];
    zeroed_[extent.slot] = false;
    const uint8_t file = extent.file;
    const bool is_newer = extent.collected != 0;
    const bool is_known = file == 0 || Digest{extent.digest[0], extent.digest[1]} != Digest{};
    Digest digest;
    lock_.unlock();
    Errno error;
    if (file == SpillFiles::kCompressed)
      error = compressed_.read(extent.packed, 0, kExtentPages, frame) ? Errno{} : Errno(EIO);
    else if (file != 0)
      error = extent.chunk->files.read(file, frame, kExtentBytes, offset);
    else if (!is_zeroed)
      memset(frame, 0, kExtentBytes);
    if (!is_known && error.ok()) digest = Digest::of(frame, kExtentBytes);
    if (is_newer && error.ok()) copy_pages(frame, slot_address(extent.collected), extent.present);
    lock_.lock();
    if (!is_known && error.ok()) {
      extent.digest[0] = digest.low;
      extent.digest[1] = digest.high;
    }
    ++(file == SpillFiles::kCompressed ? compressed_.counters().extent_reads : counters_.loads);
    if (error.ok())
      trace.note(file == SpillFiles::kCompressed ? TraceKind::kExtentExpand
                 : file != 0                     ? TraceKind::kExtentRead
                                                 : TraceKind::kExtentZeroed,
                 extent);
    loaded(extent, error, is_newer);
  } else if (!demote_once() && !gather_once()) {
    --under_way_;
    return false;
  }
  --under_way_;
  if (!frozen_) make_progress();
  return true;
}

}  // namespace spillway

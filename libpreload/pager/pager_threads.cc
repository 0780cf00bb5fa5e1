// The pager's threads, what the program asks of them, and what a fork does to all of it.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

#include "base/os/clock.h"
#include "base/os/fatal.h"
#include "base/os/futex.h"
#include "base/os/keep_errno.h"
#include "base/os/limits.h"
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
// Looks, 50 us apart, whether an extent has come, until the program's madvise(2) fails with EAGAIN.
constexpr int kPatience = 100'000;

void for_each_mapped_run(Chunk& chunk, auto visit) {
  for (PageRange rest = chunk.range; !rest.empty();) {
    const PageRange run = chunk.next_run(rest, /*mapped=*/true);
    if (run.empty()) return;
    visit(run);
    rest = {run.end(), static_cast<uint64_t>(rest.end() - run.end())};
  }
}

char* extent_base(const PagedChunk& chunk, const char* address) {
  return chunk.range.base + round_down(chunk.range.offset_of(address), kExtentBytes);
}

void copy_pages(char* to, const char* from, const PageSet& pages) {
  for (unsigned page = pages.next(0); page < kExtentPages; page = pages.next(page + 1))
    memcpy(to + page * kPageBytes, from + page * kPageBytes, kPageBytes);
}

os::Userfault::Without kernel_without() {
  return {.move = settings.masked.move, .poison = settings.masked.poison};
}

bool is_on_disk(const Extent& extent) {
  return extent.state == Extent::State::kStored || extent.state == Extent::State::kScattered;
}

}  // namespace

Errno Pager::probe() {
  os::Userfault userfault;
  const Errno e = userfault.open(kernel_without());
  userfault.close();
  // Not unasked: nothing but UFFDIO_MOVE tells which pages a device is writing to.
  const bool is_safe = userfault.respects_pins() || settings.backing == Settings::BackingChoice::kManaged;
  return e.ok() && !is_safe ? Errno(EOPNOTSUPP) : e;
}

void Pager::configure() { budget_.configure(settings.limit_bytes); }

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
  budget_.look(resident_bytes(), stats.managed_bytes(), family_.others());
  set_budget();
  trace.note_memory(resident_bytes(), budget_.bytes());
}

// --- requests of the program's threads

Errno Pager::call(Work work, PageRange range, PagedChunk* chunk) {
  request_.range = range;
  request_.chunk = chunk;
  request_.done = 0;
  // Without the lock: a signal whose handler runs on a stack in a block may come at any moment.
  request_.work = work;
  wake_workers();
  while (request_.done == 0) os::wait(request_.done, 0);
  return request_.result;
}

Errno Pager::perform(Work work) {
  const Request& request = request_;
  switch (work) {
    case Work::kNone:
      break;
    case Work::kWatch:
      return userfault_.watch(request.range);
    case Work::kAdvise:
      follow(request.advice, request.range);
      break;
    case Work::kSetLimit:
      budget_.set_limit(request.limit_bytes, most_bytes_);
      set_budget();
      break;
    case Work::kCommit:
      return watch_and_preallocate(request.range);
    case Work::kRelease:
      drop(request.range);
      if (PagedChunk* chunk = find_chunk(chunks_, request.range.base))
        chunk->files.punch(chunk->range.offset_of(request.range.base), request.range.bytes);
      break;
    case Work::kDiscard:
      drop(request.range);
      break;
    case Work::kDiscardPart:
      return discard_part(request.range);
    case Work::kAddChunk:
      link(*request.chunk);
      break;
    case Work::kForgetChunk:
      drop(request.chunk->range);
      while (is_worked_on(*request.chunk)) {
        lock_.unlock();
        os::sleep_us(50);
        lock_.lock();
      }
      request.chunk->files.close_all();
      unlink(*request.chunk);
      break;
    case Work::kFreeze:
      freeze();
      return send_files(request.socket);
    case Work::kThaw:
      frozen_ = false;
      budget_.set_aside(0);
      protect_everything();
      wake_everybody();
      break;
  }
  return {};
}

Errno Pager::watch_and_preallocate(PageRange granules) {
  if (Errno e = userfault_.watch(granules); !e.ok()) return e;
  PagedChunk* chunk = find_chunk(chunks_, granules.base);
  Errno error;
  const uint8_t file = chunk->files.current(directory_, chunk->range.bytes, error);
  if (file == 0) return error;
  return chunk->files.preallocate(file, chunk->range.offset_of(granules.base), granules.bytes);
}

// Workers still have frames of dropped extents in hand.
bool Pager::is_worked_on(PagedChunk& chunk) const {
  if (under_way_ == 0) return false;
  bool any = false;
  for (char* at = chunk.range.base; at < chunk.range.end(); at += kExtentBytes)
    any |= chunk.extent(at).dropped;
  return any;
}

// Poison outlives a discard.
void Pager::map_anew(Extent& extent) {
  const PageRange range{address_of(extent), kExtentBytes};
  if (os::map_anonymous(range).ok() && userfault_.watch(range).ok()) extent.poisoned = false;
}

void Pager::drop(PageRange granules) {
  trace.note(TraceKind::kDiscard, granules.base, granules.bytes >> kPageShift);
  PagedChunk* chunk = find_chunk(chunks_, granules.base);
  for (char* at = granules.base; at < granules.end(); at += kExtentBytes) {
    Extent& extent = chunk->extent(at);
    extent.advice = Advice::kNormal;
    while (extent.lines_under_way > 0) {
      lock_.unlock();
      os::sleep_us(50);
      lock_.lock();
    }
    // A worker may be reading it from the compressed store.
    const bool is_read = extent.state == State::kLoading && !extent.linked();
    if (extent.file != 0 && !(is_read && extent.file == SpillFiles::kCompressed)) forget_file(extent);
    if (extent.state == State::kScattered) lines_.forget(extent);
    if (extent.poisoned) map_anew(extent);
    if (extent.state == State::kLoading && extent.linked()) forget_collected(extent);
    if (extent.state == State::kWriting || is_read) {
      extent.dropped = true;
      continue;
    }
    // Who waits for it gets zeroes.
    const bool wanted = extent.wanted && !extent.pending;
    if (!extent.pending) unlist(extent);
    if (extent.state == State::kResident) --frames_;
    if (extent.slot != 0) leave_slot(extent);
    not_in_memory(extent);
    if (wanted) want(extent);
  }
  (void)os::discard(granules);
}

// Advice for pages is advice for the extents around them.
void Pager::note_advice(Advice advice, PageRange pages) {
  if (advice == Advice::kDrop || advice == Advice::kPrefetch) return;
  PagedChunk* chunk = find_chunk(chunks_, pages.base);
  for (char* at = extent_base(*chunk, pages.base); at < pages.end(); at += kExtentBytes)
    chunk->extent(at).advice = advice;
}

void Pager::follow(Advice advice, PageRange pages) {
  note_advice(advice, pages);
  PagedChunk* chunk = find_chunk(chunks_, pages.base);
  if (advice == Advice::kLoop) residents_.expect_loop();
  int prefetches = budget_frames_ / 4;
  for (char* at = extent_base(*chunk, pages.base); at < pages.end(); at += kExtentBytes) {
    Extent& extent = chunk->extent(at);
    // What is dropped must be all of it.
    const bool is_whole = at >= pages.base && at + kExtentBytes <= pages.end();
    if (advice == Advice::kDrop && is_whole) send_out(extent);
    if (advice == Advice::kPrefetch && is_on_disk(extent) && !extent.pending && prefetches-- > 0) {
      evict_ahead();
      if (const uint16_t slot = take_frame(/*for_demand=*/false); slot != 0 && load(extent, slot))
        extent.ahead = true;
    }
  }
}

// As if memory were short, once there is a place for it.
void Pager::send_out(Extent& extent) {
  while (extent.state == State::kResident && vacant_count_ == 0 && (under_way_ > 0 || !to_write_.empty())) {
    wake_workers();
    lock_.unlock();
    os::sleep_us(100);
    lock_.lock();
  }
  if (extent.state == State::kResident && (vacant_count_ > 0 || make_vacancy())) evict(extent);
}

// Of one extent. EAGAIN: it is not there as a whole, but will be.
Errno Pager::discard_part(PageRange pages) {
  Extent& extent = find_chunk(chunks_, pages.base)->extent(pages.base);
  if (extent.state == State::kEmpty) return {};
  if (extent.state == State::kStaged) {
    unlist(extent);
    install(extent);
  }
  if (extent.state == State::kResident) {
    const uint64_t more = std::min<uint64_t>(kExtentPages - extent.holes, pages.bytes >> kPageShift);
    extent.holes += static_cast<uint16_t>(more);
    if (!extent.shared) holes_ += more;
    trace.note(TraceKind::kDiscard, pages.base, pages.bytes >> kPageShift);
    return os::discard(pages);
  }
  if (extent.state == State::kStored || extent.state == State::kScattered)
    want(extent);
  else
    extent.wanted = true;
  return Errno(EAGAIN);
}

// For the child, which cannot ask its parent for it, and for what the parent will copy.
void Pager::make_room_for_child() {
  if (!budget_.is_tight()) return;
  budget_.set_aside(2 * kChildBytes);
  set_budget();
  while (own_frames() > allowed_frames()) {
    make_progress();
    if (is_stuck()) break;
    wake_workers();
    lock_.unlock();
    os::sleep_us(100);
    lock_.lock();
  }
  empty_compressed();
}

void Pager::freeze() {
  trace.note(TraceKind::kFork, nullptr, 0);
  make_room_for_child();
  family_.expect_child(kChildBytes);
  // Faults are answered meanwhile: a worker may wait for a page of its frame.
  settling_ = true;
  while (under_way_ > 0 || !lines_.is_idle()) {
    lock_.unlock();
    os::sleep_us(50);
    lock_.lock();
  }
  settling_ = false;
  frozen_ = true;
  while (Extent* extent = to_read_.front()) {
    to_read_.remove(*extent);
    leave_slot(*extent);
    not_in_memory(*extent);
    put_back_collected(*extent);
    if (extent->wanted) want(*extent);
  }
  lines_.settle();
  while (Extent* extent = staged_clean_.front()) {
    unlist(*extent);
    leave_slot(*extent);
    not_in_memory(*extent);
  }
  while (Extent* extent = to_write_.front()) {
    unlist(*extent);
    install(*extent);
  }
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next) c->files.freeze();
}

Errno Pager::commit(PageRange granules) { return call(Work::kCommit, granules); }
void Pager::advise(PageRange pages, Advice advice) {
  if (!engaged_) return note_advice(advice, pages);
  request_.advice = advice;
  (void)call(Work::kAdvise, pages);
}

void Pager::set_limit(uint64_t bytes) {
  if (!engaged_) return budget_.set_limit(bytes, 0);
  request_.limit_bytes = bytes;
  (void)call(Work::kSetLimit, {});
}

void Pager::release(PageRange granules) { (void)call(Work::kRelease, granules); }

Errno Pager::discard(PageRange pages) {
  while (!pages.empty()) {
    char* extent = reinterpret_cast<char*>(round_down(reinterpret_cast<uint64_t>(pages.base), kExtentBytes));
    PageRange part = pages.intersect({extent, kExtentBytes});
    if (part.bytes == kExtentBytes) {
      part.bytes = round_down(pages.bytes, kExtentBytes);
      (void)call(Work::kDiscard, part);
    } else {
      Errno e = call(Work::kDiscardPart, part);
      for (int tries = 0; e == EAGAIN && tries < kPatience; ++tries) {
        os::sleep_us(50);
        e = call(Work::kDiscardPart, part);
      }
      if (!e.ok()) return e;
    }
    pages = {part.end(), pages.bytes - part.bytes};
  }
  return {};
}

// --- chunks

Errno Pager::add_chunk(Chunk& chunk) {
  const uint64_t bytes = round_up(PagedChunk::footprint(chunk.range.bytes), kPageBytes);
  Result<PageRange> memory = os::reserve(bytes, kPageBytes);
  if (!memory) return memory.error();
  if (Errno e = os::map_anonymous(*memory); !e.ok()) {
    os::unreserve(*memory);
    return e;
  }
  auto* paged = new (memory->base) PagedChunk;
  paged->range = chunk.range;
  paged->chunk = &chunk;
  if (engaged_)
    (void)call(Work::kAddChunk, {}, paged);
  else
    link(*paged);
  return {};
}

void Pager::link(PagedChunk& chunk) {
  chunk.next = chunks_;
  chunks_ = &chunk;
  trace.note(TraceKind::kChunk, chunk.range.base, chunk.range.bytes >> kPageShift);
}

void Pager::unlink(PagedChunk& chunk) {
  PagedChunk** link = &chunks_;
  while (*link != &chunk) link = &(*link)->next;
  trace.note(TraceKind::kChunkGone, chunk.range.base, chunk.range.bytes >> kPageShift);
  *link = chunk.next;
}

void Pager::remove_chunk(Chunk& chunk) {
  PagedChunk* paged = find_chunk(chunks_, chunk.range.base);
  if (paged == nullptr) return;
  if (engaged_)
    (void)call(Work::kForgetChunk, {}, paged);
  else
    unlink(*paged);
  os::unreserve(
      {reinterpret_cast<char*>(paged), round_up(PagedChunk::footprint(paged->range.bytes), kPageBytes)});
}

// --- threads

Errno Pager::engage(const char* directory) {
  KeepErrno keep;
  snprintf(directory_, sizeof directory_, "%s", directory);
  return start();
}

Errno Pager::start() {
  started_ = 0;
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

// Everything mapped is watched from here on, and what is there is known: a touch meanwhile waits for an
// answer.
Errno Pager::watch_memory(const os::PageTable& pages) {
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next) {
    Errno error;
    const uint8_t file = c->files.current(directory_, c->range.bytes, error);
    // A child can still read what its parent wrote.
    if (file == 0 && !c->files.any()) return error;
    Errno unwatched;
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
  budget_.look(is_child_ ? 0 : os::MemoryMeter().read().anonymous_bytes, stats.managed_bytes(),
               family_.others());
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
  if (small_window.is_open())
    if (Errno e = userfault_.watch(small_window.range()); !e.ok()) return e;
  if (is_child_) protect_everything();
  trace.note_memory(resident_bytes(), budget_.bytes());
  return {};
}

void Pager::answer_faults() {
  os::wake_soon();
  if (own_descriptors_) follower_.start();
  os::Userfault::Fault faults[kMostFaults];
  int n = 0;
  for (uint64_t awake_until = 0;;) {
    const bool is_awake = awake_until != 0 && os::monotonic_us() < awake_until;
    if (!is_awake && n < kMostFaults) lines_.ring().wait(waiting_count_ > 0 ? 1 : budget_.look_again_ms());
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

// After a fork a write makes a copy of the page, which takes memory: where that is short, it must be
// admitted.
void Pager::protect_everything() {
  if (!budget_.is_tight()) return;
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next)
    for_each_mapped_run(*c->chunk, [&](PageRange run) {
      userfault_.protect(run);
      for (char* at = run.base; at < run.end(); at += kExtentBytes)
        if (Extent& extent = c->extent(at); extent.state == State::kResident) share(extent);
    });
  if (small_window.is_open()) userfault_.protect(small_window.range().sub(0, small_window.mapped_bytes()));
}

void Pager::wake_everybody() {
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next) userfault_.wake(c->range);
}

void Pager::wake_workers() {
  work_there_.fetch_add(1);
  os::wake_all(work_there_);
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
    lock_.unlock();
    os::wait(work_there_, seen);
    lock_.lock();
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
  if (to_write != nullptr && write_first) {
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
    lock_.unlock();
    Errno error;
    if (file == SpillFiles::kCompressed)
      error = compressed_.read(extent.packed, 0, kExtentPages, frame) ? Errno{} : Errno(EIO);
    else if (file != 0)
      error = extent.chunk->files.read(file, frame, kExtentBytes, offset);
    else if (!is_zeroed)
      memset(frame, 0, kExtentBytes);
    if (is_newer && error.ok()) copy_pages(frame, slot_address(extent.collected), extent.present);
    lock_.lock();
    ++(file == SpillFiles::kCompressed ? compressed_.counters().extent_reads : counters_.loads);
    if (error.ok())
      trace.note(file == SpillFiles::kCompressed ? TraceKind::kExtentExpand
                 : file != 0                     ? TraceKind::kExtentRead
                                                 : TraceKind::kExtentZeroed,
                 extent);
    loaded(extent, error, is_newer);
  } else if (!demote_once()) {
    --under_way_;
    return false;
  }
  --under_way_;
  if (!frozen_) make_progress();
  return true;
}

// --- forks

Errno Pager::send_files(int programs_socket) {
  Result<os::Fd> socket = os::fetch_descriptor(programs_socket);
  if (!socket) return socket.error();
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next)
    if (Errno e = c->files.send_for_child(socket->get()); !e.ok()) return e;
  return {};
}

void Pager::before_fork() {
  if (!engaged_) return;
  os::Fd here, there;
  Errno e = os::make_pair(here, there);
  request_.socket = there.get();
  const Errno sent = call(Work::kFreeze, {});
  if (e.ok()) e = sent;
  for (PagedChunk* c = chunks_; c != nullptr && e.ok(); c = c->next)
    e = c->files.receive_for_child(here.get());
  // A child without its parent's memory must not be.
  if (!e.ok()) os::die("cannot hand spilled memory to a forked child: %s", strerror(e.code()));
}

void Pager::after_fork_in_parent() {
  if (!engaged_) return;
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next) c->files.close_for_child();
  (void)call(Work::kThaw, {});
}

// In a child: no threads, no staging area, no descriptors but those that were opened for it.
void Pager::start_anew() {
  new (&lock_) os::Lock;
  trace.forget();
  userfault_.forget();
  lines_.start_anew();
  engaged_ = false;
  frozen_ = false;
  request_.work = Work::kNone;
  staging_ = nursery_ = {};
  frames_ = under_way_ = garbage_count_ = vacant_count_ = 0;
  holes_ = 0;
  shared_ = 0;
  waiting_count_ = 0;
  is_child_ = true;
  budget_.forget();
  family_.be_child();
  while (Extent* extent = pending_.front()) unlist(*extent);  // whose threads stayed with the parent
  while (Extent* extent = residents_.oldest()) {
    residents_.remove(*extent);
    extent->shared = false;
    extent->state = State::kEmpty;  // until somebody looks what is there
  }
}

bool Pager::has_stored() {
  bool any = false;
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next)
    for_each_mapped_run(*c->chunk, [&](PageRange run) {
      for (char* at = run.base; at < run.end(); at += kExtentBytes) any |= is_on_disk(c->extent(at));
    });
  return any;
}

// Without a pager in the child the kernel reads what is on disk: the files do not change any more.
void Pager::map_snapshots() {
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next) {
    for_each_mapped_run(*c->chunk, [&](PageRange run) {
      for (char* at = run.base; at < run.end(); at += kExtentBytes) {
        Extent& extent = c->extent(at);
        if (is_on_disk(extent) && extent.file == SpillFiles::kCompressed)
          map_expanded(extent);
        else if (is_on_disk(extent))
          map_snapshot(extent, c->files.descriptor_for_child(extent.file), c->offset(extent));
        extent.state = State::kEmpty;
        extent.file = 0;
      }
    });
    c->files.forget_all();
  }
}

// Pages that are newer than the file are copied aside meanwhile.
void Pager::map_snapshot(Extent& extent, int fd, uint64_t offset) {
  const PageRange range{address_of(extent), kExtentBytes};
  Result<PageRange> aside = os::reserve(kExtentBytes, kPageBytes);
  if (!aside || !os::map_anonymous(*aside).ok()) os::die("no memory to copy spilled pages in a forked child");
  copy_pages(aside->base, range.base, extent.present);
  if (!os::map_file_private(range, fd, offset).ok()) os::die("cannot map spilled memory in a forked child");
  copy_pages(range.base, aside->base, extent.present);
  os::unreserve(*aside);
  lines_.forget(extent);
  extent.chunk->chunk->set_mapped(range, false);
}

void Pager::after_fork_in_child(bool may_start_threads) {
  if (!engaged_) return;
  const bool is_needed = budget_.is_tight() || has_stored();
  start_anew();
  if (!is_needed || !may_start_threads || !start().ok()) {
    start_anew();
    map_snapshots();
  }
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next) c->files.close_for_child();
}

}  // namespace spillway

// What a fork does to the pager: its parent stands still meanwhile, and the child starts anew.
#include <cstring>
#include <new>

#include "base/os/clock.h"
#include "base/os/fatal.h"
#include "base/os/memory.h"
#include "libpreload/pager/pager.h"
#include "libpreload/pager/trace.h"
#include "libpreload/small_window.h"

namespace spillway {

// --- before, in the parent

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
  if (const PageRange small = small_window.memory(); !small.empty()) userfault_.protect(small);
}

Errno Pager::send_files(int programs_socket) {
  Result<os::Fd> socket = os::fetch_descriptor(programs_socket);
  if (!socket) return socket.error();
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next)
    if (Errno e = c->files.send_for_child(socket->get()); !e.ok()) return e;
  return {};
}

void Pager::before_fork() {
  if (!engaged_) return;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &signals_before_fork_);
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
  pthread_sigmask(SIG_SETMASK, &signals_before_fork_, nullptr);
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
  frames_ = under_way_ = idle_workers_ = garbage_count_ = vacant_count_ = 0;
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
void Pager::map_snapshots(PagedChunk& chunk) {
  for_each_mapped_run(*chunk.chunk, [&](PageRange run) {
    for (char* at = run.base; at < run.end(); at += kExtentBytes) {
      Extent& extent = chunk.extent(at);
      if (is_on_disk(extent) && extent.file == SpillFiles::kCompressed)
        map_expanded(extent);
      else if (is_on_disk(extent))
        map_snapshot(extent, chunk.files.descriptor_for_child(extent.file), chunk.offset(extent));
      extent.state = State::kEmpty;
      extent.file = 0;
    }
  });
  chunk.files.forget_all();
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

void Pager::begin_child() {
  if (!engaged_) return;
  was_engaged_ = true;
  child_needs_pager_ = budget_.is_tight() || has_stored();
  start_anew();
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next)
    if (c->chunk->of_small_blocks) map_snapshots(*c);
}

void Pager::after_fork_in_child(bool may_start_threads) {
  if (!std::exchange(was_engaged_, false)) return;
  if (!child_needs_pager_ || !may_start_threads || !start().ok()) {
    start_anew();
    for (PagedChunk* c = chunks_; c != nullptr; c = c->next) map_snapshots(*c);
  }
  for (PagedChunk* c = chunks_; c != nullptr; c = c->next) c->files.close_for_child();
  pthread_sigmask(SIG_SETMASK, &signals_before_fork_, nullptr);
}

}  // namespace spillway

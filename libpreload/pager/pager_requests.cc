// What the program asks of the pager: its threads leave a request for one of the pager's, and wait.
#include <algorithm>

#include "base/os/clock.h"
#include "base/os/futex.h"
#include "base/os/memory.h"
#include "libpreload/pager/pager.h"
#include "libpreload/pager/trace.h"

namespace spillway {
namespace {

// Looks, 50 us apart, whether an extent has come, until the program's madvise(2) fails with EAGAIN.
constexpr int kMostTries = 100'000;

char* extent_base(const PagedChunk& chunk, const char* address) {
  return chunk.range.base + round_down(chunk.range.offset_of(address), kExtentBytes);
}

}  // namespace

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
    begin_wait(extent);
  return Errno(EAGAIN);
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
      for (int tries = 0; e == EAGAIN && tries < kMostTries; ++tries) {
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

}  // namespace spillway

#include "libpreload/pager/lines.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/os/clock.h"
#include "base/os/fatal.h"
#include "base/os/memory.h"
#include "libpreload/pager/digest.h"
#include "libpreload/pager/trace.h"
#include "libpreload/settings.h"

namespace spillway {
namespace {

// So many of the last 64 lines in one extent: it is worth being read as a whole, which takes as long as 25
// lines.
constexpr int kDense = 16, kVeryDense = 32, kDenser = 8;
// So many of the last 256: a few extents have nearly all the faults, however often they came and went.
constexpr int kDenseForLong = 64;
// A run in equal steps.
constexpr int kSteps = 3;
// Lines about pages that cannot be read.
constexpr int kMostSaid = 5;
constexpr uint64_t kSoon = 2;  // in memories

Result<PageRange> memory_for(uint64_t bytes) {
  Result<PageRange> range = os::reserve(round_up(bytes, kPageBytes), kPageBytes);
  if (!range) return range;
  if (Errno e = os::map_anonymous(*range); !e.ok()) return e;
  (void)os::use_small_pages(*range);
  return range;
}

}  // namespace

Errno Lines::Queue::make(uint64_t capacity) {
  Result<PageRange> memory = memory_for(capacity * sizeof(uint64_t));
  if (!memory) return memory.error();
  entries_ = reinterpret_cast<uint64_t*>(memory->base);
  mask_ = capacity - 1;
  return {};
}

Errno Lines::set_up(os::Userfault& userfault, PagedChunk*& chunks, const char* directory,
                    WriteErrors& write_errors, CompressedStore& compressed, int most_frames) {
  userfault_ = &userfault;
  chunks_ = &chunks;
  directory_ = directory;
  write_errors_ = &write_errors;
  compressed_ = &compressed;
  if (Errno e = ring_.open(userfault.descriptor(), !settings.masked.uring); !e.ok()) return e;
  const uint64_t pages = static_cast<uint64_t>(most_frames) << (kExtentShift - kPageShift);
  const uint64_t capacity = std::bit_ceil(pages);
  budget_pages_ = pages;
  if (slots_ == nullptr) {
    if (Errno e = new_.make(capacity); !e.ok()) return e;
    if (Errno e = proven_.make(capacity); !e.ok()) return e;
    Result<PageRange> words = memory_for(2 * capacity * sizeof(PageWords::Entry));
    if (!words) return words.error();
    words_.use(reinterpret_cast<PageWords::Entry*>(words->base), 2 * capacity);
    slot_mask_ = std::max(capacity / kStagedShare * 2, 4 * kAtOnce) - 1;
    Result<PageRange> slots = memory_for((slot_mask_ + 1) * sizeof(Slot));
    if (!slots) return slots.error();
    slots_ = reinterpret_cast<Slot*>(slots->base);
    Result<PageRange> buffers = memory_for(kLoads * kLongest * kPageBytes);
    if (!buffers) return buffers.error();
    buffers_ = *buffers;
  }
  Result<PageRange> area = memory_for((slot_mask_ + 1) * kPageBytes);
  if (!area) return area.error();
  area_ = *area;
  if (Errno e = os::not_in_children(area_); !e.ok()) return e;
  return userfault.add_staging(area_);
}

void Lines::start_anew() {
  new (&ring_) os::IoRing;
  area_ = {};
  head_ = next_write_ = tail_ = 0;
  missed_ = false;
}

Extent* Lines::extent_of(const char* page, unsigned& index) {
  PagedChunk* chunk = find_chunk(*chunks_, page);
  if (chunk == nullptr) return nullptr;
  Extent& extent = chunk->extent(page);
  index = static_cast<unsigned>((page - address_of(extent)) >> kPageShift);
  return extent.state == Extent::State::kScattered ? &extent : nullptr;
}

// --- faults

bool Lines::is_under_way(const Extent& extent, unsigned page) const {
  for (const Load& l : loads_)
    if (l.extent == &extent && page - l.first < l.count) return true;
  return false;
}

// A line continues the run of pages that are there, and is as long as the run, so that a stream's lines
// double.
Lines::Whole Lines::suggests_whole(const Extent& extent, unsigned page) const {
  if (extent.indivisible || extent.lines_under_way > 0) return Whole::kNo;
  unsigned before = 0, after = 0;
  while (before < 2 * kLongest && before < page && extent.present.has(page - before - 1)) ++before;
  while (after < 2 * kLongest && page + after + 1 < kExtentPages && extent.present.has(page + after + 1))
    ++after;
  if (std::max(before, after) >= 2 * kLongest || continues_steps(extent, page)) return Whole::kRun;
  // An extent that was here as a whole not long ago, and had to go, is one of too many; more so each time.
  const int enough = was_here_lately(extent) ? kVeryDense + kDenser * extent.dense_reads : kDense;
  const bool is_dense =
      recent_faults(extent, kLast) >= enough || recent_faults(extent, kRecent) >= kDenseForLong;
  return is_dense ? Whole::kDense : Whole::kNo;
}

bool Lines::was_here_lately(const Extent& extent) const {
  return extent.since != 0 && clock_ - extent.since < kSoon * budget_pages_;
}

void Lines::note_whole(Extent& extent, Whole why) {
  recent_[recent_at_++ % kRecent] = {};
  if (why == Whole::kDense && was_here_lately(extent))
    extent.dense_reads = static_cast<uint8_t>(std::min(extent.dense_reads + 1, 8));
  else
    extent.dense_reads = 0;
}

int Lines::recent_faults(const Extent& extent, unsigned among) const {
  int found = 0;
  for (unsigned i = 1; i <= among; ++i) found += recent_[(recent_at_ - i) % kRecent].extent == &extent;
  return found;
}

// The last faults in this extent and this one are equally far from each other.
bool Lines::continues_steps(const Extent& extent, unsigned page) const {
  int steps = 0;
  int64_t step = 0, at = page;
  for (unsigned i = 1; i <= kLast && steps < kSteps; ++i) {
    const Recent& r = recent_[(recent_at_ - i) % kRecent];
    if (r.extent != &extent) continue;
    const int64_t distance = at - r.page;
    if (distance == 0 || (steps > 0 && distance != step)) return false;
    step = distance;
    at = r.page;
    ++steps;
  }
  return steps == kSteps;
}

bool Lines::are_the_rule() const {
  unsigned whole = 0;
  for (unsigned i = 1; i <= kLast; ++i) whole += recent_[(recent_at_ - i) % kRecent].extent == nullptr;
  return whole <= kLast / 8;
}

void Lines::take_page(Extent& extent, unsigned page, const char* from) {
  uint64_t done = 0;
  const uint64_t digest = digest_of_page(from);
  extent.state = Extent::State::kScattered;
  extent.indivisible = false;
  const Errno e = userfault_->copy(page_range(extent, page), from, done, /*wakes=*/true);
  if (e.ok()) {
    ++pages_;
    ++clock_;
    know(extent, page, digest);
    present(extent, page, new_);
  } else {
    userfault_->wake(page_range(extent, page));
    become_stored(extent);
  }
}

// A page that should be there. As a rule it came meanwhile; else somebody discarded it by a system call that
// nobody saw, and it reads as zeroes.
void Lines::fill_hole(PageRange page) {
  static const char zeroes[kPageBytes] = {};
  uint64_t done = 0;
  (void)userfault_->copy(page, zeroes, done);
  userfault_->wake(page);
}

void Lines::on_fault(Extent& extent, unsigned page) {
  const PageRange here = page_range(extent, page);
  if (extent.present.has(page)) return fill_hole(here);
  if (extent.staged.has(page)) {
    ++counters_.staged_hits;
    trace.note_page(TraceKind::kStagedHit, extent, page);
    bring_back(words_.get(here.base, 0));
    return userfault_->wake(here);
  }
  if (is_under_way(extent, page)) return;

  const auto is_there = [&](unsigned p) { return extent.present.has(p) || extent.staged.has(p); };
  unsigned before = 0, after = 0;
  while (before < kLongest && before < page && is_there(page - before - 1)) ++before;
  while (after < kLongest && page + after + 1 < kExtentPages && is_there(page + after + 1)) ++after;
  const auto is_free = [&](unsigned p) {
    return p < kExtentPages && !is_there(p) && !is_under_way(extent, p);
  };
  unsigned first = page, end = page + 1;
  if (before >= after)
    while (end - first < before && is_free(end)) ++end;
  else
    while (end - first < after && is_free(first - 1)) --first;
  if (load(extent, first, end - first, page, os::monotonic_us()))
    recent_[recent_at_++ % kRecent] = {&extent, page};
}

bool Lines::is_full(unsigned more) const { return writes_ > 0 && pages_ + more > room() + 2 * kAtOnce; }

bool Lines::read_ahead(Extent& extent, unsigned page) {
  if (extent.present.has(page) || extent.staged.has(page) || is_under_way(extent, page)) return true;
  const auto unused =
      std::count_if(loads_, loads_ + kLoads, [](const Load& l) { return l.extent == nullptr; });
  return unused > kFewUnused && !is_full(1) && load(extent, page, 1, page, /*since_us=*/0);
}

// The page that leaves the staging area next makes room for another one: its memory goes from the one to the
// other, which takes half as long as giving it back and getting some.
bool Lines::expand_in_place(Extent& extent, unsigned page) {
  while (head_ != tail_ && slot(head_).left && !slot(head_).holds && !slot(head_).writing) ++head_;
  if (head_ == tail_ || pages_ < room()) return false;
  Slot& s = slot(head_);
  if (s.left || !s.clean || s.writing || !s.holds) return false;
  const PageRange memory{slot_address(head_++), kPageBytes};
  trace.note_page(TraceKind::kDrop, *s.extent, s.page);
  (void)leave(s);
  become_stored(*s.extent);
  emptied(s);
  hold(extent);
  const PageRange to = page_range(extent, page);
  uint64_t done = 0;
  const bool ok =
      compressed_->read(extent.packed, page, 1, memory.base) && userfault_->move(to.base, memory, done).ok();
  if (ok) {
    present(extent, page, new_);
    ++clock_;
    // Another page leaves before the program goes on: later its processor would have to be interrupted.
    if (needs_room()) (void)stage_next();
    userfault_->wake(to);
  } else {
    (void)os::discard(memory);
    --pages_;
  }
  let_go(extent);
  return ok;
}

bool Lines::load(Extent& extent, unsigned first, unsigned count, unsigned wanted, uint64_t since_us) {
  Load* unused = std::find_if(loads_, loads_ + kLoads, [](const Load& l) { return l.extent == nullptr; });
  // What must be written before there is room holds up what is read.
  if (is_full(count) || unused == loads_ + kLoads) {
    missed_ = true;
    return false;
  }
  const bool is_compressed = extent.file == SpillFiles::kCompressed;
  if (is_compressed) {
    ++compressed_->counters().line_reads;
    trace.note_page(TraceKind::kLineExpand, extent, first, count);
    if (count == 1 && expand_in_place(extent, first)) return true;
  }
  *unused = {&extent, static_cast<uint16_t>(first), static_cast<uint16_t>(count),
             static_cast<uint16_t>(wanted), since_us};
  hold(extent);
  pages_ += count;
  clock_ += count;
  const auto i = static_cast<uint32_t>(unused - loads_);
  char* buffer = buffers_.base + i * kLongest * kPageBytes;
  if (is_compressed) {
    loaded(*unused, compressed_->read(extent.packed, first, count, buffer) ? Errno{} : Errno(EIO));
    return true;
  }
  ++under_way_;
  ++counters_.loads;
  counters_.load_pages += count;
  trace.note_page(TraceKind::kLineRead, extent, first, count);
  ring_.read(extent.chunk->files.descriptor(extent.file), buffer, static_cast<uint32_t>(count * kPageBytes),
             extent.chunk->offset(extent) + first * kPageBytes, i);
  return true;
}

void Lines::hold(Extent& extent) {
  if (extent.state == Extent::State::kStored) {
    extent.state = Extent::State::kScattered;
    extent.indivisible = false;
  }
  ++extent.lines_under_way;
}

void Lines::let_go(Extent& extent) {
  --extent.lines_under_way;
  become_stored(extent);
}

bool Lines::finish() {
  os::IoRing::Done done[16];
  bool any = false;
  while (const int n = ring_.finished(done, 16)) {
    any = true;
    for (int i = 0; i < n; ++i) {
      --under_way_;
      if ((done[i].tag & kIsWrite) != 0)
        written(slot(done[i].tag & ~kIsWrite), done[i].error);
      else
        loaded(loads_[done[i].tag], done[i].error);
    }
  }
  return any;
}

void Lines::loaded(Load& load, Errno error) {
  Extent& extent = *load.extent;
  if (!error.ok()) {
    const Load failed = load;
    load.extent = nullptr;
    --extent.lines_under_way;
    pages_ -= failed.count;
    if (failed.count == 1) return poison(extent, failed.wanted, error);
    // The others may be readable: who waits for one of them asks again.
    (void)this->load(extent, failed.wanted, 1, failed.wanted, failed.since_us);
    userfault_->wake({page_address(extent, failed.first), failed.count * kPageBytes});
    return;
  }
  const char* buffer = buffers_.base + (&load - loads_) * kLongest * kPageBytes;
  const PageRange to{page_address(extent, load.first), load.count * kPageBytes};
  uint64_t done = 0;
  (void)userfault_->copy(to, buffer, done, /*wakes=*/true);
  for (unsigned i = 0; i < load.count; ++i) {
    const char* const from = buffer + i * kPageBytes;
    const PageRange page = page_range(extent, load.first + i);
    uint64_t one = done > i * kPageBytes ? kPageBytes : 0;
    // Several mappings, or some pages are there already, which were not counted.
    if (one == 0 && !userfault_->copy(page, from, one, /*wakes=*/true).ok()) {
      --pages_;
      userfault_->wake(page);
      continue;
    }
    if (extent.file != SpillFiles::kCompressed) know(extent, load.first + i, digest_of_page(from));
    present(extent, load.first + i, new_);
  }
  if (load.since_us != 0) counters_.stall_us += os::monotonic_us() - load.since_us;
  load.extent = nullptr;
  --extent.lines_under_way;
}

void Lines::poison(Extent& extent, unsigned page, Errno error) {
  if (said_read_errors_++ < kMostSaid)
    os::say("cannot read %llu bytes at offset %llu of a spill file in %s: %s; a touch of them is SIGBUS",
            static_cast<unsigned long long>(kPageBytes),
            static_cast<unsigned long long>(extent.chunk->offset(extent) + page * kPageBytes), directory_,
            strerror(error.code()));
  extent.poisoned = true;
  if (const Errno e = userfault_->poison(page_range(extent, page)); !e.ok())
    os::die("cannot mark memory that cannot be read: %s", strerror(e.code()));
}

// The digest of what the file has; the compressed store knows its own. Without one the page counts as
// changed.
void Lines::know(const Extent& extent, unsigned page, uint64_t digest) {
  (void)words_.set(page_address(extent, page), digest);
}

void Lines::present(Extent& extent, unsigned page, Queue& queue) {
  extent.present.add(page);
  // Of pages that are long gone, as a rule.
  while (queue.full()) {
    unsigned index;
    Extent* oldest = extent_of(queue.pop(), index);
    if (oldest != nullptr && oldest->present.has(index)) (void)stage(*oldest, index);
  }
  queue.push(page_address(extent, page), clock_);
}

}  // namespace spillway

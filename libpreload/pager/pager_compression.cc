// Extents that compress well stay in memory instead of going to the disk (compressed_store.h).
#include <algorithm>
#include <cstring>

#include "base/os/clock.h"
#include "base/os/fatal.h"
#include "base/os/memory.h"
#include "libpreload/pager/pager.h"
#include "libpreload/pager/trace.h"
#include "libpreload/settings.h"

namespace spillway {
namespace {

// Where extents do not compress, one in so many is still tried, in the end.
constexpr unsigned kMostSkipped = 16;
// Looks for one to demote at once.
constexpr int kLooks = 64;
// Looks, 100 us apart, for one that can be demoted.
constexpr int kPatience = 2000;

}  // namespace

// Called with the lock, which it gives up meanwhile. False: it must go to the disk.
bool Pager::compress(Extent& extent, const char* frame) {
  if (extent.file == SpillFiles::kCompressed) forget_file(extent);
  if (to_skip_ > 0) return --to_skip_, false;
  if (!compressed_.has_room()) return false;
  lock_.unlock();
  PageCodec::Filter filter;
  const bool may_do = CompressedStore::suits(frame, filter);
  lock_.lock();
  uint32_t slot = 0;
  bool is_packed = false;
  if (may_do) {
    slot = compressed_.take(extent);
    if (slot == 0) return false;
    lock_.unlock();
    is_packed = compressed_.pack(slot, frame, filter);
    lock_.lock();
    if (!is_packed) compressed_.release(slot);
  }
  if (!is_packed) {
    ++compressed_.counters().refused;
    skip_ = std::min(2 * skip_ + 1, kMostSkipped);
    to_skip_ = skip_;
    return false;
  }
  skip_ = 0;
  if (extent.file != 0) forget_file(extent);
  compressed_.keep(slot);
  extent.file = SpillFiles::kCompressed;
  extent.packed = slot;
  trace.note(TraceKind::kCompress, extent);
  return true;
}

// What is resident, or staged, has a copy that can go at once.
Extent* Pager::choose_to_demote() {
  for (int i = 0; i < kLooks && compressed_.is_over(); ++i) {
    Extent* extent = compressed_.next();
    if (extent == nullptr) return nullptr;
    if (extent->state == State::kResident) {
      forget_file(*extent);
      continue;
    }
    if (extent->state == State::kStaged && extent->clean) {
      unlist(*extent);
      forget_file(*extent);
      extent->clean = false;
      became_staged(*extent);
      wake_workers();
      continue;
    }
    const bool is_still = (extent->state == State::kStored || extent->state == State::kScattered) &&
                          !extent->pending && extent->lines_under_way == 0;
    if (is_still) return extent;
  }
  return nullptr;
}

// With the lock, which it gives up meanwhile. False: nothing is to be done.
bool Pager::demote_once() {
  if (demoting_ || !compressed_.is_over() || !write_errors_.may_write()) return false;
  Extent* extent = choose_to_demote();
  if (extent == nullptr) return false;
  demoting_ = true;
  demote(*extent);
  demoting_ = false;
  return true;
}

// Before a fork when memory is short: what both sides had in it would be in nobody's budget.
void Pager::empty_compressed() {
  empties_compressed_ = true;
  set_budget();
  for (int tries = 0; compressed_.is_over() && write_errors_.may_write() && tries < kPatience;) {
    if (demote_once()) continue;
    ++tries;
    make_progress();
    wake_workers();
    lock_.unlock();
    os::sleep_us(100);
    lock_.lock();
  }
  empties_compressed_ = false;
}

// Its bytes go to the file that is written to now; whatever is in memory of it stays.
void Pager::demote(Extent& extent) {
  alignas(kPageBytes) static char buffer[64 * kPageBytes];
  PagedChunk& chunk = *extent.chunk;
  Errno error;
  const uint8_t file = chunk.files.current(directory_, chunk.range.bytes, error);
  if (file == 0) return write_errors_.failed(directory_, error);
  chunk.files.refer(file);
  lines_.hold(extent);
  extent.demoting = true;
  const uint64_t offset = chunk.offset(extent);
  const uint8_t source = extent.file;
  Errno lost;
  lock_.unlock();
  for (unsigned page = 0; page < kExtentPages && error.ok() && lost.ok();
       page += sizeof buffer / kPageBytes) {
    const uint64_t at = offset + page * kPageBytes;
    if (source != SpillFiles::kCompressed)
      lost = chunk.files.read(source, buffer, sizeof buffer, at);
    else if (!compressed_.read(extent.packed, page, sizeof buffer / kPageBytes, buffer))
      error = Errno(EIO);
    if (error.ok() && lost.ok()) error = chunk.files.write(file, buffer, sizeof buffer, at);
  }
  lock_.lock();
  // Nobody reads the old file any more, not even with a read that was asked for and has not been handed to
  // the kernel yet: its descriptor may be closed below.
  while (extent.lines_under_way > 1) {
    lock_.unlock();
    os::sleep_us(50);
    lock_.lock();
  }
  extent.demoting = false;
  lines_.let_go(extent);
  if (!error.ok() || !lost.ok()) {
    chunk.files.forget(file);
    // What cannot be read is said, and SIGBUS, when it is touched.
    if (!error.ok()) write_errors_.failed(directory_, error);
    extent.indivisible = extent.indivisible || !lost.ok();
    return;
  }
  forget_file(extent);
  extent.file = file;
  compressed_.counters().demoted += source == SpillFiles::kCompressed;
  trace.note(TraceKind::kWrite, extent);
}

// In a forked child without a pager: the extent goes to a file of the child's, which is mapped.
void Pager::map_expanded(Extent& extent) {
  Result<PageRange> aside = os::reserve(kExtentBytes, kPageBytes);
  if (!aside || !os::map_anonymous(*aside).ok())
    os::die("no memory to expand spilled memory in a forked child");
  if (!compressed_.read(extent.packed, 0, kExtentPages, aside->base))
    os::die("compressed memory is damaged in a forked child");
  Result<os::Fd> file = os::open_unlinked(directory_, !settings.masked.tmpfile);
  const Errno e = file ? os::write_all(file->get(), aside->base, kExtentBytes, 0) : file.error();
  if (!e.ok()) os::die("cannot spill in a forked child to %s: %s", directory_, strerror(e.code()));
  os::unreserve(*aside);
  map_snapshot(extent, file->get(), 0);
  compressed_.release(extent.packed);
}

}  // namespace spillway

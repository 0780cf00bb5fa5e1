// compactor.cc - when to compact, and what: the writer's thread, and the space it keeps.
//
// The bound: used bytes of all segments <= 2.5 x live + one segment; a put that would run ahead of the
// compactor waits for it.
#include <algorithm>
#include <cstring>

#include "libpool/segstore/compaction.h"

namespace spillway::segstore {
namespace {

constexpr unsigned kManySmall = 24;
// Where little is live, what a quick writer fills while a segment is sealed and compacted.
constexpr uint64_t kSlack = 8 * kMiB;
constexpr uint64_t kBriefSlackSegments = 4;

// Not a large value that has its row, but whose write is still under way: nothing points to it yet.
bool may_be_compacted(const Index& index, const SegmentRow& row) {
  const uint64_t flags = load(row.flags);
  if (load(row.file_id) == 0 || (flags & kLeft) != 0) return false;
  return (flags & kDamaged) != 0 ||
         ((flags & kSealed) != 0 && load(row.min_sequence) <= load(index.header().applied_sequence));
}

}  // namespace

bool Writer::wants_compaction() const {
  const uint64_t live = live_bytes_, used = used_bytes_;
  return used > live + live / 2 + kMiB && used - live > 2 * kFirstRecord;
}

// Not before the compactor has anything to do: where little is live, the least that it begins at is more than
// twice as much, and each put would wake it in vain.
bool Writer::is_behind() const {
  // What never reaches the disk is there for who must not wait.
  const uint64_t slack = files_.lasts()
                             ? std::max(wanted_capacity(), std::min(kSlack, options_.segment_bytes))
                             : kBriefSlackSegments * options_.segment_bytes;
  return wants_compaction() && used_bytes_ > 2 * live_bytes_ + slack;
}

// Before a write that adds: when the compactor is behind, until it has done something.
void Writer::wait_for_compactor() {
  if (!options_.auto_compact || !is_behind()) return;
  std::unique_lock lock(thread_mutex_);
  wanted_ = true;
  thread_wakes_.notify_one();
  for (int i = 0; i < 100 && is_behind() && !stopping_ && !failed_; ++i) {
    compacted_.wait_for(lock, std::chrono::milliseconds(10));
    if (!wanted_ && !is_compacting_) return;  // it has done what it can
  }
}

void Writer::wake_thread() {
  const std::lock_guard lock(thread_mutex_);
  wanted_ = true;
  thread_wakes_.notify_one();
}

StoreStatus Writer::compact_rows(const std::vector<uint32_t>& rows) {
  const Index& index = view_->index;
  std::vector<uint32_t> ordered = rows;
  std::sort(ordered.begin(), ordered.end(), [&](uint32_t a, uint32_t b) {
    return load(index.row(a).min_sequence) < load(index.row(b).min_sequence);
  });
  // Groups whose copies fit one segment and 32 bits of sequence numbers.
  for (size_t from = 0; from < ordered.size();) {
    if (stopping_) return {StoreCode::kClosed, reader_.path() + ": the store is closed"};
    std::vector<uint32_t> group;
    uint64_t bytes = 0;
    const uint64_t first = load(index.row(ordered[from]).min_sequence);
    while (from < ordered.size()) {
      const SegmentRow& row = index.row(ordered[from]);
      const uint64_t live = load(row.live_bytes) + load(row.live_records) * 64;
      if (!group.empty() &&
          (bytes + live > options_.segment_bytes * 7 / 8 || load(row.max_sequence) - first > INT32_MAX))
        break;
      bytes += live;
      group.push_back(ordered[from++]);
    }
    is_compacting_ = true;
    StoreStatus bad = Compaction(*this, group).run();
    if (bad.code() == StoreCode::kNoSpace && group.size() > 1) bad = compact_one_by_one(group);
    is_compacting_ = false;
    {
      const std::lock_guard lock(thread_mutex_);
      compacted_.notify_all();
    }
    if (!bad.ok()) return bad;
  }
  return {};
}

// On a full disk: those with the least to copy first, so that each makes room for the next.
StoreStatus Writer::compact_one_by_one(std::vector<uint32_t> rows) {
  const Index& index = view_->index;
  std::sort(rows.begin(), rows.end(), [&](uint32_t a, uint32_t b) {
    return load(index.row(a).live_bytes) < load(index.row(b).live_bytes);
  });
  for (const uint32_t row : rows) {
    if (StoreStatus bad = Compaction(*this, {row}).run(); !bad.ok()) return bad;
    if (StoreStatus bad = keep_reserve(); !bad.ok()) return bad;
  }
  return {};
}

// By the thread: victims until space is well below the bound; `for_room`: as long as there are any.
StoreStatus Writer::compact_where_worth_it(bool for_room) {
  const Index& index = view_->index;
  struct Candidate {
    uint32_t row;
    uint64_t dead, used;
  };
  for (int round = 0; round < 1000 && !stopping_; ++round) {
    std::vector<Candidate> candidates;
    std::vector<uint32_t> small, dead_values;
    const uint64_t rows = load(index.header().rows_used);
    for (uint32_t row = 0; row < rows; ++row) {
      const SegmentRow& entry = index.row(row);
      if (!may_be_compacted(index, entry)) continue;
      const uint64_t used = load(entry.used), live = load(entry.live_bytes);
      if ((load(entry.flags) & kSolo) != 0) {
        if (load(entry.live_records) == 0) dead_values.push_back(row);
        continue;
      }
      const uint64_t dead = used - std::min(used, live + kFirstRecord);
      if (live == 0 || dead * 4 >= used) candidates.push_back({row, dead, used});
      if (used * 8 < wanted_capacity()) small.push_back(row);
    }
    if (!dead_values.empty()) {
      is_compacting_ = true;
      StoreStatus bad = Compaction(*this, std::move(dead_values)).run();
      is_compacting_ = false;
      if (!bad.ok()) return bad;
    }
    if (small.size() >= kManySmall) {
      if (StoreStatus bad = compact_rows(small); !bad.ok()) return bad;
      continue;
    }
    if (candidates.empty() || (!for_room && !wants_compaction())) return {};
    // The most dead first, as many as one new segment takes.
    std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
      return static_cast<unsigned __int128>(a.dead) * b.used >
             static_cast<unsigned __int128>(b.dead) * a.used;
    });
    std::vector<uint32_t> victims;
    uint64_t live = 0, gain = 0;
    for (const Candidate& candidate : candidates) {
      if (!victims.empty() &&
          (live + candidate.used - candidate.dead > wanted_capacity() || victims.size() >= 64))
        break;
      victims.push_back(candidate.row);
      live += candidate.used - candidate.dead;
      gain += candidate.dead;
    }
    const uint64_t before = used_bytes_;
    if (StoreStatus bad = compact_rows(victims); !bad.ok()) return bad;
    if (used_bytes_ >= before || gain == 0) return {};  // removes that must stay: try again when more is dead
  }
  return {};
}

// What is left of a reserve that was taken from. append_mutex_ is held.
Errno Writer::make_reserve(uint64_t bytes) {
  reserve_bytes_ = 0;
  if (Errno e = files_.unlink(directory_, kReserve); !e.ok() && e.code() != ENOENT) return e;
  if (bytes == 0) return {};
  Result<os::Fd> fd = files_.create(directory_, kReserve, bytes);
  if (!fd) return fd.error();
  reserve_bytes_ = bytes;
  return {};
}

// Blocks that nobody uses until the disk is full: then removes and compaction go on. Not many more than the
// store would take for a segment now.
StoreStatus Writer::keep_reserve() {
  const uint64_t wanted = wanted_capacity();
  const std::lock_guard lock(append_mutex_);
  const uint64_t had = reserve_bytes_;
  if (had >= wanted && had <= 4 * wanted) return {};
  Errno e = make_reserve(wanted);
  if (!e.ok() && had > 0) e = make_reserve(had);  // or else the one there was
  return e.ok() || e == ENOSPC || e == EDQUOT ? StoreStatus() : failure(e, reader_.path() + "/RESERVE");
}

void Writer::maintain() {
  std::unique_lock lock(thread_mutex_);
  while (!stopping_) {
    lock.unlock();
    view_->index.use_huge_pages();
    lock.lock();
    // What follows a segment's sealing is for when there is nothing else to do, and for half of the time.
    for (uint64_t us = 1; us != 0 && !wanted_ && !stopping_;) {
      lock.unlock();
      us = make_extent_huge();
      lock.lock();
      if (us != 0 && !wanted_ && !stopping_) thread_wakes_.wait_for(lock, std::chrono::microseconds(us));
    }
    for (int seconds = 0; seconds < 5 && !wanted_ && !stopping_; ++seconds) {
      thread_wakes_.wait_for(lock, std::chrono::seconds(1));
      if (stopping_) return;
      lock.unlock();
      replace_index_if_gone();
      lock.lock();
    }
    if (stopping_) return;
    wanted_ = false;
    lock.unlock();
    {
      const std::lock_guard one_at_a_time(maintenance_mutex_);
      // Errors of the thread are nobody's answer: the next write or compact() meets the same cause and tells.
      StoreStatus status = seal_waiting();
      if (status.ok() && active_exists()) status = keep_reserve();
      if (status.ok() && options_.auto_compact) status = compact_where_worth_it(false);
      if (status.ok() && options_.auto_compact) status = drop_expired();
    }
    lock.lock();
    compacted_.notify_all();
  }
}

bool Writer::active_exists() const {
  const std::lock_guard lock(append_mutex_);
  return active_ != nullptr;
}

// Segments in which everything has expired go without a copy.
StoreStatus Writer::drop_expired() {
  const Index& index = view_->index;
  std::vector<uint32_t> rows;
  const uint64_t now = reader_.now_ms(*view_);
  for (uint32_t row = 0; row < load(index.header().rows_used); ++row) {
    const SegmentRow& entry = index.row(row);
    const uint64_t flags = load(entry.flags);
    if (load(entry.file_id) == 0 || (flags & (kSealed | kLeft)) != kSealed || load(entry.live_records) == 0)
      continue;
    Errno error;
    Mapping* mapping = reader_.pin_row(*view_, row, error);
    if (mapping == nullptr) continue;
    Footer footer;
    Record record;
    uint64_t latest = UINT64_MAX;
    if ((flags & kSolo) != 0) {
      if (read_record(mapping->bytes(), kFirstRecord, record) && record.expires_ms != 0)
        latest = record.expires_ms;
    } else if (read_footer(mapping->bytes(), footer)) {
      latest = footer.latest_expiry;
    }
    mapping->unpin();
    if (latest <= now) rows.push_back(row);
  }
  return rows.empty() ? StoreStatus() : compact_rows(rows);
}

StoreStatus Writer::compact() {
  if (StoreStatus bad = usable(); !bad.ok()) return bad;
  const std::lock_guard one_at_a_time(maintenance_mutex_);
  {
    const std::lock_guard lock(append_mutex_);
    if (StoreStatus bad = usable(); !bad.ok()) return bad;
    if (active_ != nullptr) {
      dirty_.push_back(active_);
      full_.push_back(std::exchange(active_, nullptr));
    }
  }
  if (StoreStatus bad = seal_waiting(); !bad.ok()) return bad;
  const Index& index = view_->index;
  const uint64_t now = reader_.now_ms(*view_);
  std::vector<uint32_t> rows, small;
  for (uint32_t row = 0; row < load(index.header().rows_used); ++row) {
    const SegmentRow& entry = index.row(row);
    const uint64_t flags = load(entry.flags);
    if (!may_be_compacted(index, entry)) continue;
    bool wanted = (flags & kSolo) != 0 ? load(entry.live_records) == 0
                                       : load(entry.used) > load(entry.live_bytes) + kFirstRecord;
    Errno error;
    if (Mapping* mapping = wanted ? nullptr : reader_.pin_row(*view_, row, error)) {
      Footer footer;
      Record record;
      if ((flags & kSolo) != 0)
        wanted = read_record(mapping->bytes(), kFirstRecord, record) && record.expires_ms != 0 &&
                 record.expires_ms <= now;
      else if (read_footer(mapping->bytes(), footer))
        wanted = has_expired(mapping->bytes(), footer, now);
      mapping->unpin();
    }
    if (wanted)
      rows.push_back(row);
    else if ((flags & kSolo) == 0 && load(entry.used) * 4 < options_.segment_bytes)
      small.push_back(row);
  }
  if (small.size() + rows.size() > 1) rows.insert(rows.end(), small.begin(), small.end());
  return compact_rows(rows);
}

// Whether any of its live records has.
bool Writer::has_expired(const SegmentBytes& segment, const Footer& footer, uint64_t now) const {
  bool any = false;
  if (footer.latest_expiry == 0) return false;
  scan_records(
      segment, footer.used_bytes, -1,
      [&](const Record& record) { any = any || (record.expires_ms != 0 && record.expires_ms <= now); },
      [](uint64_t, uint64_t) {});
  return any;
}

}  // namespace spillway::segstore

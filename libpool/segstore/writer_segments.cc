// writer_segments.cc - the active segment: begun, filled, and followed by the next.
#include <bit>

#include "libpool/segstore/writer.h"

namespace spillway::segstore {
namespace {

constexpr uint64_t kFirstCapacity = 256 * kKiB;
// What never reaches the disk may be larger, so that a few values that change all the time fill one less
// often.
constexpr uint64_t kFirstBriefCapacity = 4 * kMiB;

}  // namespace

uint64_t Writer::wanted_capacity() const {
  const uint64_t quarter = std::bit_ceil(std::max<uint64_t>(live_bytes_ / 4, 1));
  const uint64_t first = files_.lasts() ? kFirstCapacity : kFirstBriefCapacity;
  return std::min(options_.segment_bytes, std::max(quarter, first));
}

StoreResult<std::shared_ptr<OpenSegment>> Writer::begin_segment(uint64_t capacity, uint64_t id,
                                                                uint64_t base_sequence, bool holds_copies) {
  const std::string name = segment_name(id);
  Result<os::Fd> fd = files_.create(directory_, name.c_str(), capacity);
  if (!fd)
    return failure(fd.error(), reader_.path() + "/" + name + ": " + std::to_string(capacity) + " bytes");
  auto segment = std::make_shared<OpenSegment>();
  segment->fd = std::move(*fd);
  segment->id = id;
  segment->capacity = capacity;
  segment->header.store = manifest_.store;
  segment->header.hash_seed = manifest_.hash_seed;
  segment->header.file_id = id;
  segment->header.base_sequence = base_sequence;
  segment->header.holds_copies = holds_copies ? 1 : 0;
  segment->salt = segment_salt(manifest_.store, id);
  seal_segment_header(segment->header);
  const os::Piece piece{&segment->header, sizeof(SegmentHeader)};
  Errno e = files_.write(segment->fd.get(), &piece, 1, 0);
  if (e.ok()) e = files_.write(segment->fd.get(), &piece, 1, capacity - sizeof(SegmentHeader));
  if (!e.ok()) {
    (void)files_.unlink(directory_, name.c_str());  // what matters is the write that failed
    return failure(e, reader_.path() + "/" + name);
  }
  ++names_made_;
  return segment;
}

void Writer::set_row(const OpenSegment& segment, uint64_t flags) {
  SegmentRow& row = view_->index.row(segment.row);
  store(row.capacity, segment.capacity);
  store(row.used, segment.used);
  store(row.live_bytes, 0);
  store(row.live_records, 0);
  store(row.min_sequence, UINT64_MAX);
  store(row.max_sequence, 0);
  store(row.flags, flags);
  store(row.file_id, segment.id);
}

// A new active segment; the one before waits to be sealed.
StoreStatus Writer::rotate(uint64_t bytes, uint64_t records, bool for_remove) {
  const uint64_t end = kFirstRecord + bytes;
  const uint64_t needed = round_up(end + footer_room(records, end), kPageBytes);
  if (needed > options_.segment_bytes)
    return {StoreCode::kInvalid, "a batch of " + std::to_string(bytes) + " bytes; a segment has " +
                                     std::to_string(options_.segment_bytes)};
  const int64_t row = view_->index.take_row();
  if (row < 0)
    return {StoreCode::kFull, reader_.path() + ": 131072 files, or no memory for another row of the index"};
  files_.step("rotate");
  // The reserve comes first: a disk that puts have filled must leave room for removes and the compactor.
  if (reserve_bytes_ == 0)
    if (Errno e = make_reserve(wanted_capacity()); !e.ok() && !for_remove)
      return failure(e, reader_.path() + "/RESERVE: " + std::to_string(wanted_capacity()) + " bytes");
  const uint64_t id = next_file_id_++;
  uint64_t capacity = std::max(wanted_capacity(), needed);
  StoreResult<std::shared_ptr<OpenSegment>> next = begin_segment(capacity, id, next_sequence_);
  // A disk that is nearly full may still have room for a little.
  while (!next && next.status().code() == StoreCode::kNoSpace && capacity / 2 >= needed) {
    capacity = round_up(capacity / 2, kPageBytes);
    next = begin_segment(capacity, id, next_sequence_);
  }
  if (!next && next.status().code() == StoreCode::kNoSpace && for_remove && reserve_bytes_ >= needed) {
    // Removing must be possible on a full disk, or nobody could ever make room.
    // A part of the reserve; the rest stays for the compactor, without whom there would be no room again.
    if (files_.unlink(directory_, kReserve).ok()) {
      const uint64_t taken = std::exchange(reserve_bytes_, 0);
      const uint64_t part = std::max(needed, round_down(taken / 4, kPageBytes));
      next = begin_segment(part, id, next_sequence_);
      (void)make_reserve(taken -
                         (next ? std::min(taken, part) : 0));  // there is none, then, until there is room
    }
  }
  if (!next) {
    wake_thread();  // there may be room that the compactor was in no hurry to make
    return next.status();
  }
  std::shared_ptr<OpenSegment> segment = *next;
  segment->row = static_cast<uint32_t>(row);
  set_row(*segment, 0);
  used_bytes_ += segment->used;
  if (active_ != nullptr) {
    dirty_.push_back(active_);
    full_.push_back(active_);
  }
  active_ = std::move(segment);
  wake_thread();
  return {};
}

StoreStatus Writer::make_segment_room(uint64_t bytes, uint64_t records, bool for_remove) {
  auto fits = [&] {
    const uint64_t used = active_->used + bytes;
    return used + footer_room(active_->records + records, used) <= active_->capacity &&
           next_sequence_ + records - active_->header.base_sequence < UINT32_MAX;
  };
  if (active_ != nullptr && fits()) return {};
  return rotate(bytes, records, for_remove);
}

StoreStatus Writer::append(const std::string& bytes, std::string_view value, uint64_t records) {
  const os::Piece pieces[2] = {{bytes.data(), bytes.size()}, {value.data(), value.size()}};
  files_.step("append");
  if (Errno e = files_.write(active_->fd.get(), pieces, value.empty() ? 1 : 2, active_->used); !e.ok()) {
    // What arrived of it must not be found by a recovery. If this fails too, the next write goes over it.
    static const RecordHeader nothing{};
    const os::Piece blank{&nothing, sizeof nothing};
    (void)files_.write(active_->fd.get(), &blank, 1, active_->used);
    return failure(e, reader_.path() + "/" + segment_name(active_->id));
  }
  const uint64_t end = round_up(active_->used + bytes.size() + value.size(), kGrid);
  used_bytes_ += end - active_->used;
  active_->used = end;
  active_->records += records;
  active_->is_dirty = true;
  store(view_->index.row(active_->row).used, end);
  return {};
}

void Writer::note_sequence(uint32_t number, uint64_t sequence) {
  SegmentRow& row = view_->index.row(number);
  if (row.min_sequence > sequence) store(row.min_sequence, sequence);
  if (row.max_sequence < sequence) store(row.max_sequence, sequence);
}

}  // namespace spillway::segstore

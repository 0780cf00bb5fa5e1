// writer.cc - puts, removes and batches: from bytes in the log to the slot that points to them.
#include "libpool/segstore/writer.h"

#include <cstring>
#include <unordered_map>

namespace spillway::segstore {
namespace {

constexpr uint64_t kFirstCapacity = 256 * kKiB;
constexpr uint64_t kSmall = 4096;  // values up to here are copied behind their head: one piece, one write

StoreStatus invalid(const std::string& what) { return {StoreCode::kInvalid, what}; }

StoreStatus check_arguments(std::string_view key, const PutOptions& options) {
  if (key.size() > kMaxKeyBytes)
    return invalid("a key of " + std::to_string(key.size()) + " bytes; at most 65536 are possible");
  if (!is_power_of_two(options.alignment) || options.alignment > kPageBytes)
    return invalid("an alignment of " + std::to_string(options.alignment) +
                   "; a power of two up to 4096 is possible");
  if (options.ttl.count() < 0) return invalid("a time to live below zero");
  return {};
}

}  // namespace

StoreStatus Writer::usable() const {
  if (failed_) {
    if (closed_) return {StoreCode::kClosed, reader_.path() + ": the store is closed"};
    return {StoreCode::kIo, reader_.path() + ": the disk refused a flush; close the store and open it again"};
  }
  return {};
}

StoreStatus Writer::no_room(Errno error) const {
  if (error == EFBIG)
    return {StoreCode::kFull,
            reader_.path() + ": the index is as large as max_index_bytes permits (" +
                std::to_string(options_.max_index_bytes) + ")",
            EFBIG};
  return failure(error, reader_.path() + ": no memory for the index in " + view_->index_path);
}

StoreStatus Writer::find(std::string_view key, uint32_t hash, Slot& slot,
                         std::optional<std::string_view> compare, bool& equal) {
  View& view = *view_;
  StoreStatus error;
  view.index.find(hash, view.index.state(), [&](uint64_t word, uint64_t& address) {
    Found found;
    const Look look = reader_.look(view, key, word, address, found, error);
    if (look != Look::kMatch) return false;
    slot.address = &address;
    slot.sequence = found.record.sequence;
    slot.bytes = found.record.bytes();
    slot.at = location_of(word);
    slot.expired = found.record.expires_ms != 0 && found.record.expires_ms <= reader_.now_ms(view);
    equal = compare && found.record.value_bytes == compare->size() &&
            (compare->empty() || memcmp(found.record.value(), compare->data(), compare->size()) == 0);
    found.mapping->unpin();
    return true;
  });
  // A damaged record under the same tag may be this key's; a new one takes precedence over it.
  return {};
}

StoreStatus Writer::holds(std::string_view key, uint32_t hash, const Condition& condition, Slot& slot,
                          bool& result) {
  bool equal = false;
  if (StoreStatus bad = find(key, hash, slot, condition.value ? *condition.value : std::nullopt, equal);
      !bad.ok())
    return bad;
  const bool there = slot.address != nullptr && !slot.expired;
  result = true;
  if (condition.value) result = *condition.value ? there && equal : !there;
  if (condition.sequence) result = result && (there ? slot.sequence : 0) == *condition.sequence;
  return {};
}

uint64_t Writer::wanted_capacity() const {
  const uint64_t quarter = std::bit_ceil(std::max<uint64_t>(live_bytes_ / 4, 1));
  return std::min(options_.segment_bytes, std::max(quarter, kFirstCapacity));
}

StoreResult<std::shared_ptr<OpenSegment>> Writer::begin_segment(uint64_t capacity, uint64_t id,
                                                                uint64_t base_sequence) {
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
StoreStatus Writer::rotate(uint64_t bytes, bool for_remove) {
  const uint64_t needed =
      round_up(kFirstRecord + bytes + footer_room(bytes / 16 + 1, bytes) + kPageBytes, kPageBytes);
  if (needed > options_.segment_bytes &&
      bytes + footer_room(1, bytes) + kFirstRecord > options_.segment_bytes)
    return invalid("a batch of " + std::to_string(bytes) + " bytes; a segment has " +
                   std::to_string(options_.segment_bytes));
  const int64_t row = view_->index.take_row();
  if (row < 0)
    return {StoreCode::kFull, reader_.path() + ": 131072 files, or no memory for another row of the index"};
  files_.step("rotate");
  // The reserve comes first: a disk that puts have filled must leave room for removes and the compactor.
  if (reserve_bytes_ == 0)
    if (Errno e = make_reserve(wanted_capacity()); !e.ok() && !for_remove)
      return failure(e, reader_.path() + "/RESERVE: " + std::to_string(wanted_capacity()) + " bytes");
  const uint64_t id = next_file_id_++;
  uint64_t capacity = std::max(wanted_capacity(), std::min(needed, options_.segment_bytes));
  StoreResult<std::shared_ptr<OpenSegment>> next = begin_segment(capacity, id, next_sequence_);
  // A disk that is nearly full may still have room for a little.
  while (!next && next.status().code() == StoreCode::kNoSpace && capacity / 2 >= needed) {
    capacity = round_up(capacity / 2, kPageBytes);
    next = begin_segment(capacity, id, next_sequence_);
  }
  if (!next && next.status().code() == StoreCode::kNoSpace && for_remove && reserve_bytes_ >= needed) {
    // Removing must be possible on a full disk, or nobody could ever make room.
    // A part of the reserve; the rest stays for the compactor, without whom there would be no room again.
    if (files_.unlink(directory_, "RESERVE").ok()) {
      const uint64_t taken = std::exchange(reserve_bytes_, 0);
      const uint64_t part = std::max(needed, round_down(taken / 4, kPageBytes));
      next = begin_segment(part, id, next_sequence_);
      (void)make_reserve(taken -
                         (next ? std::min(taken, part) : 0));  // there is none, then, until there is room
    }
  }
  if (!next) return next.status();
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
  return rotate(bytes, for_remove);
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

void Writer::unpoint(const Slot& slot) {
  SegmentRow& row = view_->index.row(slot.at.row);
  add(row.live_bytes, ~slot.bytes + 1);
  add(row.live_records, ~uint64_t{0});
  live_bytes_ -= slot.bytes;
}

void Writer::point(uint32_t hash, const Slot& slot, Location at, uint64_t bytes) {
  SegmentRow& row = view_->index.row(at.row);
  add(row.live_bytes, bytes);
  add(row.live_records, 1);
  live_bytes_ += bytes;
  if (slot.address != nullptr) {
    unpoint(slot);
    view_->index.replace(*slot.address, hash, at);
  } else {
    view_->index.insert(hash, at);
  }
}

StoreResult<Writer::Solo> Writer::write_solo(const NewRecord& record, std::string_view value) {
  Solo solo;
  solo.record = record;
  solo.record.solo = true;
  const uint64_t capacity = round_up(kFirstRecord + most_bytes(record) + sizeof(SegmentHeader), kPageBytes);
  StoreResult<std::shared_ptr<OpenSegment>> file = [&]() -> StoreResult<std::shared_ptr<OpenSegment>> {
    // Its header is written last, with the sequence number: until then it is no segment.
    auto segment = std::make_shared<OpenSegment>();
    {
      const std::lock_guard lock(append_mutex_);
      segment->id = next_file_id_++;
      unpublished_.insert(segment->id);
    }
    segment->capacity = capacity;
    Result<os::Fd> fd = files_.create(directory_, segment_name(segment->id).c_str(), capacity);
    if (!fd) {
      const std::lock_guard lock(append_mutex_);
      unpublished_.erase(segment->id);
      return failure(fd.error(), reader_.path() + "/" + segment_name(segment->id) + ": a value of " +
                                     std::to_string(value.size()) + " bytes");
    }
    segment->fd = std::move(*fd);
    segment->salt = segment_salt(manifest_.store, segment->id);
    return segment;
  }();
  if (!file) return file.status();
  solo.file = *file;
  const EncodedHead head = encode_head(solo.record, kFirstRecord, 0, solo.file->salt);
  solo.file->used = head.end;
  for (uint64_t at = 0; at < value.size();) {
    const uint64_t bytes = std::min<uint64_t>(value.size() - at, 8 * kMiB);
    const os::Piece piece{value.data() + at, bytes};
    if (Errno e = files_.write(solo.file->fd.get(), &piece, 1, head.value_offset + at); !e.ok()) {
      forget_solo(solo);
      return failure(e, reader_.path() + "/" + segment_name(solo.file->id));
    }
    at += bytes;
  }
  return solo;
}

void Writer::forget_solo(const Solo& solo) {
  (void)files_.unlink(directory_, segment_name(solo.file->id).c_str());  // without a header it is nothing
  const std::lock_guard lock(append_mutex_);
  unpublished_.erase(solo.file->id);
}

StoreStatus Writer::publish_solo(Solo& solo, uint64_t sequence, Location& at, uint64_t& bytes) {
  const int64_t row = view_->index.take_row();
  if (row < 0)
    return {StoreCode::kFull, reader_.path() + ": 131072 files, or no memory for another row of the index"};
  OpenSegment& file = *solo.file;
  file.header.store = manifest_.store;
  file.header.hash_seed = manifest_.hash_seed;
  file.header.file_id = file.id;
  file.header.base_sequence = sequence;
  file.header.is_solo = 1;
  file.header.value_bytes = solo.record.value_bytes;
  seal_segment_header(file.header);
  const EncodedHead head = encode_head(solo.record, kFirstRecord, 0, file.salt);
  files_.step("solo:header");
  const os::Piece copy{&file.header, sizeof file.header};
  const os::Piece front[2] = {copy, {head.bytes.data(), head.bytes.size()}};
  Errno e = files_.write(file.fd.get(), &copy, 1, file.capacity - sizeof file.header);
  if (e.ok()) e = files_.write(file.fd.get(), front, 2, 0);
  if (!e.ok()) return failure(e, reader_.path() + "/" + segment_name(file.id));
  file.row = static_cast<uint32_t>(row);
  file.records = 1;
  set_row(file, kSealed | kSolo);
  note_sequence(file.row, sequence);
  unpublished_.erase(file.id);
  dirty_.push_back(solo.file);
  ++names_made_;
  used_bytes_ += file.used;
  at = {file.row, kFirstRecord};
  bytes = head.end - kFirstRecord;
  return {};
}

StoreResult<uint64_t> Writer::put(std::string_view key, std::string_view value, const PutOptions& options,
                                  const Condition& condition) {
  if (StoreStatus bad = check_arguments(key, options); !bad.ok()) return bad;
  const Durability durability = options.durability.value_or(options_.durability);
  NewRecord record;
  record.key = key;
  record.value_bytes = value.size();
  record.log2_alignment = static_cast<unsigned>(std::countr_zero(options.alignment));
  record.value_crc = crc32c(0, value.data(), value.size());
  const uint64_t now = reader_.now_ms(*view_);
  if (options.ttl.count() > 0) record.expires_ms = now + static_cast<uint64_t>(options.ttl.count());
  const bool is_solo = key.size() + value.size() >= std::min(kSoloBytes, options_.segment_bytes / 4);
  if (StoreStatus bad = usable(); !bad.ok()) return bad;
  wait_for_compactor();
  std::optional<Solo> solo;
  if (is_solo) {
    StoreResult<Solo> written = write_solo(record, value);
    if (!written) return written.status();
    solo = std::move(*written);
  }
  const uint32_t hash = index_hash(hash_of(key, manifest_.hash_seed));
  uint64_t sequence = 0;
  StoreStatus result = [&]() -> StoreStatus {
    const std::lock_guard lock(append_mutex_);
    if (StoreStatus bad = usable(); !bad.ok()) return bad;
    Slot slot;
    bool holds = false;
    if (StoreStatus bad = this->holds(key, hash, condition, slot, holds); !bad.ok()) return bad;
    if (!holds) return {};
    if (slot.address == nullptr) {
      if (Errno e = view_->index.make_room(&hash, 1); !e.ok()) return no_room(e);
    }
    Location at;
    uint64_t bytes = 0;
    if (solo) {
      if (StoreStatus bad = publish_solo(*solo, next_sequence_, at, bytes); !bad.ok()) return bad;
      solo.reset();
    } else {
      if (StoreStatus bad = make_segment_room(most_bytes(record), 1, false); !bad.ok()) return bad;
      at = {active_->row, active_->used};
      EncodedHead head =
          encode_head(record, active_->used,
                      static_cast<uint32_t>(next_sequence_ - active_->header.base_sequence), active_->salt);
      bytes = head.end - active_->used;
      std::string_view rest = value;
      if (value.size() <= kSmall) {
        head.bytes.append(value);
        rest = {};
      }
      if (StoreStatus bad = append(head.bytes, rest, 1); !bad.ok()) return bad;
      note_sequence(at.row, next_sequence_);
    }
    IndexHeader& header = view_->index.header();
    sequence = next_sequence_;
    if (durability == Durability::kSync)
      if (StoreStatus bad = flush_files({}); !bad.ok()) return bad;
    ++next_sequence_;
    store(header.written_sequence, sequence);
    if (header.latest_clock_ms < now) store(header.latest_clock_ms, now);
    files_.step("point");
    point(hash, slot, at, bytes);
    store(header.applied_sequence, sequence);
    if (durability == Durability::kSync) set_durable(sequence);
    return {};
  }();
  if (solo) forget_solo(*solo);
  if (!result.ok()) return result;
  if (sequence != 0)
    if (StoreStatus bad = wait_durable(sequence, durability); !bad.ok()) return bad;
  return sequence;
}

// The compactor may have the reserve just now: then a remove waits for it, and tries again.
StoreResult<uint64_t> Writer::remove(std::string_view key, std::optional<Durability> wanted,
                                     const Condition& condition) {
  StoreResult<uint64_t> result = remove_once(key, wanted, condition);
  for (int tries = 0; tries < 3 && result.status().code() == StoreCode::kNoSpace; ++tries) {
    {
      const std::lock_guard one_at_a_time(maintenance_mutex_);
      if (StoreStatus bad = seal_waiting(); !bad.ok()) return bad;
      (void)compact_where_worth_it(true);  // what counts is whether there is room now
      (void)keep_reserve();
    }
    result = remove_once(key, wanted, condition);
  }
  return result;
}

StoreResult<uint64_t> Writer::remove_once(std::string_view key, std::optional<Durability> wanted,
                                          const Condition& condition) {
  if (StoreStatus bad = check_arguments(key, {}); !bad.ok()) return bad;
  const Durability durability = wanted.value_or(options_.durability);
  const uint32_t hash = index_hash(hash_of(key, manifest_.hash_seed));
  NewRecord record;
  record.type = RecordType::kRemove;
  record.key = key;
  uint64_t sequence = 0;
  {
    const std::lock_guard lock(append_mutex_);
    if (StoreStatus bad = usable(); !bad.ok()) return bad;
    Slot slot;
    bool holds = false;
    if (StoreStatus bad = this->holds(key, hash, condition, slot, holds); !bad.ok()) return bad;
    if (!holds || slot.address == nullptr) return uint64_t{0};
    if (StoreStatus bad = make_segment_room(most_bytes(record), 1, true); !bad.ok()) return bad;
    const uint32_t row = active_->row;
    const EncodedHead head =
        encode_head(record, active_->used,
                    static_cast<uint32_t>(next_sequence_ - active_->header.base_sequence), active_->salt);
    if (StoreStatus bad = append(head.bytes, {}, 1); !bad.ok()) return bad;
    IndexHeader& header = view_->index.header();
    if (durability == Durability::kSync)
      if (StoreStatus bad = flush_files({}); !bad.ok()) return bad;
    note_sequence(row, next_sequence_);
    sequence = next_sequence_++;
    store(header.written_sequence, sequence);
    files_.step("point");
    unpoint(slot);
    view_->index.erase(*slot.address);
    store(header.applied_sequence, sequence);
    if (durability == Durability::kSync) set_durable(sequence);
    if (slot.expired) sequence = 0;
  }
  if (sequence != 0)
    if (StoreStatus bad = wait_durable(sequence, durability); !bad.ok()) return bad;
  return sequence;
}

StoreResult<uint64_t> Writer::write(const Batch& batch, std::optional<Durability> wanted) {
  const Durability durability = wanted.value_or(options_.durability);
  const uint64_t now = reader_.now_ms(*view_);
  struct Step {
    const Batch::Write* write;
    NewRecord record;
    uint32_t hash;
    Slot slot;
    std::optional<Solo> solo;
    Location at;
    uint64_t bytes = 0;
  };
  std::vector<Step> steps;
  std::unordered_map<std::string_view, size_t> last;  // of several writes of a key only the last is made
  for (size_t i = 0; i < batch.writes().size(); ++i) {
    if (StoreStatus bad = check_arguments(batch.writes()[i].key, batch.writes()[i].options); !bad.ok())
      return bad;
    last[batch.writes()[i].key] = i;
  }
  if (StoreStatus bad = usable(); !bad.ok()) return bad;
  wait_for_compactor();
  StoreStatus result;
  for (size_t i = 0; i < batch.writes().size(); ++i) {
    const Batch::Write& write = batch.writes()[i];
    if (last[write.key] != i) continue;
    Step step{&write, {}, index_hash(hash_of(write.key, manifest_.hash_seed)), {}, std::nullopt, {}, 0};
    NewRecord& record = step.record;
    record.type = write.is_put ? RecordType::kPut : RecordType::kRemove;
    record.flags = kInBatch;
    record.key = write.key;
    if (write.is_put) {
      record.value_bytes = write.value.size();
      record.log2_alignment = static_cast<unsigned>(std::countr_zero(write.options.alignment));
      record.value_crc = crc32c(0, write.value.data(), write.value.size());
      if (write.options.ttl.count() > 0)
        record.expires_ms = now + static_cast<uint64_t>(write.options.ttl.count());
      if (write.key.size() + write.value.size() >= std::min(kSoloBytes, options_.segment_bytes / 4)) {
        StoreResult<Solo> solo = write_solo(record, write.value);
        if (!solo) {
          result = solo.status();
          break;
        }
        step.solo = std::move(*solo);
      }
    }
    steps.push_back(std::move(step));
  }
  uint64_t sequence = 0;
  if (result.ok())
    result = [&]() -> StoreStatus {
      const std::lock_guard lock(append_mutex_);
      if (StoreStatus bad = usable(); !bad.ok()) return bad;
      std::vector<uint32_t> new_hashes;
      uint64_t most = 2 * (sizeof(RecordHeader) + sizeof(BatchEnd) + kGrid);
      bool removes_only = true;
      for (Step& step : steps) {
        bool unused = false;
        if (StoreStatus bad = find(step.write->key, step.hash, step.slot, std::nullopt, unused); !bad.ok())
          return bad;
        if (step.write->is_put && step.slot.address == nullptr) new_hashes.push_back(step.hash);
        if (!step.solo) most += most_bytes(step.record);
        removes_only = removes_only && !step.write->is_put;
      }
      std::erase_if(steps, [](const Step& s) { return !s.write->is_put && s.slot.address == nullptr; });
      if (steps.empty()) return {};
      if (Errno e = view_->index.make_room(new_hashes.data(), new_hashes.size()); !e.ok()) return no_room(e);
      if (!new_hashes.empty())  // growing moves entries
        for (Step& step : steps) {
          bool unused = false;
          step.slot = {};
          if (StoreStatus bad = find(step.write->key, step.hash, step.slot, std::nullopt, unused); !bad.ok())
            return bad;
        }
      if (StoreStatus bad = make_segment_room(most, steps.size() + 1, removes_only); !bad.ok()) return bad;

      const uint64_t first = next_sequence_;
      uint64_t next = first;
      std::string bytes;
      for (Step& step : steps) {
        if (step.solo) {
          if (StoreStatus bad = publish_solo(*step.solo, next++, step.at, step.bytes); !bad.ok()) return bad;
          continue;
        }
        bytes.resize(round_up(bytes.size(), kGrid));
        step.at = {active_->row, active_->used + bytes.size()};
        const EncodedHead head =
            encode_head(step.record, step.at.offset,
                        static_cast<uint32_t>(next++ - active_->header.base_sequence), active_->salt);
        step.bytes = head.end - step.at.offset;
        bytes += head.bytes;
        bytes += step.write->value;
      }
      bytes.resize(round_up(bytes.size(), kGrid));
      const BatchEnd end{first, next - first};
      NewRecord mark;
      mark.type = RecordType::kBatchEnd;
      mark.value_bytes = sizeof end;
      mark.value_crc = crc32c(0, &end, sizeof end);
      bytes += encode_head(mark, active_->used + bytes.size(),
                           static_cast<uint32_t>(next - active_->header.base_sequence), active_->salt)
                   .bytes;
      bytes.append(reinterpret_cast<const char*>(&end), sizeof end);
      files_.step("batch");
      if (StoreStatus bad = append(bytes, {}, steps.size() + 1); !bad.ok()) return bad;
      if (durability == Durability::kSync)
        if (StoreStatus bad = flush_files({}); !bad.ok()) return bad;
      note_sequence(active_->row, first);
      note_sequence(active_->row, next);
      IndexHeader& header = view_->index.header();
      sequence = next;
      next_sequence_ = next + 1;
      store(header.written_sequence, sequence);
      for (Step& step : steps) {
        step.solo.reset();
        files_.step("point");
        if (step.write->is_put) {
          point(step.hash, step.slot, step.at, step.bytes);
        } else {
          unpoint(step.slot);
          view_->index.erase(*step.slot.address);
        }
      }
      store(header.applied_sequence, sequence);
      if (durability == Durability::kSync) set_durable(sequence);
      return {};
    }();
  for (Step& step : steps)
    if (step.solo) {
      if (step.solo->file->records != 0) {  // it had a row already
        SegmentRow& row = view_->index.row(step.solo->file->row);
        store(row.file_id, 0);
        used_bytes_ -= step.solo->file->used;
      }
      forget_solo(*step.solo);
    }
  if (!result.ok()) return result;
  if (sequence != 0)
    if (StoreStatus bad = wait_durable(sequence, durability); !bad.ok()) return bad;
  return sequence;
}

}  // namespace spillway::segstore

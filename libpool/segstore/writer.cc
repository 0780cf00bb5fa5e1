// writer.cc - puts and removes: from bytes in the log to the slot that points to them.
#include "libpool/segstore/writer.h"

#include <cstring>

namespace spillway::segstore {
namespace {

constexpr uint64_t kSmall = 4096;  // values up to here are copied behind their head: one piece, one write

StoreStatus invalid(const std::string& what) { return {StoreCode::kInvalid, what}; }

}  // namespace

StoreStatus check_arguments(std::string_view key, const PutOptions& options) {
  if (key.size() > kMaxKeyBytes)
    return invalid("a key of " + std::to_string(key.size()) + " bytes; at most 65536 are possible");
  if (!is_power_of_two(options.alignment) || options.alignment > kPageBytes)
    return invalid("an alignment of " + std::to_string(options.alignment) +
                   "; a power of two up to 4096 is possible");
  if (options.ttl.count() < 0) return invalid("a time to live below zero");
  return {};
}

StoreStatus Writer::usable() const {
  if (failed_) {
    if (closed_) return {StoreCode::kClosed, reader_.path() + ": the store is closed"};
    return flush_refused();
  }
  return {};
}

StoreStatus Writer::flush_refused() const {
  return {StoreCode::kIo, reader_.path() + ": the disk refused a flush; close the store and open it again"};
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
  StoreStatus unknown;
  view.index.find(hash, view.index.state(), [&](uint64_t word, uint64_t& address) {
    Found found;
    StoreStatus error;
    const Look look = reader_.look(view, key, word, address, found, error);
    if (look == Look::kCorrupt && error.code() != StoreCode::kCorrupt && error.os_error() != EINVAL)
      unknown = error;
    if (look != Look::kMatch) return false;
    unknown = {};
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
  // A damaged record under the same tag may be this key's; a new one takes precedence over it. One that could
  // not be looked at, for want of files or mappings, is no reason to call the key absent.
  return unknown;
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

void Writer::unpoint(const Slot& slot) {
  SegmentRow& row = view_->index.row(slot.at.row);
  add(row.live_bytes, ~slot.bytes + 1);
  add(row.live_records, ~uint64_t{0});
  live_bytes_ -= slot.bytes;
}

// Once in a tick of the coarse clock. append_mutex_ is held.
void Writer::note_clock(uint64_t now_ms) {
  for (uint64_t* const latest : {&view_->index.header().latest_clock_ms, &control_.block().latest_clock_ms})
    if (*latest < now_ms) store(*latest, now_ms);
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
    if (header.latest_clock_ms < now) note_clock(now);
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
      if (StoreStatus bad = usable(); !bad.ok()) return bad;
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

}  // namespace spillway::segstore

// recovery_build.cc - the index from the records that count: the highest sequence number of a key wins.
#include <algorithm>

#include "base/os/limits.h"
#include "libpool/segstore/recovery_steps.h"

namespace spillway::segstore {

bool Recovery::same_key(const FoundSegment& a, uint64_t offset, uint32_t row, uint64_t other,
                        Record& other_record) {
  Record record;
  if (row >= by_row_.size() || by_row_[row] == nullptr) return false;
  return read_record(a.bytes, offset, record) && read_record(by_row_[row]->bytes, other, other_record) &&
         record.key() == other_record.key();
}

StoreStatus Recovery::no_room() const {
  std::string what = in_.path + ": the index would be larger than max_index_bytes";
  if (os::file_size_limit() != UINT64_MAX) what += ", or than this process may make a file (ulimit -f)";
  return {StoreCode::kFull, what, EFBIG};
}

StoreStatus Recovery::insert(FoundSegment& segment, const FoundRecord* items, size_t count) {
  Index& index = out_->index;
  // Every bucket is a miss, and so is every record that a newer one may replace: all of them at once.
  for (size_t i = 0; i < count; ++i) index.prefetch(items[i].hash);
  for (size_t i = 0; i < count; ++i)
    index.find(items[i].hash, index.state(), [&](uint64_t word, uint64_t&) {
      const Location there = location_of(word);
      if (there.row < by_row_.size() && by_row_[there.row] != nullptr)
        __builtin_prefetch(by_row_[there.row]->bytes.base + there.offset);
      return false;
    });
  for (size_t i = 0; i < count; ++i) {
    const FoundRecord& item = items[i];
    const Location at{static_cast<uint32_t>(segment.row), item.offset};
    uint64_t* slot = nullptr;
    Record other;
    uint32_t other_row = 0;
    index.find(item.hash, index.state(), [&](uint64_t word, uint64_t& address) {
      const Location there = location_of(word);
      if (!same_key(segment, item.offset, there.row, there.offset, other)) return false;
      slot = &address;
      other_row = there.row;
      return true;
    });
    SegmentRow& row = index.row(at.row);
    if (slot != nullptr) {
      uint64_t sequence = item.sequence;
      if (sequence == 0) {  // from a table, which has none
        Record own;
        if (read_record(segment.bytes, item.offset, own)) sequence = own.sequence;
      }
      if (other.sequence >= sequence) continue;
      if (other.header.type() == RecordType::kPut) {
        index.row(other_row).live_bytes -= other.bytes();
        --index.row(other_row).live_records;
      }
      index.replace(*slot, item.hash, at);
    } else {
      if (Errno e = index.make_room(&item.hash, 1); !e.ok()) {
        if (e == EFBIG) return no_room();
        return failure(e, in_.path + ": memory for the index");
      }
      index.insert(item.hash, at);
    }
    if (item.type == RecordType::kPut) {
      row.live_bytes += item.bytes;
      ++row.live_records;
    } else {
      removals_.push_back({item.hash, at});
    }
  }
  return {};
}

StoreStatus Recovery::build() {
  uint64_t keys = 0;
  for (const FoundSegment& segment : segments_)
    keys += segment.is_sealed ? segment.footer.records : segment.items.size();
  Result<Index> index = in_.make_index(keys);
  if (!index) {
    if (index.error() == EFBIG) return no_room();
    return failure(index.error(), in_.path + ": memory for the index");
  }
  out_->index = std::move(*index);
  IndexHeader& header = out_->index.header();
  header.magic = kIndexMagic;
  header.store = out_->manifest.store;
  header.hash_seed = out_->manifest.hash_seed;

  for (FoundSegment& segment : segments_) {
    const int64_t row = out_->index.take_row();
    if (row < 0)
      return {StoreCode::kFull, in_.path + ": more segments than an index has rows, or no memory for it"};
    segment.row = static_cast<uint64_t>(row);
    by_row_.resize(std::max<size_t>(by_row_.size(), segment.row + 1));
    by_row_[segment.row] = &segment;
    SegmentRow& entry = out_->index.row(static_cast<uint32_t>(row));
    entry.capacity = segment.bytes.bytes;
    entry.used = segment.is_sealed ? segment.footer.used_bytes : segment.used;
    if (segment.is_sealed || segment.is_solo()) entry.flags |= kSealed;
    if (segment.is_solo()) entry.flags |= kSolo;
    if (segment.is_damaged && !segment.is_sealed) entry.flags |= kDamaged;
    if (segment.is_sealed && segment.footer.is_compacted != 0) entry.flags |= kCompacted;
    entry.min_sequence = UINT64_MAX;
    for (const FoundRecord& item : segment.items) {
      entry.min_sequence = std::min(entry.min_sequence, item.sequence);
      entry.max_sequence = std::max(entry.max_sequence, item.sequence);
    }
    if (segment.is_sealed) {
      entry.min_sequence = segment.footer.min_sequence;
      entry.max_sequence = segment.footer.max_sequence;
    }
    if (segment.stays_open) {
      out_->open_row = segment.row + 1;
      out_->open_used = segment.used;
      out_->open_records = segment.items.size();
    }
    entry.file_id = segment.id;
  }

  constexpr size_t kAtOnce = 32;  // so many cache lines on their way at a time
  std::vector<FoundRecord> batch;
  for (FoundSegment& segment : segments_) {
    StoreStatus bad;
    batch.clear();
    auto add = [&](const FoundRecord& item) {
      batch.push_back(item);
      if (batch.size() < kAtOnce || !bad.ok()) return;
      bad = insert(segment, batch.data(), batch.size());
      batch.clear();
    };
    if (segment.is_sealed && segment.footer.table_entries != 0) {
      const TableEntry* table = table_of(segment.bytes, segment.footer);
      for (uint64_t i = 0; i < segment.footer.table_entries; ++i) {
        FoundRecord item;
        item.hash = table[i].hash;
        item.offset = static_cast<uint64_t>(table[i].place & ~kTableRemove) * kGrid;
        item.bytes = table[i].bytes;
        item.type = (table[i].place & kTableRemove) != 0 ? RecordType::kRemove : RecordType::kPut;
        add(item);
      }
    } else if (segment.is_sealed) {
      (void)os::prefetch(segment.map.range.sub(0, round_up(segment.footer.used_bytes, kPageBytes)));
      scan_records(
          segment.bytes, segment.footer.used_bytes, -1,
          [&](const Record& record) {
            if (record.header.type() == RecordType::kBatchEnd) return;
            FoundRecord item;
            item.hash = index_hash(hash_of(record.key(), header.hash_seed));
            item.offset = record.offset;
            item.bytes = record.bytes();
            item.sequence = record.sequence;
            item.type = record.header.type();
            add(item);
          },
          [](uint64_t, uint64_t) {});
    } else {
      for (const FoundRecord& item : segment.items)
        if (item.type != RecordType::kBatchEnd) add(item);
    }
    if (bad.ok()) bad = insert(segment, batch.data(), batch.size());
    if (!bad.ok()) return bad;
  }
  // Removes have done their work: what they stood before is not there, and neither are they.
  for (const Removal& removal : removals_)
    out_->index.find(removal.hash, out_->index.state(), [&](uint64_t word, uint64_t& slot) {
      if (word != slot_word(removal.hash, removal.at)) return false;
      out_->index.erase(slot);
      return true;
    });
  out_->unreadable = unreadable_;
  header.written_sequence = header.applied_sequence = out_->last_sequence;
  header.durable_sequence = in_.files != nullptr ? out_->last_sequence : known_durable_;
  return {};
}

}  // namespace spillway::segstore

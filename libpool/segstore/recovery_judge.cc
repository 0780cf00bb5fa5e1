// recovery_judge.cc - which records of segments that were never sealed count.
#include <algorithm>
#include <cstring>

#include "libpool/segstore/recovery_steps.h"

namespace spillway::segstore {

bool Recovery::solo_value_is_intact(int file, const Record& record) {
  std::vector<char> buffer(kMiB);
  uint32_t crc = 0;
  for (uint64_t at = 0; at < record.value_bytes;) {
    const uint64_t bytes = std::min<uint64_t>(buffer.size(), record.value_bytes - at);
    Result<uint64_t> got = os::read_some(file, buffer.data(), bytes, record.at.value + at);
    if (!got || *got != bytes) return false;
    crc = crc32c(crc, buffer.data(), bytes);
    at += bytes;
  }
  return crc == record.header.value_crc;
}

void Recovery::look_at_solo(FoundSegment& segment) {
  Record record;
  if (!read_record(segment.bytes, kFirstRecord, record) ||
      record.at.key + record.header.key_bytes() > segment.head.size() ||
      !header_is_intact(segment.bytes, record)) {
    // With only the copy of its header on the device when the power went, it is one that does not count.
    segment.is_damaged = !machine_was_restarted() || segment.bytes.header.base_sequence <= known_durable_;
    return;
  }
  const uint64_t full = hash_of(record.key(), out_->manifest.hash_seed);
  FoundRecord item{index_hash(full),
                   full,
                   kFirstRecord,
                   record.bytes(),
                   record.sequence,
                   record.expires_ms,
                   RecordType::kPut,
                   (record.header.flags() & kInBatch) != 0,
                   true,
                   0};
  if (machine_was_restarted() && record.sequence > known_durable_) {
    item.intact = open_again(segment).ok() && solo_value_is_intact(segment.fd.get(), record);
    segment.fd.reset();
  }
  segment.used = record.at.end;
  segment.items.push_back(item);
}

void Recovery::scan(FoundSegment& segment) {
  std::vector<FoundRecord> pending;  // of a batch whose end has not come yet
  auto drop_pending = [&] {
    for (const FoundRecord& item : pending) segment.blot.push_back(item.offset);
    pending.clear();
  };
  segment.used = scan_records(
      segment.bytes, records_end(segment.bytes.bytes), segment.fd.get(),
      [&](const Record& record) {
        if (record.header.type() == RecordType::kBatchEnd) {
          BatchEnd batch;
          if (record.value_bytes != sizeof batch || !record.value_is_intact()) return;
          memcpy(&batch, record.value(), sizeof batch);
          for (FoundRecord& item : pending)
            if (item.sequence - batch.first_sequence < batch.count) {
              item.batch_first = batch.first_sequence;
              segment.items.push_back(item);
            } else {
              segment.blot.push_back(item.offset);
            }
          pending.clear();
          FoundRecord item;
          item.offset = record.offset;
          item.sequence = record.sequence;
          item.type = RecordType::kBatchEnd;
          item.batch_first = batch.first_sequence;
          item.bytes = record.bytes();
          segment.items.push_back(item);
          batches_.emplace_back(batch.first_sequence, batch.count);
          return;
        }
        const uint64_t full = hash_of(record.key(), out_->manifest.hash_seed);
        const FoundRecord item{index_hash(full),
                               full,
                               record.offset,
                               record.bytes(),
                               record.sequence,
                               record.expires_ms,
                               record.header.type(),
                               (record.header.flags() & kInBatch) != 0,
                               record.value_is_intact(),
                               0};
        if (item.in_batch) {
          pending.push_back(item);
        } else {
          drop_pending();
          segment.items.push_back(item);
        }
      },
      [&](uint64_t from, uint64_t) { segment.first_gap = std::min(segment.first_gap, from); });
  drop_pending();
  // The writer died in the middle of the last one; if that was acknowledged as durable, it is damage instead.
  if (!segment.items.empty() && !segment.items.back().intact && !segment.items.back().in_batch &&
      segment.items.back().sequence > known_durable_) {
    segment.blot.push_back(segment.items.back().offset);
    segment.items.pop_back();
  }
  const ControlBlock* control = in_.control;
  segment.stays_open = control != nullptr && control->is_clean != 0 &&
                       control->active_file_id == segment.id && control->active_used == segment.used &&
                       segment.blot.empty() && !machine_was_restarted() &&
                       (segment.first_gap == UINT64_MAX || segment.first_gap < segment.used);
}

// A large value of a batch counts with the batch's end record, or once a manifest has named it.
void Recovery::accept_solo_batches() {
  const bool any = std::any_of(segments_.begin(), segments_.end(), [](const FoundSegment& s) {
    return s.is_solo() && s.is_new && !s.items.empty() && s.items[0].in_batch;
  });
  for (const FoundSegment& segment : segments_) {
    // Also in segments that a manifest names: it names the active one, too, to which more was added since.
    if (!any || !segment.is_sealed || segment.footer.is_compacted != 0) continue;
    scan_records(
        segment.bytes, segment.footer.used_bytes, -1,
        [&](const Record& record) {
          BatchEnd batch;
          if (record.header.type() != RecordType::kBatchEnd || record.value_bytes != sizeof batch) return;
          memcpy(&batch, record.value(), sizeof batch);
          batches_.emplace_back(batch.first_sequence, batch.count);
        },
        [](uint64_t, uint64_t) {});
  }
  std::sort(batches_.begin(), batches_.end());
  for (FoundSegment& segment : segments_) {
    if (!segment.is_solo() || segment.items.empty() || !segment.items[0].in_batch || !segment.is_new)
      continue;
    const uint64_t sequence = segment.items[0].sequence;
    auto after = std::upper_bound(batches_.begin(), batches_.end(), std::pair(sequence, UINT64_MAX));
    const bool ended =
        after != batches_.begin() && sequence - std::prev(after)->first < std::prev(after)->second;
    if (ended)
      segment.items[0].batch_first = std::prev(after)->first;
    else
      segment.items.clear();
  }
}

void Recovery::cut_at_first_gap() {
  uint64_t last = known_durable_, cut = UINT64_MAX;
  if (machine_was_restarted()) {
    std::vector<uint64_t> there;
    for (const FoundSegment& segment : segments_)
      if (!segment.is_sealed)
        for (const FoundRecord& item : segment.items)
          if (item.sequence > known_durable_ && item.intact) there.push_back(item.sequence);
    std::sort(there.begin(), there.end());
    cut = known_durable_ + 1;
    for (const uint64_t sequence : there)
      if (sequence == cut) ++cut;
    // A batch that the cut goes through does not count at all.
    for (const auto& [first, count] : batches_)
      if (first < cut && cut <= first + count) cut = first;
  }
  for (FoundSegment& segment : segments_) {
    if (!segment.is_sealed)
      std::erase_if(segment.items, [&](const FoundRecord& item) {
        if (item.sequence < cut || item.sequence <= known_durable_) return false;
        segment.blot.push_back(item.offset);
        return true;
      });
    for (const FoundRecord& item : segment.items) last = std::max(last, item.sequence);
  }
  // Known to be on the device, but not found: damage. Numbers are not given twice.
  out_->last_sequence = last;
}

// The writer begins a record when the one before is written, so what a kill left of the last one lies behind
// all that count, and so does, after a power cut, whatever it left of those that were not on the device. The
// numbers tell that from damage: what is lost there would have had the next ones, and had it been
// acknowledged, one of them would be known to be on the device or have others after it, though none that the
// next segment begins with. Large values have theirs in other files; where a compaction has removed one of
// those since, it is called damage.
void Recovery::tell_torn_from_damaged() {
  struct End {
    FoundSegment* segment;
    uint64_t offset, last;  // behind the last record that counts; its number
  };
  std::vector<End> ends;
  uint64_t lowest = UINT64_MAX;
  for (FoundSegment& segment : segments_) {
    if (segment.is_sealed || segment.is_solo()) continue;
    End end{&segment, kFirstRecord, segment.bytes.header.base_sequence - 1};
    for (const FoundRecord& item : segment.items) {
      end.offset = std::max(end.offset, item.offset + item.bytes);
      end.last = std::max(end.last, item.sequence);
    }
    if (segment.first_gap == UINT64_MAX && segment.used <= end.offset) continue;
    lowest = std::min(lowest, end.last);
    ends.push_back(end);
  }
  if (ends.empty()) return;
  std::vector<uint64_t> numbers;
  for (const FoundSegment& segment : segments_)
    for (const FoundRecord& item : segment.items)
      if (item.sequence > lowest) numbers.push_back(item.sequence);
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  const bool is_durable_known = in_.control != nullptr && in_.control->boot_id[0] != '\0';
  bool skips_a_number = false;
  for (const End& end : ends) {
    FoundSegment& segment = *end.segment;
    uint64_t most = out_->last_sequence;  // that a record of this segment could have
    for (const FoundSegment& other : segments_)
      if (!other.is_solo() && other.bytes.header.base_sequence > end.last)
        most = std::min(most, other.bytes.header.base_sequence - 1);
    const auto found = std::upper_bound(numbers.begin(), numbers.end(), most) -
                       std::upper_bound(numbers.begin(), numbers.end(), end.last);
    const bool is_one_missing = end.last + static_cast<uint64_t>(found) < most;
    // Copies keep old numbers, so those tell nothing of them.
    const bool can_tell =
        segment.first_gap == UINT64_MAX || (is_durable_known && segment.bytes.header.holds_copies == 0);
    segment.is_damaged = segment.first_gap < end.offset || is_one_missing || !can_tell;
    if (!segment.is_damaged) segment.used = end.offset;
    skips_a_number =
        skips_a_number || (segment.is_damaged && segment.first_gap >= end.offset && !is_one_missing);
  }
  // So that one is missing from now on: were it given to the next record, this would look torn next time.
  if (skips_a_number) ++out_->last_sequence;
}

}  // namespace spillway::segstore

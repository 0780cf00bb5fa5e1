// writer_batch.cc - several writes that become visible, and survive, together or not at all.
#include <unordered_map>

#include "libpool/segstore/writer.h"

namespace spillway::segstore {

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
        const std::lock_guard lock(append_mutex_);
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

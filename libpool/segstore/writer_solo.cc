// writer_solo.cc - values in files of their own: written aside, published by their header.
#include "libpool/segstore/writer.h"

namespace spillway::segstore {
namespace {

constexpr size_t kMostUnflushed =
    256;  // files that stay open until they are: a process may have 1024 as a rule

}  // namespace

StoreResult<Writer::Solo> Writer::write_solo(const NewRecord& record, std::string_view value) {
  if (bool are_many =
          [&] {
            const std::lock_guard lock(append_mutex_);
            return dirty_.size() >= kMostUnflushed;
          }();
      are_many)
    if (StoreStatus bad = flush_up_to(load(view_->index.header().applied_sequence)); !bad.ok()) return bad;
  Solo solo;
  solo.record = record;
  solo.record.solo = true;
  const uint64_t capacity = round_up(kFirstRecord + most_bytes(record) + sizeof(SegmentHeader), kPageBytes);
  StoreResult<std::shared_ptr<OpenSegment>> file = [&]() -> StoreResult<std::shared_ptr<OpenSegment>> {
    // Its header is written last, with the sequence number: until then it is no segment.
    auto segment = std::make_shared<OpenSegment>();
    {
      const std::lock_guard lock(append_mutex_);
      if (StoreStatus bad = usable(); !bad.ok()) return bad;
      segment->id = next_file_id_++;
      unpublished_.insert(segment->id);
    }
    segment->capacity = capacity;
    Result<os::Fd> fd = files_.create(directory_, segment_name(segment->id).c_str(), capacity);
    if (!fd) {
      const std::lock_guard lock(append_mutex_);
      end_unpublished(segment->id);
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
    if (StoreStatus bad = usable(); !bad.ok()) {
      forget_solo(solo);
      return bad;
    }
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
  end_unpublished(solo.file->id);
}

void Writer::end_unpublished(uint64_t id) {
  unpublished_.erase(id);
  if (unpublished_.empty()) all_published_.notify_all();
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
  // The copy second: with it alone, after a kill between the two, the file would be taken for a damaged one.
  Errno e = files_.write(file.fd.get(), front, 2, 0);
  if (e.ok()) e = files_.write(file.fd.get(), &copy, 1, file.capacity - sizeof file.header);
  if (!e.ok()) return failure(e, reader_.path() + "/" + segment_name(file.id));
  file.row = static_cast<uint32_t>(row);
  file.records = 1;
  set_row(file, kSealed | kSolo);
  note_sequence(file.row, sequence);
  end_unpublished(file.id);
  dirty_.push_back(solo.file);
  ++names_made_;
  used_bytes_ += file.used;
  at = {file.row, kFirstRecord};
  bytes = head.end - kFirstRecord;
  return {};
}

}  // namespace spillway::segstore

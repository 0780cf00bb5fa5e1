#include "libpool/segstore/compaction.h"

#include <algorithm>
#include <cstring>

namespace spillway::segstore {

StoreStatus Compaction::run() {
  if (StoreStatus bad = map_victims(); !bad.ok()) return bad;
  choose();
  if (!items_.empty())
    if (StoreStatus bad = copy(); !bad.ok()) return bad;
  const uint64_t now = load(w_.view_->index.header().applied_sequence);
  if (StoreStatus bad = w_.flush_up_to(now); !bad.ok()) return bad;
  repoint();
  return drop();
}

StoreStatus Compaction::map_victims() {
  for (const uint32_t row : victims_) {
    Errno error;
    Mapping* mapping = w_.reader_.pin_row(*w_.view_, row, error);
    if (mapping == nullptr)
      return failure(error.ok() ? Errno(ENOENT) : error,
                     w_.reader_.path() + "/" + segment_name(load(w_.view_->index.row(row).file_id)));
    const SegmentRow& entry = w_.view_->index.row(row);
    mapped_.push_back({row, mapping, load(entry.used), (load(entry.flags) & kSolo) != 0});
  }
  return {};
}

bool Compaction::is_pointed_to(uint32_t hash, Location at) const {
  const Index& index = w_.view_->index;
  const uint64_t wanted = slot_word(hash, at);
  for (;;) {
    const uint64_t before = index.state();
    if (index.find(hash, before, [&](uint64_t word, const uint64_t&) { return word == wanted; })) return true;
    if (index.state() == before) return false;
  }
}

// Whether a segment that stays may have a put of this key from before `sequence`.
bool Compaction::others_may_hold(uint64_t hash, uint64_t sequence) {
  const Index& index = w_.view_->index;
  const uint64_t rows = load(index.header().rows_used);
  for (uint32_t row = 0; row < rows; ++row) {
    const SegmentRow& entry = index.row(row);
    if (load(entry.file_id) == 0 || load(entry.min_sequence) >= sequence) continue;
    if (std::find(victims_.begin(), victims_.end(), row) != victims_.end()) continue;
    Errno error;
    Mapping* mapping = w_.reader_.pin_row(*w_.view_, row, error);
    if (mapping == nullptr) return true;  // not known, so it may
    bool may = true;
    if ((load(entry.flags) & kSolo) != 0) {
      Record record;
      may = !read_record(mapping->bytes(), kFirstRecord, record) ||
            hash_of(record.key(), w_.manifest_.hash_seed) == hash;
    } else if (Footer footer; read_footer(mapping->bytes(), footer)) {
      may = segstore::may_hold(mapping->bytes(), footer, hash);
    }
    mapping->unpin();
    if (may) return true;
  }
  return false;
}

// What of the victims must live on.
void Compaction::choose() {
  const uint64_t now = w_.reader_.now_ms(*w_.view_);
  for (const Victim& victim : mapped_) {
    auto visit = [&](const Record& record) {
      if (record.header.type() == RecordType::kBatchEnd) return;
      const uint64_t full = hash_of(record.key(), w_.manifest_.hash_seed);
      const Location at{victim.row, record.offset};
      bool keep = false, to_remove = false;
      if (record.header.type() == RecordType::kRemove) {
        keep = others_may_hold(full, record.sequence);
      } else if (is_pointed_to(index_hash(full), at)) {
        keep = true;
        if (record.expires_ms != 0 && record.expires_ms <= now) {
          expired_.emplace_back(index_hash(full), at);
          keep = to_remove = others_may_hold(full, record.sequence);
        }
      }
      if (!keep) return;
      items_.push_back({victim.mapping, record.offset, full, victim.row, to_remove});
      least_sequence_ = std::min(least_sequence_, record.sequence);
    };
    if (victim.is_solo) {
      Record record;
      if (read_record(victim.mapping->bytes(), kFirstRecord, record)) visit(record);
    } else {
      scan_records(victim.mapping->bytes(), victim.used, -1, visit, [](uint64_t, uint64_t) {});
    }
  }
}

StoreStatus Compaction::create(uint64_t capacity, uint64_t base_sequence) {
  w_.files_.step("compact:create");
  const uint64_t id = w_.next_file_id_++;
  StoreResult<std::shared_ptr<OpenSegment>> made = w_.begin_segment(capacity, id, base_sequence, true);
  if (!made && made.status().code() == StoreCode::kNoSpace) {
    // The reserve is there for this: it becomes the copies' room.
    const std::lock_guard lock(w_.append_mutex_);
    if (w_.reserve_bytes_ < capacity) return made.status();
    if (Errno e = w_.files_.unlink(w_.directory_, kReserve); !e.ok())
      return failure(e, w_.reader_.path() + "/RESERVE");
    const uint64_t taken = std::exchange(w_.reserve_bytes_, 0);
    made = w_.begin_segment(capacity, id, base_sequence, true);
    (void)w_.make_reserve(taken - (made ? capacity : 0));  // there is none, then, until there is room
  }
  if (!made) return made.status();
  output_ = *made;
  return {};
}

StoreStatus Compaction::copy() {
  // 1. What the new segment will be, to the byte.
  uint64_t used = kFirstRecord;
  for (Item& item : items_) {
    Record record;
    CHECK(read_record(item.mapping->bytes(), item.offset, record), "a record of a sealed segment is gone");
    RecordHeader header = record.header;
    if (item.to_remove) header.pack(header.key_bytes(), RecordType::kRemove, 0, 0);
    const Layout at = layout_of(used, header, item.to_remove ? 0 : record.value_bytes);
    item.new_offset = used;
    item.new_bytes = at.end - used;
    used = at.end;
  }
  const uint64_t capacity = round_up(used + footer_room(items_.size(), used), kPageBytes);
  if (StoreStatus bad = create(capacity, least_sequence_); !bad.ok()) return bad;
  const std::string name = w_.reader_.path() + "/" + segment_name(output_->id);

  // 2. The records, as they are but for their headers.
  FooterBuilder builder;
  std::string buffer;
  uint64_t buffer_at = kFirstRecord;
  auto write_out = [&](uint64_t end) -> StoreStatus {
    if (end == buffer_at) return {};
    w_.files_.step("compact:write");
    const os::Piece piece{buffer.data(), end - buffer_at};
    if (Errno e = w_.files_.write(output_->fd.get(), &piece, 1, buffer_at); !e.ok()) return failure(e, name);
    buffer.erase(0, end - buffer_at);
    buffer_at = end;
    return {};
  };
  StoreStatus result;
  for (const Item& item : items_) {
    Record record;
    (void)read_record(item.mapping->bytes(), item.offset, record);
    NewRecord copy;
    copy.key = record.key();
    if (item.to_remove) {
      copy.type = RecordType::kRemove;
    } else {
      copy.type = record.header.type();
      copy.log2_alignment = static_cast<unsigned>(std::countr_zero(record.header.alignment()));
      copy.value_bytes = record.value_bytes;
      copy.value_crc = record.header.value_crc;
      copy.expires_ms = record.expires_ms;
    }
    const auto delta = static_cast<uint32_t>(record.sequence - least_sequence_);
    const EncodedHead head = encode_head(copy, item.new_offset, delta, output_->salt);
    buffer += head.bytes;
    if (!item.to_remove) buffer.append(record.value(), record.value_bytes);
    buffer.resize(item.new_offset + item.new_bytes - buffer_at);
    builder.add(item.full_hash, item.new_offset, item.new_bytes, record.sequence, copy.type, copy.expires_ms);
    // Whole extents: the page cache takes a huge page for each, and readers map it as one.
    const uint64_t whole = round_down(buffer_at + buffer.size(), kExtentBytes);
    if (whole > buffer_at)
      if (result = write_out(whole); !result.ok()) break;
  }
  if (result.ok()) result = write_out(buffer_at + buffer.size());

  // 3. All of it on the device, before the footer says so.
  if (result.ok()) {
    output_->used = used;
    const std::string body = builder.body(used);
    const Footer footer = builder.footer(used, body, output_->salt, output_->id, true);
    const os::Piece body_piece{body.data(), body.size()}, footer_piece{&footer, sizeof footer};
    w_.files_.step("compact:footer");
    Errno e = w_.files_.write(output_->fd.get(), &body_piece, 1, used);
    if (e.ok()) e = w_.files_.flush(output_->fd.get());
    if (e.ok()) e = w_.files_.write(output_->fd.get(), &footer_piece, 1, footer_offset(capacity));
    if (e.ok()) e = w_.files_.flush(output_->fd.get());
    if (e.ok()) e = w_.files_.flush_directory(w_.directory_);
    if (!e.ok()) result = failure(e, name);
    if (result.ok()) {
      const std::lock_guard lock(w_.append_mutex_);
      const int64_t row = w_.view_->index.take_row();
      if (row < 0) {
        result = {StoreCode::kFull, w_.reader_.path() + ": no row in the index for another segment"};
      } else {
        output_->row = static_cast<uint32_t>(row);
        w_.set_row(*output_, kSealed | kCompacted);
        w_.note_sequence(output_->row, footer.min_sequence);
        w_.note_sequence(output_->row, footer.max_sequence);
        w_.used_bytes_ += used;
      }
    }
  }
  if (!result.ok()) (void)w_.files_.unlink(w_.directory_, segment_name(output_->id).c_str());
  return result;
}

// The lock is held for one record at a time: a put waits for no more.
void Compaction::repoint() {
  w_.files_.step("compact:repoint");
  Index& index = w_.view_->index;
  auto move = [&](uint32_t hash, Location from, uint64_t from_bytes, const Item* to) {
    const std::lock_guard lock(w_.append_mutex_);
    const uint64_t wanted = slot_word(hash, from);
    index.find(hash, index.state(), [&](uint64_t word, uint64_t& slot) {
      if (word != wanted) return false;
      Writer::Slot old;
      old.address = &slot;
      old.at = from;
      old.bytes = from_bytes;
      if (to != nullptr) {
        w_.point(hash, old, {output_->row, to->new_offset}, to->new_bytes);
      } else {
        w_.unpoint(old);
        index.erase(slot);
      }
      return true;
    });
  };
  for (const Item& item : items_) {
    Record record;
    (void)read_record(item.mapping->bytes(), item.offset, record);
    if (item.to_remove || record.header.type() != RecordType::kPut) continue;
    move(index_hash(item.full_hash), {item.row, item.offset}, record.bytes(), &item);
  }
  for (const auto& [hash, at] : expired_)
    for (const Victim& victim : mapped_) {
      Record record;
      if (victim.row == at.row && read_record(victim.mapping->bytes(), at.offset, record))
        move(hash, at, record.bytes(), nullptr);
    }
}

StoreStatus Compaction::drop() {
  Manifest next;
  Index& index = w_.view_->index;
  {
    const std::lock_guard lock(w_.append_mutex_);
    next = w_.manifest_;
    next.segments.clear();
    next.next_file_id = w_.next_file_id_;
    for (uint32_t row = 0; row < index.header().rows_used; ++row)
      if (const uint64_t id = index.row(row).file_id; id != 0) next.segments.insert(id);
    // A large value that is being written has its number already, but is in no row: it must count, too.
    next.pending = w_.unpublished_;
    next.segments.insert(w_.kept_.begin(), w_.kept_.end());
    for (const uint32_t row : victims_) next.segments.erase(index.row(row).file_id);
  }
  w_.files_.step("compact:manifest");
  if (Errno e = write_manifest(w_.files_, w_.directory_, next); !e.ok())
    return failure(e, w_.reader_.path() + "/MANIFEST");
  // Those with the oldest records go first: a remove never goes before the put it stands for.
  std::sort(victims_.begin(), victims_.end(),
            [&](uint32_t a, uint32_t b) { return index.row(a).min_sequence < index.row(b).min_sequence; });
  StoreStatus result;
  for (const uint32_t number : victims_) {
    SegmentRow& row = index.row(number);
    const std::string name = segment_name(row.file_id);
    {
      const std::lock_guard lock(w_.append_mutex_);
      w_.used_bytes_ -= row.used;
      w_.live_bytes_ -= row.live_bytes;  // what is damaged beyond reading, and so was never moved
      store(row.file_id, 0);
    }
    w_.files_.step("compact:unlink");
    if (Errno e = w_.files_.unlink(w_.directory_, name.c_str()); !e.ok() && e.code() != ENOENT)
      result = failure(e, w_.reader_.path() + "/" + name);
  }
  w_.manifest_.next_file_id = next.next_file_id;
  add(index.header().retired, 1);
  return result;
}

}  // namespace spillway::segstore

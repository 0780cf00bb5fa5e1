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
    if (std::any_of(mapped_.begin(), mapped_.end(),
                    [&](const Victim& victim) { return victim.row == row && !victim.is_damaged; }))
      continue;
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
  for (Victim& victim : mapped_) {
    auto visit = [&](const Record& record) {
      if (record.header.type() == RecordType::kBatchEnd) return;
      const uint64_t full = hash_of(record.key(), w_.manifest_.hash_seed);
      const Location at{victim.row, record.offset};
      const bool is_remove = record.header.type() == RecordType::kRemove;
      if (!is_remove && !is_pointed_to(index_hash(full), at)) return;
      const bool to_remove = !is_remove && record.expires_ms != 0 && record.expires_ms <= now;
      if (to_remove) expired_.emplace_back(index_hash(full), at);
      items_.push_back({victim.mapping, record.offset, full, victim.row, to_remove, is_remove || to_remove});
    };
    if (victim.is_solo) {
      Record record;
      if (read_record(victim.mapping->bytes(), kFirstRecord, record)) visit(record);
    } else {
      scan_records(victim.mapping->bytes(), victim.used, -1, visit,
                   [&](uint64_t, uint64_t) { victim.is_damaged = true; });
    }
  }
  // Now that it is known which victims may stay.
  std::erase_if(items_, [&](const Item& item) {
    Record record;
    return item.if_others_may_hold && read_record(item.mapping->bytes(), item.offset, record) &&
           !others_may_hold(item.full_hash, record.sequence);
  });
}

StoreResult<std::shared_ptr<OpenSegment>> Compaction::create(uint64_t capacity, uint64_t base_sequence) {
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
  return made;
}

StoreStatus Compaction::copy() {
  StoreStatus result;
  for (size_t first = 0; first < items_.size() && result.ok(); first = outputs_.back().end) {
    outputs_.push_back(lay_out(first));
    result = copy(outputs_.back());
  }
  if (result.ok()) result = publish();
  if (!result.ok())
    for (const Output& output : outputs_)
      if (output.segment != nullptr)
        (void)w_.files_.unlink(w_.directory_, segment_name(output.segment->id).c_str());
  return result;
}

// What the new segment will be, to the byte: as many of the items as it has room for.
Compaction::Output Compaction::lay_out(size_t first) {
  Output output;
  output.first = output.end = first;
  for (uint64_t used = kFirstRecord; output.end < items_.size(); ++output.end) {
    Item& item = items_[output.end];
    Record record;
    CHECK(read_record(item.mapping->bytes(), item.offset, record), "a record of a sealed segment is gone");
    RecordHeader header = record.header;
    if (item.to_remove) header.pack(header.key_bytes(), RecordType::kRemove, 0, 0);
    const Layout at = layout_of(used, header, item.to_remove ? 0 : record.value_bytes);
    if (output.end != first &&
        at.end + footer_room(output.end - first + 1, at.end) > w_.options_.segment_bytes)
      break;
    item.new_offset = used;
    item.new_bytes = at.end - used;
    used = at.end;
    output.least_sequence = std::min(output.least_sequence, record.sequence);
    output.max_sequence = std::max(output.max_sequence, record.sequence);
  }
  return output;
}

StoreStatus Compaction::copy(Output& output) {
  const uint64_t used = items_[output.end - 1].new_offset + items_[output.end - 1].new_bytes;
  const uint64_t capacity = round_up(used + footer_room(output.end - output.first, used), kPageBytes);
  StoreResult<std::shared_ptr<OpenSegment>> made = create(capacity, output.least_sequence);
  if (!made) return made.status();
  output.segment = *made;
  OpenSegment& segment = *output.segment;
  const std::string name = w_.reader_.path() + "/" + segment_name(segment.id);

  // 1. The records, as they are but for their headers.
  FooterBuilder builder;
  std::string buffer;
  uint64_t buffer_at = kFirstRecord;
  auto write_out = [&](uint64_t end) -> StoreStatus {
    if (end == buffer_at) return {};
    w_.files_.step("compact:write");
    const os::Piece piece{buffer.data(), end - buffer_at};
    if (Errno e = w_.files_.write(segment.fd.get(), &piece, 1, buffer_at); !e.ok()) return failure(e, name);
    buffer.erase(0, end - buffer_at);
    buffer_at = end;
    return {};
  };
  for (size_t i = output.first; i < output.end; ++i) {
    const Item& item = items_[i];
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
    const auto delta = static_cast<uint32_t>(record.sequence - output.least_sequence);
    const EncodedHead head = encode_head(copy, item.new_offset, delta, segment.salt);
    buffer += head.bytes;
    if (!item.to_remove) buffer.append(record.value(), record.value_bytes);
    buffer.resize(item.new_offset + item.new_bytes - buffer_at);
    builder.add(item.full_hash, item.new_offset, item.new_bytes, record.sequence, copy.type, copy.expires_ms);
    // Whole extents: the page cache takes a huge page for each, and readers map it as one.
    const uint64_t whole = round_down(buffer_at + buffer.size(), kExtentBytes);
    if (whole > buffer_at)
      if (StoreStatus bad = write_out(whole); !bad.ok()) return bad;
  }
  if (StoreStatus bad = write_out(buffer_at + buffer.size()); !bad.ok()) return bad;

  // 2. All of it on the device, before the footer says so.
  segment.used = used;
  const std::string body = builder.body(used);
  const Footer footer = builder.footer(used, body, segment.salt, segment.id, true);
  const os::Piece body_piece{body.data(), body.size()}, footer_piece{&footer, sizeof footer};
  w_.files_.step("compact:footer");
  Errno e = w_.files_.write(segment.fd.get(), &body_piece, 1, used);
  if (e.ok()) e = w_.files_.flush(segment.fd.get());
  if (e.ok()) e = w_.files_.write(segment.fd.get(), &footer_piece, 1, footer_offset(capacity));
  if (e.ok()) e = w_.files_.flush(segment.fd.get());
  if (e.ok()) e = w_.files_.flush_directory(w_.directory_);
  return e.ok() ? StoreStatus() : failure(e, name);
}

// Rows of the index for all of them, or for none.
StoreStatus Compaction::publish() {
  const std::lock_guard lock(w_.append_mutex_);
  Index& index = w_.view_->index;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const int64_t row = index.take_row();
    if (row < 0) {
      for (size_t made = 0; made < i; ++made) {
        store(index.row(outputs_[made].segment->row).file_id, 0);
        w_.used_bytes_ -= outputs_[made].segment->used;
      }
      return {StoreCode::kFull, w_.reader_.path() + ": no row in the index for another segment"};
    }
    OpenSegment& segment = *outputs_[i].segment;
    segment.row = static_cast<uint32_t>(row);
    w_.set_row(segment, kSealed | kCompacted);
    w_.note_sequence(segment.row, outputs_[i].least_sequence);
    w_.note_sequence(segment.row, outputs_[i].max_sequence);
    w_.used_bytes_ += segment.used;
    for (size_t item = outputs_[i].first; item < outputs_[i].end; ++item) items_[item].new_row = segment.row;
  }
  return {};
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
        w_.point(hash, old, {to->new_row, to->new_offset}, to->new_bytes);
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
    std::erase_if(victims_, [&](uint32_t number) {
      SegmentRow& row = index.row(number);
      if (load(row.live_records) == 0) return false;
      store(row.flags, load(row.flags) | kDamaged | kLeft);
      return true;
    });
    if (victims_.empty()) return {};
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
  add(index.header().retired, 1);  // who saw one of them, and then not, must see this
  for (const uint32_t number : victims_) {
    SegmentRow& row = index.row(number);
    const std::string name = segment_name(row.file_id);
    {
      const std::lock_guard lock(w_.append_mutex_);
      w_.used_bytes_ -= row.used;
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

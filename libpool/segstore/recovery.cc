#include "libpool/segstore/recovery.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/os/memory.h"
#include "libpool/segstore/reader.h"

namespace spillway::segstore {
namespace {

struct Item {
  uint32_t hash = 0;
  uint64_t full_hash = 0;
  uint64_t offset = 0, bytes = 0, sequence = 0, expires_ms = 0;
  RecordType type = RecordType::kPut;
  bool in_batch = false, intact = true;
  uint64_t batch_first = 0;  // of the batch that its end record made count
};

// A file in memory, until this goes.
struct Mapped {
  PageRange range;
  Mapped() = default;
  Mapped(Mapped&& other) noexcept : range(std::exchange(other.range, {})) {}
  Mapped& operator=(Mapped&& other) noexcept {
    std::swap(range, other.range);
    return *this;
  }
  ~Mapped() {
    if (!range.empty()) os::unreserve(range);
  }
};

// A segment as recovery sees it: mapped, or of a value in a file of its own only the head.
struct Segment {
  uint64_t id = 0;
  os::Fd fd;
  Mapped map;
  std::string head;
  SegmentBytes bytes;
  Footer footer;
  bool is_sealed = false, is_new = false, is_damaged = false, stays_open = false;
  uint64_t used = 0, row = 0;
  std::vector<Item> items;     // unsealed: what counts
  std::vector<uint64_t> blot;  // offsets of records that do not

  bool is_solo() const { return bytes.header.is_solo != 0; }
};

class Recovery {
 public:
  explicit Recovery(const RecoveryInput& input) : in_(input), out_(std::make_unique<Recovered>()) {}

  StoreResult<std::unique_ptr<Recovered>> run() {
    if (StoreStatus bad = find_segments(); !bad.ok()) return bad;
    for (Segment& segment : segments_)
      if (segment.is_solo())
        look_at_solo(segment);
      else if (!segment.is_sealed)
        scan(segment);
    accept_solo_batches();
    cut_at_first_gap();
    if (in_.files != nullptr)
      if (StoreStatus bad = mend(); !bad.ok()) return bad;
    if (StoreStatus bad = build(); !bad.ok()) return bad;
    return std::move(out_);
  }

 private:
  StoreStatus find_segments();
  StoreStatus open_segment(uint64_t id);
  void look_at_solo(Segment& segment);
  bool solo_value_is_intact(const Segment& segment, const Record& record);
  void scan(Segment& segment);
  void accept_solo_batches();
  void cut_at_first_gap();
  StoreStatus mend();
  StoreStatus seal(Segment& segment);
  StoreStatus build();
  StoreStatus insert(Segment& segment, const Item* items, size_t count);
  bool same_key(const Segment& a, uint64_t offset, uint32_t row, uint64_t other, Record& other_record);
  bool machine_was_restarted() const {
    return in_.control != nullptr && in_.control->boot_id[0] != '\0' && in_.boot_id != in_.control->boot_id;
  }

  const RecoveryInput& in_;
  std::unique_ptr<Recovered> out_;
  std::vector<Segment> segments_;
  std::vector<uint64_t> orphans_, unreadable_;
  std::vector<std::pair<uint64_t, uint64_t>> batches_;  // first sequence and count of complete ones
  std::vector<Segment*> by_row_;
  struct Removal {
    uint32_t hash;
    Location at;
  };
  std::vector<Removal> removals_;
  uint64_t known_durable_ = 0;
};

StoreStatus Recovery::find_segments() {
  bool damaged = false;
  std::optional<Manifest> manifest = read_manifest(in_.directory, damaged);
  std::vector<uint64_t> ids;
  const Errno e = os::list_names(
      in_.directory,
      [](void* context, const char* name) {
        if (const uint64_t id = id_in_name(name)) static_cast<std::vector<uint64_t>*>(context)->push_back(id);
      },
      &ids);
  if (!e.ok()) return failure(e, in_.path);
  std::sort(ids.begin(), ids.end());
  if (!manifest && ids.empty()) return {StoreCode::kNotAStore, in_.path + ": no store here"};
  if (manifest) out_->manifest = *manifest;
  out_->next_file_id = out_->manifest.next_file_id;
  for (const uint64_t id : ids) {
    out_->next_file_id = std::max(out_->next_file_id, id + 1);
    if (manifest && !manifest->counts(id)) {
      orphans_.push_back(id);
      continue;
    }
    if (StoreStatus bad = open_segment(id); !bad.ok()) return bad;
    if (manifest && !segments_.empty() && segments_.back().id == id)
      segments_.back().is_new = manifest->is_new(id);
  }
  if (!manifest) {
    // Who the store is stands in every segment.
    if (segments_.empty())
      return {StoreCode::kCorrupt, in_.path + ": MANIFEST and the headers of all segments are damaged"};
    out_->manifest.store = segments_.front().bytes.header.store;
    out_->manifest.hash_seed = segments_.front().bytes.header.hash_seed;
  }
  // Another store's segment, that somebody copied here, is not ours to read.
  std::erase_if(segments_, [&](const Segment& s) { return !(s.bytes.header.store == out_->manifest.store); });
  known_durable_ = in_.control != nullptr ? in_.control->durable_sequence : 0;
  for (Segment& segment : segments_)
    if (!segment.is_solo()) {
      segment.is_sealed = read_footer(segment.bytes, segment.footer);
      if (segment.is_sealed) known_durable_ = std::max(known_durable_, segment.footer.max_sequence);
    }
  return {};
}

StoreStatus Recovery::open_segment(uint64_t id) {
  Segment segment;
  segment.id = id;
  const std::string name = segment_name(id);
  Result<os::Fd> fd = os::open_in(in_.directory, name.c_str(),
                                  in_.files != nullptr ? os::OpenFor::kWriting : os::OpenFor::kReading);
  if (!fd) {
    if (fd.error() == ENOENT || fd.error() == ELOOP) return {};
    return failure(fd.error(), in_.path + "/" + name);
  }
  Result<os::FileFacts> facts = os::facts_of(fd->get());
  if (!facts) return failure(facts.error(), in_.path + "/" + name);
  if (!facts->is_regular || facts->bytes < sizeof(SegmentHeader)) {
    // Without a length, the writer died before it had one.
    (facts->bytes == 0 ? orphans_ : unreadable_).push_back(id);
    return {};
  }
  // The header, from the front or, where that is damaged, from the end.
  char front[sizeof(SegmentHeader)], back[sizeof(SegmentHeader)];
  Result<uint64_t> got = os::read_some(fd->get(), front, sizeof front, 0);
  if (!got) return failure(got.error(), in_.path + "/" + name);
  if (!read_segment_header(front, sizeof front, segment.bytes.header)) {
    got = os::read_some(fd->get(), back, sizeof back, facts->bytes - sizeof back);
    if (!got) return failure(got.error(), in_.path + "/" + name);
    if (!read_segment_header(back, sizeof back, segment.bytes.header)) {
      // A file that was never begun, or a large value that was never finished. Anything else stays where it
      // is, for `verify` to tell.
      static const char zeroes[kFirstRecord + sizeof(RecordHeader)] = {};
      char begin[sizeof zeroes] = {};
      got = os::read_some(fd->get(), begin, sizeof begin, 0);
      if (got && memcmp(begin, zeroes, sizeof begin) == 0 && memcmp(back, zeroes, sizeof back) == 0)
        orphans_.push_back(id);
      else
        unreadable_.push_back(id);
      return {};
    }
  }
  if (segment.bytes.header.file_id != id) {
    unreadable_.push_back(id);
    return {};
  }
  segment.bytes.bytes = facts->bytes;
  segment.bytes.salt = segment_salt(segment.bytes.header.store, id);
  if (segment.is_solo()) {
    segment.head.resize(
        std::min<uint64_t>(facts->bytes, kFirstRecord + sizeof(RecordHeader) + 8 + kMaxKeyBytes));
    got = os::read_some(fd->get(), segment.head.data(), segment.head.size(), 0);
    if (!got) return failure(got.error(), in_.path + "/" + name);
    segment.bytes.base = segment.head.data();
    segment.fd = std::move(*fd);
    segments_.push_back(std::move(segment));
    segments_.back().bytes.base = segments_.back().head.data();
    return {};
  }
  Result<PageRange> range = os::map_shared_readable(fd->get(), facts->bytes);
  if (!range) return failure(range.error(), in_.path + "/" + name);
  segment.map.range = *range;
  segment.bytes.base = range->base;
  segment.fd = std::move(*fd);
  segments_.push_back(std::move(segment));
  return {};
}

bool Recovery::solo_value_is_intact(const Segment& segment, const Record& record) {
  std::vector<char> buffer(kMiB);
  uint32_t crc = 0;
  for (uint64_t at = 0; at < record.value_bytes;) {
    const uint64_t bytes = std::min<uint64_t>(buffer.size(), record.value_bytes - at);
    Result<uint64_t> got = os::read_some(segment.fd.get(), buffer.data(), bytes, record.at.value + at);
    if (!got || *got != bytes) return false;
    crc = crc32c(crc, buffer.data(), bytes);
    at += bytes;
  }
  return crc == record.header.value_crc;
}

void Recovery::look_at_solo(Segment& segment) {
  Record record;
  if (!read_record(segment.bytes, kFirstRecord, record) ||
      record.at.key + record.header.key_bytes() > segment.head.size() ||
      !header_is_intact(segment.bytes, record)) {
    segment.is_damaged = true;
    return;
  }
  const uint64_t full = hash_of(record.key(), out_->manifest.hash_seed);
  Item item{index_hash(full),
            full,
            kFirstRecord,
            record.bytes(),
            record.sequence,
            record.expires_ms,
            RecordType::kPut,
            (record.header.flags() & kInBatch) != 0,
            true,
            0};
  if (machine_was_restarted() && record.sequence > known_durable_)
    item.intact = solo_value_is_intact(segment, record);
  segment.used = record.at.end;
  segment.items.push_back(item);
}

void Recovery::scan(Segment& segment) {
  std::vector<Item> pending;  // of a batch whose end has not come yet
  auto drop_pending = [&] {
    for (const Item& item : pending) segment.blot.push_back(item.offset);
    pending.clear();
  };
  const uint64_t end =
      segment.bytes.bytes > 2 * sizeof(Footer) ? footer_offset(segment.bytes.bytes) : segment.bytes.bytes;
  segment.used = scan_records(
      segment.bytes, end, segment.fd.get(),
      [&](const Record& record) {
        if (record.header.type() == RecordType::kBatchEnd) {
          BatchEnd batch;
          if (record.value_bytes != sizeof batch || !record.value_is_intact()) return;
          memcpy(&batch, record.value(), sizeof batch);
          for (Item& item : pending)
            if (item.sequence - batch.first_sequence < batch.count) {
              item.batch_first = batch.first_sequence;
              segment.items.push_back(item);
            } else {
              segment.blot.push_back(item.offset);
            }
          pending.clear();
          Item item;
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
        const Item item{index_hash(full),
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
      [&](uint64_t, uint64_t) { segment.is_damaged = true; });
  drop_pending();
  // The writer died in the middle of the last one; if that was acknowledged as durable, it is damage instead.
  if (!segment.items.empty() && !segment.items.back().intact && !segment.items.back().in_batch &&
      segment.items.back().sequence > known_durable_) {
    segment.blot.push_back(segment.items.back().offset);
    segment.used = segment.items.back().offset;
    segment.items.pop_back();
  }
  const ControlBlock* control = in_.control;
  segment.stays_open = control != nullptr && control->is_clean != 0 &&
                       control->active_file_id == segment.id && control->active_used == segment.used &&
                       segment.blot.empty() && !machine_was_restarted();
}

// A large value of a batch counts with the batch's end record, or once a manifest has named it.
void Recovery::accept_solo_batches() {
  const bool any = std::any_of(segments_.begin(), segments_.end(), [](const Segment& s) {
    return s.is_solo() && s.is_new && !s.items.empty() && s.items[0].in_batch;
  });
  for (const Segment& segment : segments_) {
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
  for (Segment& segment : segments_) {
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
    for (const Segment& segment : segments_)
      if (!segment.is_sealed)
        for (const Item& item : segment.items)
          if (item.sequence > known_durable_ && item.intact) there.push_back(item.sequence);
    std::sort(there.begin(), there.end());
    cut = known_durable_ + 1;
    for (const uint64_t sequence : there)
      if (sequence == cut) ++cut;
    // A batch that the cut goes through does not count at all.
    for (const auto& [first, count] : batches_)
      if (first < cut && cut <= first + count) cut = first;
  }
  for (Segment& segment : segments_) {
    if (!segment.is_sealed)
      std::erase_if(segment.items, [&](const Item& item) {
        if (item.sequence < cut || item.sequence <= known_durable_) return false;
        segment.blot.push_back(item.offset);
        return true;
      });
    for (const Item& item : segment.items) last = std::max(last, item.sequence);
  }
  // Known to be on the device, but not found: damage. Numbers are not given twice.
  out_->last_sequence = last;
}

StoreStatus Recovery::seal(Segment& segment) {
  FooterBuilder builder;
  for (const Item& item : segment.items)
    if (item.type != RecordType::kBatchEnd)
      builder.add(item.full_hash, item.offset, item.bytes, item.sequence, item.type, item.expires_ms);
  const std::string body = builder.body(segment.used);
  segment.footer = builder.footer(segment.used, body, segment.bytes.salt, segment.id, false);
  if (segment.is_damaged || segment.bytes.bytes % kGrid != 0 || segment.bytes.bytes < 2 * kPageBytes ||
      segment.used + body.size() > footer_offset(segment.bytes.bytes)) {
    segment.is_damaged = true;  // it stays as it is, and is read from front to back each time
    return {};
  }
  const os::Piece pieces[2] = {{body.data(), body.size()}, {nullptr, 0}};
  Errno e = in_.files->write(segment.fd.get(), pieces, 1, segment.used);
  const os::Piece tail[2] = {{&segment.footer, sizeof segment.footer},
                             {&segment.bytes.header, sizeof(SegmentHeader)}};
  if (e.ok()) e = in_.files->write(segment.fd.get(), tail, 2, footer_offset(segment.bytes.bytes));
  if (e.ok()) e = in_.files->flush(segment.fd.get());
  if (!e.ok()) return failure(e, in_.path + "/" + segment_name(segment.id) + ": sealing");
  const uint64_t from = round_up(segment.used + body.size(), kPageBytes);
  const uint64_t to = round_down(footer_offset(segment.bytes.bytes), kPageBytes);
  if (from < to) in_.files->release(segment.fd.get(), from, to - from);
  segment.is_sealed = true;
  return {};
}

// For the writer: the files become what was found to count.
StoreStatus Recovery::mend() {
  Files& files = *in_.files;
  for (Segment& segment : segments_) {
    if (segment.is_sealed || segment.stays_open) continue;
    files.step("recover:mend");
    static const RecordHeader nothing{};
    for (const uint64_t offset : segment.blot) {
      const os::Piece piece{&nothing, sizeof nothing};
      if (Errno e = files.write(segment.fd.get(), &piece, 1, offset); !e.ok())
        return failure(e, in_.path + "/" + segment_name(segment.id));
    }
    if (!segment.is_solo() || segment.is_new)
      if (Errno e = files.flush(segment.fd.get()); !e.ok())
        return failure(e, in_.path + "/" + segment_name(segment.id));
    if (segment.is_solo()) {
      if (segment.items.empty() && !segment.is_damaged) orphans_.push_back(segment.id);
    } else if (segment.items.empty() && !segment.is_damaged) {
      orphans_.push_back(segment.id);
    } else if (StoreStatus bad = seal(segment); !bad.ok()) {
      return bad;
    }
  }
  for (const uint64_t id : orphans_) {
    files.step("recover:unlink");
    if (Errno e = files.unlink(in_.directory, segment_name(id).c_str()); !e.ok() && e.code() != ENOENT)
      return failure(e, in_.path + "/" + segment_name(id));
  }
  if (Errno e = files.flush_directory(in_.directory); !e.ok()) return failure(e, in_.path);
  std::erase_if(segments_, [&](const Segment& segment) {
    return std::find(orphans_.begin(), orphans_.end(), segment.id) != orphans_.end();
  });
  return {};
}

bool Recovery::same_key(const Segment& a, uint64_t offset, uint32_t row, uint64_t other,
                        Record& other_record) {
  Record record;
  if (row >= by_row_.size() || by_row_[row] == nullptr) return false;
  return read_record(a.bytes, offset, record) && read_record(by_row_[row]->bytes, other, other_record) &&
         record.key() == other_record.key();
}

StoreStatus Recovery::insert(Segment& segment, const Item* items, size_t count) {
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
    const Item& item = items[i];
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
        if (e == EFBIG)
          return {StoreCode::kFull, in_.path + ": the index would be larger than max_index_bytes", EFBIG};
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
  for (const Segment& segment : segments_)
    keys += segment.is_sealed ? segment.footer.records : segment.items.size();
  Result<Index> index = in_.make_index(keys);
  if (!index) {
    if (index.error() == EFBIG)
      return {StoreCode::kFull, in_.path + ": the index would be larger than max_index_bytes", EFBIG};
    return failure(index.error(), in_.path + ": memory for the index");
  }
  out_->index = std::move(*index);
  IndexHeader& header = out_->index.header();
  header.magic = kIndexMagic;
  header.store = out_->manifest.store;
  header.hash_seed = out_->manifest.hash_seed;

  for (Segment& segment : segments_) {
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
    for (const Item& item : segment.items) {
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
  std::vector<Item> batch;
  for (Segment& segment : segments_) {
    StoreStatus bad;
    batch.clear();
    auto add = [&](const Item& item) {
      batch.push_back(item);
      if (batch.size() < kAtOnce || !bad.ok()) return;
      bad = insert(segment, batch.data(), batch.size());
      batch.clear();
    };
    if (segment.is_sealed && segment.footer.table_entries != 0) {
      const TableEntry* table = table_of(segment.bytes, segment.footer);
      for (uint64_t i = 0; i < segment.footer.table_entries; ++i) {
        Item item;
        item.hash = table[i].hash;
        item.offset = static_cast<uint64_t>(table[i].place & ~kTableRemove) * kGrid;
        item.bytes = table[i].bytes;
        item.type = (table[i].place & kTableRemove) != 0 ? RecordType::kRemove : RecordType::kPut;
        add(item);
      }
    } else if (segment.is_sealed) {
      (void)os::prefetch(segment.map.range.sub(0, round_up(segment.footer.used_bytes, kPageBytes)));
      scan_records(
          segment.bytes, segment.footer.used_bytes, segment.fd.get(),
          [&](const Record& record) {
            if (record.header.type() == RecordType::kBatchEnd) return;
            Item item;
            item.hash = index_hash(hash_of(record.key(), header.hash_seed));
            item.offset = record.offset;
            item.bytes = record.bytes();
            item.sequence = record.sequence;
            item.type = record.header.type();
            add(item);
          },
          [](uint64_t, uint64_t) {});
    } else {
      for (const Item& item : segment.items)
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

}  // namespace

bool is_store(int directory) {
  bool damaged = false;
  if (read_manifest(directory, damaged) || damaged) return true;
  bool any = false;
  (void)os::list_names(
      directory,
      [](void* context, const char* name) { *static_cast<bool*>(context) |= id_in_name(name) != 0; }, &any);
  return any;
}

StoreResult<std::unique_ptr<Recovered>> recover(const RecoveryInput& input) { return Recovery(input).run(); }

}  // namespace spillway::segstore

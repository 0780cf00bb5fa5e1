#include "libpool/segstore/snapshot.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "base/os/clock.h"
#include "libpool/segstore/scan.h"
#include "libpool/segstore/store_impl.h"

namespace spillway {
namespace segstore {

SnapshotImpl::~SnapshotImpl() {
  for (const Pinned& row : rows_)
    if (row.mapping != nullptr) row.mapping->unpin();
}

StoreStatus SnapshotImpl::corrupt(const Mapping& mapping, uint64_t offset, const char* what) const {
  return {StoreCode::kCorrupt, path_ + "/" + segment_name(mapping.bytes().header.file_id) + ": at byte " +
                                   std::to_string(offset) + ": " + what};
}

StoreStatus SnapshotImpl::check(Mapping& mapping, const Record& record) const {
  if (mapping.is_verified(record.offset)) return {};
  if (!header_is_intact(mapping.bytes(), record))
    return corrupt(mapping, record.offset, "a record's header fails its checksum");
  if (!record.value_is_intact())
    return corrupt(mapping, record.offset, "a record's value fails its checksum");
  mapping.set_verified(record.offset);
  return {};
}

StoreResult<Value> SnapshotImpl::get(std::string_view key) const {
  StoreResult<Value> result = Value();
  const uint32_t hash = index_hash(hash_of(key, index_.header().hash_seed));
  index_.find(hash, index_.state(), [&](uint64_t word, const uint64_t&) {
    const Location at = location_of(word);
    Mapping& mapping = *rows_[at.row].mapping;
    Record record;
    if (!read_record(mapping.bytes(), at.offset, record) || record.key() != key) {
      if (!read_record(mapping.bytes(), at.offset, record) || !header_is_intact(mapping.bytes(), record))
        result = corrupt(mapping, at.offset, "a record's header fails its checksum");
      return false;
    }
    if (record.expires_ms != 0 && record.expires_ms <= now_ms_) {
      result = Value();
      return true;
    }
    if (StoreStatus bad = check(mapping, record); !bad.ok()) {
      result = bad;
      return true;
    }
    mapping.pin_again();
    result = ValueMaker::make(&mapping, record);
    return true;
  });
  return result;
}

StoreStatus SnapshotImpl::give(Location at, const Snapshot::Each& each, bool& more) const {
  Mapping& mapping = *rows_[at.row].mapping;
  Record record;
  if (!read_record(mapping.bytes(), at.offset, record))
    return corrupt(mapping, at.offset, "a record's header fails its checksum");
  if (StoreStatus bad = check(mapping, record); !bad.ok()) return bad;
  if (record.expires_ms != 0 && record.expires_ms <= now_ms_) return {};
  mapping.pin_again();
  const Value value = ValueMaker::make(&mapping, record);
  more = each(record.key(), value);
  return {};
}

StoreStatus SnapshotImpl::each(size_t from, size_t to, const Snapshot::Each& each,
                               const Snapshot::Corrupt& corrupt) const {
  bool more = true;
  for (size_t i = from; i < to && more; ++i) {
    StoreStatus bad = give(places_[i], each, more);
    if (bad.ok()) continue;
    if (!corrupt || bad.code() != StoreCode::kCorrupt) return bad;
    corrupt(bad);
  }
  return {};
}

class SnapshotTaker {
 public:
  explicit SnapshotTaker(Reader& reader) : reader_(reader) {}

  StoreResult<std::unique_ptr<SnapshotImpl>> take() {
    for (int tries = 0; tries < 50; ++tries) {
      StoreResult<View*> view = reader_.view();
      if (!view) return view.status();
      auto snapshot = std::make_unique<SnapshotImpl>();
      bool again = false;
      StoreStatus bad = attempt(**view, *snapshot, again);
      if (!bad.ok()) return bad;
      if (!again) return snapshot;
      os::sleep_us(1000 * tries);
    }
    return StoreStatus(StoreCode::kBusy,
                       reader_.path() + ": segments come and go too quickly for a snapshot");
  }

 private:
  StoreStatus attempt(View& view, SnapshotImpl& to, bool& again);
  // Pins the rows' segments that are not pinned yet. False: one went away, or its row was given to another.
  bool pin_rows(View& view, SnapshotImpl& to, StoreStatus& error);
  StoreStatus put(SnapshotImpl& to, uint32_t hash, Location at, uint64_t sequence, bool& readable);
  StoreStatus repeat_log(View& view, SnapshotImpl& to, uint64_t from, uint64_t up_to);

  Reader& reader_;
};

bool SnapshotTaker::pin_rows(View& view, SnapshotImpl& to, StoreStatus& error) {
  const uint64_t rows = load(view.index.header().rows_used);
  to.rows_.resize(std::max<size_t>(to.rows_.size(), rows));
  for (uint32_t row = 0; row < rows; ++row) {
    const uint64_t file_id = load(view.index.row(row).file_id);
    SnapshotImpl::Pinned& pinned = to.rows_[row];
    if (file_id == 0 || pinned.file_id == file_id) continue;
    if (pinned.mapping != nullptr) return false;
    Errno why;
    Mapping* mapping = reader_.pin_row(view, row, why);
    if (mapping == nullptr) {
      if (!why.ok() && why.code() != ENOENT) error = failure(why, reader_.path() + ": mapping a segment");
      return false;
    }
    pinned = {mapping, mapping->file_id()};
  }
  return true;
}

// Where the record is newer than what the copy has for its key, or the first.
StoreStatus SnapshotTaker::put(SnapshotImpl& to, uint32_t hash, Location at, uint64_t, bool& readable) {
  readable = false;
  if (at.row >= to.rows_.size() || to.rows_[at.row].mapping == nullptr) return {};
  Record record;
  if (!read_record(to.rows_[at.row].mapping->bytes(), at.offset, record)) {
    readable = true;  // damaged: it stays, and get says so
  } else {
    readable = true;
    bool done = false;
    to.index_.find(hash, to.index_.state(), [&](uint64_t word, uint64_t& slot) {
      if (word == slot_word(hash, at)) return done = true;
      const Location there = location_of(word);
      Record other;
      if (!read_record(to.rows_[there.row].mapping->bytes(), there.offset, other) ||
          other.key() != record.key())
        return false;
      if (other.sequence < record.sequence) to.index_.replace(slot, hash, at);
      return done = true;
    });
    if (done) return {};
  }
  if (Errno e = to.index_.make_room(&hash, 1); !e.ok()) return failure(e, "memory for a snapshot");
  to.index_.insert(hash, at);
  return {};
}

// Does again what was written after `from`, up to `up_to`.
StoreStatus SnapshotTaker::repeat_log(View& view, SnapshotImpl& to, uint64_t from, uint64_t up_to) {
  struct Step {
    uint64_t sequence;
    uint32_t hash;
    Location at;
    RecordType type;
  };
  std::vector<Step> steps;
  const uint64_t seed = view.index.header().hash_seed;
  for (uint32_t row = 0; row < to.rows_.size(); ++row) {
    Mapping* mapping = to.rows_[row].mapping;
    const SegmentRow& entry = view.index.row(row);
    if (mapping == nullptr || load(entry.max_sequence) <= from) continue;
    auto visit = [&](const Record& record) {
      if (record.sequence > from && record.sequence <= up_to && record.header.type() != RecordType::kBatchEnd)
        steps.push_back({record.sequence,
                         index_hash(hash_of(record.key(), seed)),
                         {row, record.offset},
                         record.header.type()});
    };
    Record record;
    if (mapping->bytes().header.is_solo != 0) {
      if (read_record(mapping->bytes(), kFirstRecord, record)) visit(record);
    } else {
      scan_records(mapping->bytes(), load(entry.used), -1, visit, [](uint64_t, uint64_t) {});
    }
  }
  std::sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.sequence < b.sequence; });
  for (const Step& step : steps) {
    bool readable = false;
    if (step.type == RecordType::kPut) {
      if (StoreStatus bad = put(to, step.hash, step.at, step.sequence, readable); !bad.ok()) return bad;
      continue;
    }
    Record removed;
    (void)read_record(to.rows_[step.at.row].mapping->bytes(), step.at.offset, removed);
    to.index_.find(step.hash, to.index_.state(), [&](uint64_t word, uint64_t& slot) {
      const Location there = location_of(word);
      Record other;
      if (!read_record(to.rows_[there.row].mapping->bytes(), there.offset, other) ||
          other.key() != removed.key())
        return false;
      if (other.sequence < removed.sequence) to.index_.erase(slot);
      return true;
    });
  }
  return {};
}

StoreStatus SnapshotTaker::attempt(View& view, SnapshotImpl& to, bool& again) {
  const Index& index = view.index;
  const IndexHeader& header = index.header();
  again = true;
  to.path_ = reader_.path();
  const uint64_t retired = load(header.retired);
  const uint64_t from = load(header.applied_sequence);
  StoreStatus error;
  if (!pin_rows(view, to, error)) return error;
  Result<Index> copy = Index::create_private(std::max<uint64_t>(header.max_bytes, 64 * kMiB), index.keys());
  if (!copy) return failure(copy.error(), reader_.path() + ": memory for a snapshot");
  to.index_ = std::move(*copy);
  to.index_.header().hash_seed = header.hash_seed;

  // 1. The entries, while they may change.
  bool lost = false;
  index.for_each([&](uint32_t hash, uint64_t word) {
    if (!error.ok() || lost) return;
    const Location at = location_of(word);
    if (at.row >= to.rows_.size() || to.rows_[at.row].mapping == nullptr)
      if (!pin_rows(view, to, error)) {
        lost = true;
        return;
      }
    bool readable = false;
    StoreStatus bad = put(to, hash, at, 0, readable);
    if (!bad.ok()) error = bad;
    lost = lost || !readable;
  });
  if (!error.ok()) return error;
  if (lost) return {};

  // 2. What was written meanwhile. Nothing the copy can have is newer than `up_to`.
  const uint64_t up_to = load(header.written_sequence);
  const uint64_t deadline = os::monotonic_ms() + 200;
  // Until the index has it, too; a writer that died in between never lets it.
  while (load(header.applied_sequence) < up_to && os::monotonic_ms() < deadline) os::sleep_us(20);
  if (!pin_rows(view, to, error)) return error;
  if (StoreStatus bad = repeat_log(view, to, from, up_to); !bad.ok()) return bad;

  // 3. Unless a segment went away in the middle of it, or all of the index did.
  if (load(header.retired) != retired) return {};
  StoreResult<View*> now = reader_.view();
  if (!now) return now.status();
  if (*now != &view) return {};
  to.sequence_ = up_to;
  to.now_ms_ = reader_.now_ms(view);
  to.places_.reserve(to.index_.keys());
  to.index_.for_each([&](uint32_t, uint64_t word) { to.places_.push_back(location_of(word)); });
  std::sort(to.places_.begin(), to.places_.end(), [](const Location& a, const Location& b) {
    return a.row != b.row ? a.row < b.row : a.offset < b.offset;
  });
  again = false;
  return {};
}

StoreResult<std::unique_ptr<SnapshotImpl>> take_snapshot(Reader& reader) {
  return SnapshotTaker(reader).take();
}

}  // namespace segstore

Snapshot::Snapshot() = default;
Snapshot::Snapshot(Snapshot&&) noexcept = default;
Snapshot& Snapshot::operator=(Snapshot&&) noexcept = default;
Snapshot::~Snapshot() = default;

namespace {

StoreStatus no_snapshot() { return {StoreCode::kClosed, "this snapshot was never taken"}; }

}  // namespace

uint64_t Snapshot::sequence() const { return impl_ ? impl_->sequence() : 0; }
uint64_t Snapshot::size() const { return impl_ ? impl_->size() : 0; }
StoreResult<Value> Snapshot::get(std::string_view key) const {
  return impl_ ? impl_->get(key) : StoreResult<Value>(no_snapshot());
}
StoreStatus Snapshot::for_each(const Each& each, const Corrupt& corrupt) const {
  return impl_ ? impl_->each(0, impl_->count(), each, corrupt) : no_snapshot();
}

StoreStatus Snapshot::for_each_prefix(std::string_view prefix, const Each& each,
                                      const Corrupt& corrupt) const {
  // The first key that is behind all with the prefix: the last byte that can be raised is.
  std::string end(prefix);
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  if (end.empty()) return for_each_range(prefix, std::nullopt, each, corrupt);
  ++end.back();
  return for_each_range(prefix, end, each, corrupt);
}

StoreStatus Snapshot::for_each_range(std::optional<std::string_view> start,
                                     std::optional<std::string_view> end, const Each& each,
                                     const Corrupt& corrupt) const {
  return impl_ ? impl_->each_in_order(start, end, each, corrupt) : no_snapshot();
}

StoreStatus Snapshot::make_ordered() { return impl_ ? impl_->make_ordered() : no_snapshot(); }

StoreStatus Snapshot::for_each_parallel(
    std::optional<std::string_view> start, std::optional<std::string_view> end, unsigned threads,
    const std::function<void(unsigned, std::string_view, const Value&)>& each) const {
  if (!impl_) return no_snapshot();
  threads = std::max(threads, 1u);
  constexpr size_t kAtOnce = 4096;
  std::atomic<size_t> next{0};
  std::mutex mutex;
  StoreStatus first_bad;
  auto work = [&](unsigned thread) {
    for (;;) {
      const size_t from = next.fetch_add(kAtOnce);
      if (from >= impl_->count()) return;
      StoreStatus bad = impl_->each(from, std::min(from + kAtOnce, impl_->count()),
                                    [&](std::string_view key, const Value& value) {
                                      if ((!start || key >= *start) && (!end || key < *end))
                                        each(thread, key, value);
                                      return true;
                                    });
      if (!bad.ok()) {
        const std::lock_guard lock(mutex);
        if (first_bad.ok()) first_bad = bad;
        next = impl_->count();
        return;
      }
    }
  };
  std::vector<std::thread> helpers;
  for (unsigned i = 1; i < threads; ++i) helpers.push_back(segstore::start_thread([&work, i] { work(i); }));
  work(0);
  for (std::thread& helper : helpers) helper.join();
  return first_bad;
}

}  // namespace spillway

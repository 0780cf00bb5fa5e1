// store.cc - the public Store: checks that it is open, and hands on.
#include "spillway/store.hpp"

#include <cstdlib>
#include <cstring>

#include "libpool/segstore/fork_safe.h"
#include "libpool/segstore/recovery.h"
#include "libpool/segstore/shared_writes.h"
#include "libpool/segstore/snapshot.h"
#include "libpool/segstore/store_impl.h"

namespace spillway {

StoreStatus::StoreStatus(StoreCode code, std::string message, int os_error)
    : detail_(code == StoreCode::kOk
                  ? nullptr
                  : std::make_shared<const Detail>(Detail{code, std::move(message), os_error})) {}

const std::string& StoreStatus::message() const {
  static const std::string fine = "ok";
  return detail_ ? detail_->message : fine;
}

void StoreStatus::raise() const { throw StoreError(*this); }

void Batch::put(std::string_view key, std::string_view value, const PutOptions& options) {
  writes_.push_back({true, std::string(key), std::string(value), options});
}
void Batch::remove(std::string_view key) { writes_.push_back({false, std::string(key), {}, {}}); }

namespace segstore {
namespace {

std::string absolute(const std::string& path) {
  if (!path.empty() && path[0] == '/') return path;
  char* here = realpath(".", nullptr);
  std::string whole = std::string(here != nullptr ? here : ".") + "/" + path;
  free(here);
  return whole;
}

constexpr uint64_t kShareFrom = 65'536;  // keys; a smaller index is made in no time by each reader

// For a reader of a store that nobody has open, and whose index is gone or was never kept.
StoreResult<std::shared_ptr<View>> heal(int directory, const std::string& path, IndexPlaces& places) {
  Result<Control> control = Control::open(directory);
  RecoveryInput input;
  input.directory = directory;
  input.path = path;
  const uint64_t generation = control ? control->generation() : 0;
  if (control) input.control = &control->block();
  input.boot_id = Files::real().boot_id();
  input.make_index = [&places](uint64_t keys) {
    // Of few sizes, so that one finds room where another was.
    return Index::create_private(std::max<uint64_t>(64 * kMiB, std::bit_ceil(keys * 32)), keys, &places);
  };
  StoreResult<std::unique_ptr<Recovered>> recovered = recover(input);
  if (!recovered) return recovered.status();
  if (control) (*recovered)->index.header().latest_clock_ms = load(control->block().latest_clock_ms);
  if ((*recovered)->index.keys() >= kShareFrom) {
    // Worth sharing: whoever may write makes the index for all, and keeps it.
    StoreOptions options;
    options.create = false;
    options.auto_compact = false;
    StoreResult<std::unique_ptr<StoreImpl>> writer = StoreImpl::open(path, options, Files::real(), true);
    if (writer && (*writer)->close().ok()) return std::shared_ptr<View>();
    if (writer.status().code() == StoreCode::kLocked) return std::shared_ptr<View>();
  }
  return make_view(std::move((*recovered)->index), generation, "");
}

StoreResult<std::shared_ptr<Reader>> make_reader(const std::string& directory, bool create) {
  if (directory.empty()) return StoreStatus(StoreCode::kInvalid, "an empty path; a store is a directory");
  const std::string path = absolute(directory);
  Result<os::Fd> fd = os::open_directory(path.c_str(), create);
  if (!fd) {
    if (fd.error() == ENOENT || fd.error() == ENOTDIR)
      return StoreStatus(StoreCode::kNotAStore,
                         path + ": no store here (" + strerror(fd.error().code()) + ")", fd.error().code());
    return failure(fd.error(), path);
  }
  Result<std::unique_ptr<MappingTable>> table = MappingTable::create();
  if (!table) return failure(table.error(), path);
  auto healing = [number = fd->get(), path](IndexPlaces& places) { return heal(number, path, places); };
  return std::make_shared<Reader>(std::move(*fd), path, std::move(*table), healing);
}

StoreStatus check(const StoreOptions& options) {
  if (options.segment_bytes < kMinSegmentBytes || options.segment_bytes > kMaxSegmentBytes)
    return {StoreCode::kInvalid, "segment_bytes of " + std::to_string(options.segment_bytes) +
                                     "; 65536 to 268435456 are possible"};
  if (options.max_index_bytes < kMiB || options.max_index_bytes > 64 * kGiB)
    return {StoreCode::kInvalid, "max_index_bytes of " + std::to_string(options.max_index_bytes) +
                                     "; 1 MiB to 64 GiB are possible"};
  return {};
}

}  // namespace

StoreResult<std::unique_ptr<StoreImpl>> StoreImpl::open(const std::string& directory,
                                                        const StoreOptions& options, Files& files,
                                                        bool is_brief) {
  if (StoreStatus bad = check(options); !bad.ok()) return bad;
  StoreResult<std::shared_ptr<Reader>> reader = make_reader(directory, options.create);
  if (!reader) return reader.status();
  auto impl = std::make_unique<StoreImpl>();
  impl->reader_ = *reader;
  impl->is_writer_ = true;
  StoreResult<std::unique_ptr<Writer>> writer = Writer::open(*impl->reader_, options, files, is_brief);
  if (!writer) return writer.status();
  impl->writes_ = std::move(*writer);
  return impl;
}

StoreResult<std::unique_ptr<StoreImpl>> StoreImpl::open_shared(const std::string& directory,
                                                               const StoreOptions& options, Files& files) {
  if (StoreStatus bad = check(options); !bad.ok()) return bad;
  if (directory.empty()) return StoreStatus(StoreCode::kInvalid, "an empty path; a store is a directory");
  const std::string path = absolute(directory);  // also later, wherever the program is then
  auto reader = [path, create = options.create] { return make_reader(path, create); };
  StoreResult<std::unique_ptr<SharedWrites>> writes = SharedWrites::open(reader, options, files);
  if (!writes) return writes.status();
  StoreResult<std::unique_ptr<StoreImpl>> impl = open_reader(path);
  if (!impl) return impl.status();
  (*impl)->is_writer_ = true;
  (*impl)->writes_ = std::move(*writes);
  return impl;
}

StoreResult<std::unique_ptr<StoreImpl>> StoreImpl::open_reader(const std::string& directory) {
  StoreResult<std::shared_ptr<Reader>> reader = make_reader(directory, false);
  if (!reader) return reader.status();
  if (StoreStatus bad = check_is_store((*reader)->directory(), (*reader)->path()); !bad.ok()) return bad;
  auto impl = std::make_unique<StoreImpl>();
  impl->reader_ = *reader;
  if (StoreResult<View*> view = impl->reader_->view(); !view) return view.status();
  return impl;
}

// A forked child leaves everything to its parent, whose locks and threads it has only as pictures.
StoreImpl::~StoreImpl() {
  if (!is_forked()) {
    (void)close();
    return;
  }
  new std::shared_ptr<Reader>(std::move(reader_));
  new std::shared_ptr<Writes>(std::move(writes_));
}

StoreStatus StoreImpl::close() {
  reader_->end_quick_gets();
  if (!open_.exchange(false) || is_forked()) return {};
  std::shared_ptr<Writes> writes;
  {
    const std::lock_guard lock(mutex_);
    writes = std::move(writes_);
  }
  // Calls under way hold the writer; they end, and what they wrote is flushed below.
  return writes != nullptr ? writes->close() : StoreStatus();
}

StoreResult<std::shared_ptr<Writes>> StoreImpl::writes() {
  if (!is_open()) return closed();
  if (!is_writer_) return StoreStatus(StoreCode::kReadOnly, reader_->path() + ": opened for reading");
  if (is_forked())
    return StoreStatus(StoreCode::kForked,
                       reader_->path() + ": opened for writing by the parent of this process");
  const std::lock_guard lock(mutex_);
  if (writes_ == nullptr) return closed();
  return writes_;
}

StoreResult<StoreState> StoreImpl::state() {
  if (!is_open()) return closed();
  StoreResult<View*> view = reader_->view();
  if (!view) return view.status();
  const Index& index = (*view)->index;
  const IndexHeader& header = index.header();
  StoreState state;
  state.directory = reader_->path();
  {
    const std::lock_guard lock(fork_safe_mutex());
    state.index_file = (*view)->index_path;
  }
  state.keys = index.keys();
  state.index_bytes = index.bytes();
  state.sequence = load(header.applied_sequence);
  state.durable_sequence = load(header.durable_sequence);
  Result<os::Fd> lock = os::open_in(reader_->directory(), "LOCK", os::OpenFor::kReading);
  if (lock && os::is_file_locked(lock->get())) state.writer_pid = load(header.writer_pid);
  auto disk = [&](const std::string& name) -> uint64_t {
    Result<os::Fd> fd = os::open_in(reader_->directory(), name.c_str(), os::OpenFor::kReading);
    if (!fd) return 0;
    Result<os::FileFacts> facts = os::facts_of(fd->get());
    return facts ? facts->disk_bytes : 0;
  };
  for (uint32_t number = 0; number < load(header.rows_used); ++number) {
    const SegmentRow& row = index.row(number);
    const uint64_t id = load(row.file_id);
    if (id == 0) continue;
    SegmentStatus segment;
    segment.name = segment_name(id);
    segment.capacity_bytes = load(row.capacity);
    segment.used_bytes = load(row.used);
    segment.live_bytes = load(row.live_bytes);
    segment.live_records = load(row.live_records);
    segment.dead_bytes = segment.used_bytes - std::min(segment.used_bytes, segment.live_bytes + kFirstRecord);
    segment.min_sequence = load(row.min_sequence) == UINT64_MAX ? 0 : load(row.min_sequence);
    segment.max_sequence = load(row.max_sequence);
    segment.is_sealed = (load(row.flags) & kSealed) != 0;
    segment.is_one_value = (load(row.flags) & kSolo) != 0;
    segment.is_damaged = (load(row.flags) & kDamaged) != 0;
    state.live_bytes += segment.live_bytes;
    state.dead_bytes += segment.dead_bytes;
    state.disk_bytes += disk(segment.name);
    state.segments.push_back(std::move(segment));
  }
  state.disk_bytes += disk("RESERVE");
  // Unless all of it was another index's half way.
  StoreResult<View*> now = reader_->view();
  if (!now) return now.status();
  return *now == *view ? StoreResult<StoreState>(std::move(state)) : this->state();
}

}  // namespace segstore

StoreResult<Store> StoreAccess::open(const std::string& directory, const StoreOptions& options,
                                     segstore::Files& files) {
  StoreResult<std::unique_ptr<segstore::StoreImpl>> impl =
      segstore::StoreImpl::open(directory, options, files);
  if (!impl) return impl.status();
  Store store;
  store.impl_ = std::move(*impl);
  return store;
}

bool StoreAccess::has_failed(const Store& store) {
  if (!store.impl_) return false;
  StoreResult<std::shared_ptr<segstore::Writes>> writes = store.impl_->writes();
  return writes && (*writes)->has_failed();
}

ValuePlace place_of(const Value& value) {
  const segstore::Mapping& mapping = ValueMaker::mapping_of(value);
  return {segstore::segment_name(mapping.file_id()),
          static_cast<uint64_t>(value.data() - mapping.bytes().base)};
}

StoreStatus never_opened() { return {StoreCode::kClosed, "the store was never opened"}; }

Store::Store() = default;
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

StoreResult<Store> Store::open(const std::string& directory, const StoreOptions& options) {
  return StoreAccess::open(directory, options, segstore::Files::real());
}
StoreResult<Store> StoreAccess::open_shared(const std::string& directory, const StoreOptions& options,
                                            segstore::Files& files) {
  StoreResult<std::unique_ptr<segstore::StoreImpl>> impl =
      segstore::StoreImpl::open_shared(directory, options, files);
  if (!impl) return impl.status();
  Store store;
  store.impl_ = std::move(*impl);
  return store;
}
StoreResult<Store> Store::open_shared(const std::string& directory, const StoreOptions& options) {
  return StoreAccess::open_shared(directory, options, segstore::Files::real());
}
StoreResult<Store> Store::open_reader(const std::string& directory) {
  StoreResult<std::unique_ptr<segstore::StoreImpl>> impl = segstore::StoreImpl::open_reader(directory);
  if (!impl) return impl.status();
  Store store;
  store.impl_ = std::move(*impl);
  return store;
}
StoreStatus Store::close() { return impl_ ? impl_->close() : StoreStatus(); }
bool Store::is_open() const { return impl_ && impl_->is_open(); }

StoreResult<uint64_t> Store::put(std::string_view key, std::string_view value, const PutOptions& options) {
  if (!impl_) return never_opened();
  auto writes = impl_->writes();
  return writes ? (*writes)->put(key, value, options, {}) : StoreResult<uint64_t>(writes.status());
}

StoreResult<bool> Store::remove(std::string_view key, std::optional<Durability> durability) {
  if (!impl_) return never_opened();
  auto writes = impl_->writes();
  if (!writes) return writes.status();
  StoreResult<uint64_t> sequence = (*writes)->remove(key, durability, {});
  if (!sequence) return sequence.status();
  return *sequence != 0;
}

StoreResult<uint64_t> Store::write(const Batch& batch, std::optional<Durability> durability) {
  if (!impl_) return never_opened();
  auto writes = impl_->writes();
  return writes ? (*writes)->write(batch, durability) : StoreResult<uint64_t>(writes.status());
}

StoreResult<bool> Store::compare_and_set(std::string_view key, std::optional<std::string_view> expected,
                                         std::optional<std::string_view> desired, const PutOptions& options) {
  if (!impl_) return never_opened();
  auto writes = impl_->writes();
  if (!writes) return writes.status();
  segstore::Condition condition;
  condition.value = expected;
  if (!desired && !expected) {  // nothing to nothing: only whether it holds
    StoreResult<Value> now = get(key);
    if (!now) return now.status();
    return !now->found();
  }
  StoreResult<uint64_t> sequence = desired ? (*writes)->put(key, *desired, options, condition)
                                           : (*writes)->remove(key, options.durability, condition);
  if (!sequence) return sequence.status();
  return *sequence != 0;
}

StoreResult<bool> Store::put_if_sequence(std::string_view key, uint64_t expected, std::string_view value,
                                         const PutOptions& options) {
  if (!impl_) return never_opened();
  auto writes = impl_->writes();
  if (!writes) return writes.status();
  segstore::Condition condition;
  condition.sequence = expected;
  StoreResult<uint64_t> sequence = (*writes)->put(key, value, options, condition);
  if (!sequence) return sequence.status();
  return *sequence != 0;
}

StoreResult<Snapshot> Store::snapshot() const {
  if (!impl_) return never_opened();
  if (!impl_->is_open()) return impl_->closed();
  StoreResult<std::unique_ptr<segstore::SnapshotImpl>> taken = segstore::take_snapshot(impl_->reader());
  if (!taken) return taken.status();
  Snapshot snapshot;
  snapshot.impl_ = std::move(*taken);
  return snapshot;
}

StoreStatus Store::sync() {
  if (!impl_) return never_opened();
  auto writes = impl_->writes();
  return writes ? (*writes)->sync() : writes.status();
}

uint64_t Store::durable_sequence() const {
  if (!impl_ || !impl_->is_open()) return 0;
  for (segstore::View* seen = nullptr;;) {
    StoreResult<segstore::View*> view = impl_->reader().view();
    if (!view) return 0;
    const uint64_t sequence = segstore::load((*view)->index.header().durable_sequence);
    if (std::exchange(seen, *view) == *view) return sequence;  // it was still the one after it was read
  }
}

StoreStatus Store::compact() {
  if (!impl_) return never_opened();
  auto writes = impl_->writes();
  return writes ? (*writes)->compact() : writes.status();
}

StoreResult<StoreState> Store::state() const {
  return impl_ ? impl_->state() : StoreResult<StoreState>(never_opened());
}
StoreStatus Store::backup(const std::string& directory) const {
  return impl_ ? impl_->backup(directory) : never_opened();
}

}  // namespace spillway

// writer_open.cc - becoming the writer, and ceasing to be it: the lock, the index as it was left or made
// anew.
#include <chrono>
#include <cstring>

#include "base/os/procfs.h"
#include "libpool/segstore/recovery.h"
#include "libpool/segstore/ring.h"
#include "libpool/segstore/shared_files.h"
#include "libpool/segstore/writer.h"

namespace spillway::segstore {
namespace {

// Fewer keys than this are indexed again in a few milliseconds, which is no reason to leave memory behind.
constexpr uint64_t kKeepIndexFrom = 65'536;

StoreStatus locked_by(int lock_file, const std::string& path) {
  char text[128] = {};
  Result<uint64_t> got = os::read_some(lock_file, text, sizeof text - 1, 0);
  std::string holder = got && *got > 0 ? std::string(text, strcspn(text, "\n")) : "another process";
  return {StoreCode::kLocked, path + ": " + holder + " writes to this store; open it for reading, or wait",
          EAGAIN};
}

}  // namespace

Writer::Writer(Reader& reader, const StoreOptions& options, Files& files)
    : reader_(reader), options_(options), files_(files), directory_(reader.directory()) {
  options_.segment_bytes = round_down(options_.segment_bytes, kPageBytes);
}

Writer::~Writer() { (void)close(); }

StoreResult<std::unique_ptr<Writer>> Writer::open(Reader& reader, const StoreOptions& options, Files& files,
                                                  bool serves) {
  std::unique_ptr<Writer> writer(new Writer(reader, options, files));
  if (StoreStatus bad = writer->start(serves); !bad.ok()) {
    writer->closed_ = true;  // there is nothing to flush
    return bad;
  }
  return writer;
}

StoreStatus Writer::lock() {
  Result<os::Fd> fd = os::open_in(directory_, "LOCK", os::OpenFor::kCreating);
  if (!fd) return failure(fd.error(), reader_.path() + "/LOCK");
  if (Errno e = os::lock_whole_file(fd->get()); e == EAGAIN)
    return locked_by(fd->get(), reader_.path());
  else if (!e.ok())
    return failure(e, reader_.path() + "/LOCK");
  const std::string text = "process " + std::to_string(os::process_id()) + " (" + os::program_name() + ")\n";
  (void)os::set_length(fd->get(), 0);  // the text is for people; the lock is what counts
  (void)os::write_all(fd->get(), text.data(), text.size(), 0);
  lock_file_ = LockingFd(std::move(*fd));
  return {};
}

StoreStatus Writer::look_around(bool& is_new) const {
  is_new = !is_store(directory_);
  if (!is_new || !options_.create) return check_is_store(directory_, reader_.path());
  if (const std::string other = foreign_name(directory_); !other.empty())
    return {StoreCode::kNotAStore, reader_.path() + ": no store here, and not empty (" + other +
                                       "); a new store needs a directory of its own"};
  return {};
}

StoreStatus Writer::make_store() {
  if (Errno e = os::random_bytes(&manifest_.store, sizeof manifest_.store); !e.ok())
    return failure(e, "random numbers");
  if (Errno e = os::random_bytes(&manifest_.hash_seed, sizeof manifest_.hash_seed); !e.ok())
    return failure(e, "random numbers");
  if (Errno e = write_manifest(files_, directory_, manifest_); !e.ok())
    return failure(e, reader_.path() + "/MANIFEST");
  return {};
}

StoreStatus Writer::start(bool serves) {
  if (os::is_on_network(directory_))
    return {StoreCode::kInvalid,
            reader_.path() + ": on a network file system, where other machines could change mapped files"};
  bool is_new = false;
  if (StoreStatus bad = look_around(is_new); !bad.ok()) return bad;  // a directory of others stays as it is
  if (StoreStatus bad = lock(); !bad.ok()) return bad;
  if (StoreStatus bad = look_around(is_new); !bad.ok()) return bad;
  Result<Control> control = Control::create(directory_);
  if (!control) return failure(control.error(), reader_.path() + "/CONTROL");
  control_ = std::move(*control);
  retire_ring(directory_, control_, serves);
  if (is_new)
    if (StoreStatus bad = make_store(); !bad.ok()) return bad;
  std::string index_in_use;
  uint64_t unused = 0;
  (void)control_.read_index_path(index_in_use, unused);
  sweep_shared_files(directory_, options_.index_directory, {index_in_use});
  const bool rewrite = control_.block().flush_failed != 0;
  const uint64_t durable_before = control_.block().durable_sequence;
  if (is_new || rewrite || !attach_index())
    if (StoreStatus bad = rebuild_index(); !bad.ok()) return bad;

  IndexHeader& header = view_->index.header();
  ControlBlock& block = control_.block();
  note_clock(std::max(header.latest_clock_ms, block.latest_clock_ms));
  next_sequence_ = header.applied_sequence + 1;
  header.writer_pid = static_cast<uint64_t>(os::process_id());
  header.is_clean = 0;
  block.is_clean = 0;
  block.store = manifest_.store;
  const std::string boot_id = files_.boot_id();
  memset(block.boot_id, 0, sizeof block.boot_id);
  memcpy(block.boot_id, boot_id.data(), std::min(boot_id.size(), sizeof block.boot_id - 1));
  block.store = manifest_.store;
  store(block.durable_sequence, header.applied_sequence);
  if (Errno e = control_.flush(); !e.ok()) return failure(e, reader_.path() + "/CONTROL");
  for (uint32_t row = 0; row < header.rows_used; ++row) {
    const SegmentRow& entry = view_->index.row(row);
    if (entry.file_id == 0) continue;
    used_bytes_ += entry.used;
    live_bytes_ += entry.live_bytes;
  }
  if (Result<os::Fd> fd = os::open_in(directory_, "RESERVE", os::OpenFor::kReading))
    if (Result<os::FileFacts> facts = os::facts_of(fd->get()))
      reserve_bytes_ = std::min(facts->bytes, facts->disk_bytes);
  // After a flush that failed, the kernel's copy of these records may be the only one: write them again.
  if (rewrite) {
    std::vector<uint32_t> rows;
    for (uint32_t row = 0; row < header.rows_used; ++row)
      if (view_->index.row(row).file_id != 0 && view_->index.row(row).max_sequence > durable_before &&
          (view_->index.row(row).flags & kSolo) == 0)
        rows.push_back(row);
    if (StoreStatus bad = compact_rows(rows); !bad.ok()) return bad;
    block.flush_failed = 0;
  }
  thread_ = start_thread([this] { maintain(); });
  return {};
}

// The index of a store that was closed properly on this boot, and whose files are as they were.
bool Writer::attach_index() {
  const ControlBlock& block = control_.block();
  bool damaged = false;
  std::optional<Manifest> manifest = read_manifest(directory_, damaged);
  std::string path;
  uint64_t generation = 0;
  if (!manifest || block.is_clean == 0 || files_.boot_id() != block.boot_id ||
      !control_.read_index_path(path, generation))
    return false;
  Result<os::Fd> fd = os::open_in(directory_, path.c_str(), os::OpenFor::kWriting);
  if (!fd) return false;
  Result<Index> index = Index::attach_writable(fd->get());
  Result<os::FileFacts> facts = os::facts_of(directory_);
  if (!index || !facts) return false;
  IndexHeader& header = index->header();
  if (header.is_clean == 0 || header.is_moving != 0 || header.generation != generation ||
      !(header.store == manifest->store) || header.hash_seed != manifest->hash_seed ||
      header.directory_device != facts->device || header.directory_inode != facts->inode ||
      files_.boot_id() != header.boot_id || header.applied_sequence != block.last_sequence)
    return false;
  if (header.max_bytes > round_up(options_.max_index_bytes, kPageBytes) &&
      index->bytes() > options_.max_index_bytes)
    return false;
  uint64_t next_file_id = manifest->next_file_id;
  std::shared_ptr<OpenSegment> active;
  std::set<uint64_t> in_rows;
  for (uint32_t number = 0; number < header.rows_used; ++number) {
    const SegmentRow& row = index->row(number);
    if (row.file_id == 0) continue;
    next_file_id = std::max(next_file_id, row.file_id + 1);
    in_rows.insert(row.file_id);
    const bool is_active = row.file_id == block.active_file_id;
    Result<os::Fd> segment = os::open_in(directory_, segment_name(row.file_id).c_str(),
                                         is_active ? os::OpenFor::kWriting : os::OpenFor::kReading);
    if (!segment) return false;
    Result<os::FileFacts> file = os::facts_of(segment->get());
    if (!file || file->bytes != row.capacity) return false;
    if (!is_active) continue;
    active = std::make_shared<OpenSegment>();
    Result<uint64_t> got = os::read_some(segment->get(), &active->header, sizeof active->header, 0);
    SegmentHeader checked;
    if (!got || *got != sizeof active->header || row.used != block.active_used ||
        !read_segment_header(reinterpret_cast<const char*>(&active->header), sizeof active->header, checked))
      return false;
    active->fd = std::move(*segment);
    active->id = row.file_id;
    active->row = number;
    active->capacity = row.capacity;
    active->used = row.used;
    active->records = block.active_records;
    active->salt = segment_salt(manifest->store, row.file_id);
  }
  if (block.active_file_id != 0 && active == nullptr) return false;
  manifest_ = *manifest;
  // Named by the manifest and in no row: nothing could be read of them when the index was made.
  for (const uint64_t id : manifest->segments)
    if (!in_rows.contains(id)) kept_.push_back(id);
  active_ = std::move(active);
  next_file_id_ = next_file_id;
  view_ = reader_.adopt(make_view(std::move(*index), generation, path));
  return true;
}

Result<Index> Writer::make_index(uint64_t keys) {
  Result<std::vector<std::string>> names = new_shared_names(directory_, options_.index_directory);
  if (!names) return names.error();
  Result<Index> index = Errno(ENOENT);
  for (const std::string& name : *names) {
    index_path_ = name;
    index = Index::create(directory_, name.c_str(), options_.max_index_bytes, keys);
    if (index || index.error() == EFBIG) break;
  }
  if (!index) {
    index_path_.clear();
    return index;
  }
  IndexHeader& header = index->header();
  if (Errno e = fill_head(header, directory_, reader_.path(), files_.boot_id()); !e.ok()) return e;
  header.generation = (control_.generation() | 1) + 3;
  return index;
}

// Who cleans up in shared memory removes the index of a living writer, too: systemd does when its user logs
// out (RemoveIPC). Those who have it mapped notice nothing, but nobody else would find one.
void Writer::replace_index_if_gone() {
  // The thread's, which alone changes the path.
  if (!(os::open_in(directory_, view_->index_path.c_str(), os::OpenFor::kReading).error() == ENOENT)) return;
  const std::lock_guard one_at_a_time(maintenance_mutex_);
  const std::lock_guard lock(append_mutex_);
  Result<std::vector<std::string>> names = new_shared_names(directory_, options_.index_directory);
  if (failed_ || !names) return;
  const uint64_t generation = (control_.generation() | 1) + 3;
  for (const std::string& name : *names) {
    if (!view_->index.move_to(directory_, name.c_str(), generation).ok()) continue;  // else in a second again
    reader_.rename(*view_, name, generation, [&] { control_.write_index_path(name, generation); });
    return;
  }
}

StoreStatus Writer::rebuild_index() {
  std::string old_path;
  uint64_t old_generation = 0;
  (void)control_.read_index_path(old_path, old_generation);
  RecoveryInput input;
  input.directory = directory_;
  input.path = reader_.path();
  input.files = &files_;
  input.control = &control_.block();
  input.boot_id = files_.boot_id();
  input.make_index = [this](uint64_t keys) { return make_index(keys); };
  StoreResult<std::unique_ptr<Recovered>> done = recover(input);
  if (!done) {
    if (!index_path_.empty()) (void)os::unlink_in(directory_, index_path_.c_str());  // made just now
    return done.status();
  }
  Recovered& recovered = **done;
  manifest_ = recovered.manifest;
  next_file_id_ = recovered.next_file_id;
  manifest_.segments.clear();
  manifest_.pending.clear();
  IndexHeader& header = recovered.index.header();
  for (uint32_t row = 0; row < header.rows_used; ++row)
    if (recovered.index.row(row).file_id != 0) manifest_.segments.insert(recovered.index.row(row).file_id);
  kept_ = recovered.unreadable;
  manifest_.segments.insert(kept_.begin(), kept_.end());
  manifest_.next_file_id = next_file_id_;
  files_.step("recover:manifest");
  if (Errno e = write_manifest(files_, directory_, manifest_); !e.ok())
    return failure(e, reader_.path() + "/MANIFEST");
  if (recovered.open_row != 0) {
    const auto number = static_cast<uint32_t>(recovered.open_row - 1);
    const SegmentRow& row = recovered.index.row(number);
    Result<os::Fd> fd = os::open_in(directory_, segment_name(row.file_id).c_str(), os::OpenFor::kWriting);
    if (!fd) return failure(fd.error(), reader_.path() + "/" + segment_name(row.file_id));
    active_ = std::make_shared<OpenSegment>();
    if (Errno e = os::read_all(fd->get(), &active_->header, sizeof active_->header, 0); !e.ok())
      return failure(e, reader_.path() + "/" + segment_name(row.file_id));
    active_->fd = std::move(*fd);
    active_->id = row.file_id;
    active_->row = number;
    active_->capacity = row.capacity;
    active_->used = recovered.open_used;
    active_->records = recovered.open_records;
    active_->salt = segment_salt(manifest_.store, row.file_id);
  }
  const uint64_t generation = header.generation;
  std::shared_ptr<View> view = make_view(std::move(recovered.index), generation, index_path_);
  files_.step("recover:switch");
  control_.write_index_path(index_path_, generation);
  view_ = reader_.adopt(std::move(view));
  if (!old_path.empty() && old_path != index_path_) remove_shared_file(directory_, old_path);
  return {};
}

StoreStatus Writer::close() {
  if (closed_.exchange(true)) return {};
  {
    const std::lock_guard lock(thread_mutex_);
    stopping_ = true;
  }
  thread_wakes_.notify_all();
  compacted_.notify_all();
  end_thread(thread_);
  // Without the lock nobody may touch the files: a compaction ends first, and so do large values.
  const std::lock_guard one_at_a_time(maintenance_mutex_);
  {
    std::unique_lock lock(append_mutex_);
    failed_ = true;  // from here on nobody writes
    // They notice with their next 8 MiB. Not for ever: one that ran out of memory has left its number behind.
    all_published_.wait_for(lock, std::chrono::seconds(10), [this] { return unpublished_.empty(); });
  }
  StoreStatus result = flush_failed_ ? flush_refused() : sync();
  const std::lock_guard lock(append_mutex_);
  if (result.ok()) {
    files_.step("close");
    IndexHeader& header = view_->index.header();
    ControlBlock& block = control_.block();
    block.active_file_id = active_ != nullptr ? active_->id : 0;
    block.active_used = active_ != nullptr ? active_->used : 0;
    block.active_records = active_ != nullptr ? active_->records : 0;
    block.last_sequence = header.applied_sequence;
    note_clock(reader_.now_ms(*view_));
    header.writer_pid = 0;
    // Full segments that are not sealed yet are read again: the index would be right, their footers missing.
    const bool all_sealed = full_.empty();
    header.is_clean = all_sealed ? 1 : 0;
    block.is_clean = 1;
    if (Errno e = control_.flush(); !e.ok()) result = failure(e, reader_.path() + "/CONTROL");
    if (header.keys < kKeepIndexFrom) remove_shared_file(directory_, view_->index_path);
  }
  lock_file_.reset();
  return result;
}

}  // namespace spillway::segstore

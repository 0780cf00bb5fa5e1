// backup.cc - a second store from the files of this one, while it is written to.
//
// What was written up to one moment, and nothing later: a write without one before it, or half of a batch,
// was never the store's content. Sealed segments never change, so a second name for them is a copy; what is
// still being filled, or was then, is copied up to the last record of the moment. When a segment goes away in
// the middle of it (compaction), it begins again.
#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/os/clock.h"
#include "libpool/segstore/manifest.h"
#include "libpool/segstore/scan.h"
#include "libpool/segstore/store_impl.h"

namespace spillway::segstore {
namespace {

// As a rule the first try does; small segments under a busy writer take some.
constexpr uint64_t kTryForMs = 30'000;

// Up to `bytes`, and the last `tail` bytes; the file has the length of the original.
StoreStatus copy_file(int from, int to_directory, const std::string& name, uint64_t bytes, uint64_t capacity,
                      uint64_t tail) {
  Result<os::Fd> to = os::open_in(to_directory, name.c_str(), os::OpenFor::kCreatingNew);
  if (!to) return failure(to.error(), name);
  if (Errno e = os::set_length(to->get(), capacity); !e.ok()) return failure(e, name);
  std::vector<char> buffer(kMiB);
  auto copy = [&](uint64_t at, uint64_t end) -> Errno {
    while (at < end) {
      const uint64_t n = std::min<uint64_t>(buffer.size(), end - at);
      if (Errno e = os::read_all(from, buffer.data(), n, at); !e.ok()) return e;
      if (Errno e = os::write_all(to->get(), buffer.data(), n, at); !e.ok()) return e;
      at += n;
    }
    return {};
  };
  Errno e = copy(0, bytes);
  if (e.ok() && bytes < capacity - tail) e = copy(capacity - tail, capacity);
  if (e.ok()) e = os::flush_all(to->get());
  return e.ok() ? StoreStatus() : failure(e, name);
}

// Where the records end that were written up to the moment, in a segment that is no compaction's.
uint64_t end_at(const SegmentBytes& segment, uint64_t used, uint64_t moment) {
  uint64_t end = used;
  scan_records(
      segment, used, -1,
      [&](const Record& record) {
        if (record.sequence > moment) end = std::min(end, record.offset);
      },
      [](uint64_t, uint64_t) {});
  return end;
}

// Of those a backup makes.
bool is_own(const std::string& name) { return id_in_name(name) != 0 || name.compare(0, 8, "MANIFEST") == 0; }

struct Names {
  std::vector<std::string> all;
};
std::vector<std::string> names_in(int directory) {
  Names names;
  (void)os::list_names(
      directory, [](void* to, const char* name) { static_cast<Names*>(to)->all.emplace_back(name); }, &names);
  return names.all;
}

// Whether `path`, which need not exist, is the open directory or below it.
bool is_inside(const std::string& path, int directory) {
  namespace fs = std::filesystem;
  std::error_code unknown;
  const fs::path outer = fs::read_symlink("/proc/self/fd/" + std::to_string(directory), unknown),
                 inner = fs::weakly_canonical(fs::absolute(path, unknown) / "", unknown);
  return !outer.empty() &&
         std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

}  // namespace

StoreStatus StoreImpl::backup_once(int to, bool& again) {
  again = true;
  StoreResult<View*> current = reader_->view();
  if (!current) return current.status();
  const Index& index = (*current)->index;
  const IndexHeader& header = index.header();
  const uint64_t retired = load(header.retired);
  const uint64_t moment = load(header.applied_sequence);
  Manifest manifest;
  manifest.store = header.store;
  manifest.hash_seed = header.hash_seed;
  for (uint32_t number = 0; number < load(header.rows_used); ++number) {
    const SegmentRow& row = index.row(number);
    const uint64_t id = load(row.file_id), flags = load(row.flags), used = load(row.used),
                   capacity = load(row.capacity);
    // Numbers come before the records that they are of: what was begun later has none that is as low.
    if (id == 0 || load(row.min_sequence) > moment) continue;
    const bool is_sealed = (flags & kSealed) != 0, is_whole = is_sealed && load(row.max_sequence) <= moment;
    if (is_sealed && !is_whole && (flags & kCompacted) != 0) return {};  // sealed and compacted meanwhile
    if (load(row.file_id) != id) continue;
    const std::string name = segment_name(id);
    if (is_whole) {
      // A large value is a file that nobody will change from its first moment on, before it is flushed.
      if (load(row.max_sequence) > load(header.durable_sequence)) {
        Result<os::Fd> file = os::open_in(reader_->directory(), name.c_str(), os::OpenFor::kReading);
        if (Errno e = file ? os::flush_data(file->get()) : file.error(); e == ENOENT)
          return {};
        else if (!e.ok())
          return failure(e, name);
      }
      const Errno e = os::link_in(reader_->directory(), name.c_str(), to, name.c_str());
      if (e == ENOENT) return {};
      if (e.ok()) {
        manifest.segments.insert(id);
        manifest.next_file_id = std::max(manifest.next_file_id, id + 1);
        continue;
      }
      if (!(e == EXDEV) && !(e == EPERM) && !(e == EMLINK) && !(e == EACCES) && !(e == EOPNOTSUPP))
        return failure(e, name);
    }
    Result<os::Fd> from = os::open_in(reader_->directory(), name.c_str(), os::OpenFor::kReading);
    if (!from && from.error() == ENOENT) return {};
    if (!from) return failure(from.error(), name);
    uint64_t end = capacity;
    if (!is_whole) {
      Errno error;
      Mapping* const mapping = reader_->pin_row(**current, number, error);
      if (mapping == nullptr && (error.ok() || error == ENOENT)) return {};
      if (mapping == nullptr) return failure(error, name);
      end = mapping->file_id() == id ? end_at(mapping->bytes(), used, moment) : 0;
      mapping->unpin();
      if (end == 0) return {};
    }
    const uint64_t tail = sizeof(SegmentHeader) + (is_whole ? sizeof(Footer) : 0);
    if (StoreStatus bad = copy_file(from->get(), to, name, end, capacity, tail); !bad.ok()) return bad;
    manifest.segments.insert(id);
    manifest.next_file_id = std::max(manifest.next_file_id, id + 1);
  }
  if (load(header.retired) != retired) return {};
  StoreResult<View*> now = reader_->view();
  if (!now) return now.status();
  if (*now != *current) return {};
  if (Errno e = write_manifest(Files::real(), to, manifest); !e.ok())
    return failure(e, "MANIFEST of the backup");
  again = false;
  return {};
}

StoreStatus StoreImpl::backup(const std::string& directory) {
  if (!is_open()) return closed();
  if (is_inside(directory, reader_->directory()))
    return {StoreCode::kInvalid, directory + ": a backup needs a directory outside the store"};
  Result<os::Fd> to = os::open_directory(directory.c_str(), true);
  if (!to) return failure(to.error(), directory);
  if (!names_in(to->get()).empty())
    return {StoreCode::kInvalid, directory + ": a backup needs a directory that is missing or empty"};
  StoreStatus bad;
  const uint64_t deadline = os::monotonic_ms() + kTryForMs;
  do {
    bool again = false;
    bad = backup_once(to->get(), again);
    if (bad.ok() && !again) return {};
    for (const std::string& name : names_in(to->get()))
      if (is_own(name)) (void)os::unlink_in(to->get(), name.c_str());
    if (!bad.ok()) return bad;
  } while (os::monotonic_ms() < deadline);
  return {StoreCode::kBusy, reader_->path() + ": segments come and go too quickly for a backup"};
}

}  // namespace spillway::segstore

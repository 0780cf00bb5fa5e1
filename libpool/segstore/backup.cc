// backup.cc - a second store from the files of this one, while it is written to.
//
// Sealed segments never change, so a second name for them is a copy. The active one is copied up to where its
// records end. When a segment goes away in the middle of it (compaction), it begins again.
#include <algorithm>
#include <cstring>
#include <filesystem>

#include "libpool/segstore/manifest.h"
#include "libpool/segstore/store_impl.h"

namespace spillway::segstore {
namespace {

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
  Manifest manifest;
  manifest.store = header.store;
  manifest.hash_seed = header.hash_seed;
  for (uint32_t number = 0; number < load(header.rows_used); ++number) {
    const SegmentRow& row = index.row(number);
    const uint64_t id = load(row.file_id), used = load(row.used), capacity = load(row.capacity);
    const bool sealed = (load(row.flags) & kSealed) != 0;
    if (id == 0 || load(row.file_id) != id) continue;
    const std::string name = segment_name(id);
    if (sealed) {
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
    const uint64_t tail = sizeof(SegmentHeader) + (sealed ? sizeof(Footer) : 0);
    if (StoreStatus bad = copy_file(from->get(), to, name, sealed ? capacity : used, capacity, tail);
        !bad.ok())
      return bad;
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
  for (int tries = 0; tries < 20; ++tries) {
    bool again = false;
    bad = backup_once(to->get(), again);
    if (bad.ok() && !again) return {};
    for (const std::string& name : names_in(to->get())) (void)os::unlink_in(to->get(), name.c_str());
    if (!bad.ok()) return bad;
  }
  return {StoreCode::kBusy, reader_->path() + ": segments come and go too quickly for a backup"};
}

}  // namespace spillway::segstore

#include "pooldaemon/store/small_store.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "pooldaemon/store/small_record.h"
#include "pooldaemon/store/store_folder.h"

namespace spillway::pool {
namespace {

// Small, as the segment that is being filled and the reserve count as used.
constexpr uint64_t kStoreSegmentBytes = 16 * kMiB;

std::string_view key_of(const uint64_t& id) { return {reinterpret_cast<const char*>(&id), sizeof id}; }

}  // namespace

Failure failure_of(const StoreStatus& status) {
  switch (status.code()) {
    case StoreCode::kOk:
      return {};
    case StoreCode::kNoSpace:
    case StoreCode::kFull:
      return {SPILLWAY_DISK_FULL, status.message()};
    case StoreCode::kCorrupt:
      return {SPILLWAY_CORRUPT, status.message()};
    default:
      return {SPILLWAY_IO, status.message()};
  }
}

SmallStore::SmallStore(Disk& disk, SpillDirectory& directory, AccessClass access)
    : directory_(directory),
      path_(fmt::format("{}/{}/{}", directory.path, kFolder, folder_name(access))),
      files_(disk, directory) {}

std::string SmallStore::folder_name(AccessClass access) {
  return fmt::format("{}-{}-{:04o}", access.uid, access.gid, access.read_mode);
}

std::optional<AccessClass> SmallStore::parse_folder_name(const std::string& name) {
  AccessClass access;
  const char *at = name.data(), *const end = at + name.size();
  const auto number = [&](auto& to, int base, char before) {
    if (before != 0 && (at == end || *at++ != before)) return false;
    const auto [next, error] = std::from_chars(at, end, to, base);
    at = next;
    return error == std::errc();
  };
  if (!number(access.uid, 10, 0) || !number(access.gid, 10, '-') || !number(access.read_mode, 8, '-') ||
      folder_name(access) != name)
    return std::nullopt;
  return access;
}

// Also when a flush was refused: what is in the store has then to be written again before anything else.
StoreStatus SmallStore::make_writable() {
  if (is_writer_ && !StoreAccess::has_failed(store_)) return settle_owed();
  const uint64_t began = os::monotonic_ms();
  // Opening a large store takes a while; nobody else's writes shall wait for a broken one all the time.
  if (began < not_before_ms_ && owed_.empty()) return refused_;
  for (const std::string& folder : {directory_.path + "/" + kFolder, path_})
    if (Errno e = os::make_private_directory(folder.c_str()); !e.ok())
      return {e == ENOSPC || e == EDQUOT ? StoreCode::kNoSpace : StoreCode::kIo,
              folder + ": " + strerror(e.code()), e.code()};
  {
    const std::unique_lock lock(mutex_);
    is_writer_ = false;
    (void)store_.close();
    store_ = spillway::Store();
    StoreOptions options;
    options.durability = Durability::kAsync;
    options.segment_bytes = kStoreSegmentBytes;
    files_.recount(path_);
    StoreResult<spillway::Store> opened = StoreAccess::open(path_, options, files_);
    files_.recount(path_);  // what it found of no use is gone
    if (!opened) {
      refused_ = opened.status();
      const uint64_t now = os::monotonic_ms();
      not_before_ms_ = now + 10 * (now - began);
      if (StoreResult<spillway::Store> reader = spillway::Store::open_reader(path_))
        store_ = std::move(*reader);
      return refused_;
    }
    store_ = std::move(*opened);
    is_writer_ = true;
  }
  return settle_owed();
}

StoreStatus SmallStore::settle_owed() {
  while (!owed_.empty()) {
    const auto [what, id] = *owed_.begin();
    const StoreStatus status = what == Owed::kRemove
                                   ? store_.remove(key_of(id)).status()
                                   : edit_now(id, [](ManifestEntry& entry) { entry.name.clear(); });
    // What is damaged is nobody's any more.
    if (!status.ok() && status.code() != StoreCode::kCorrupt) return status;
    owed_.erase(owed_.begin());
    may_compact_ = true;
  }
  return {};
}

StoreStatus SmallStore::put(const ManifestEntry& entry, std::string_view data) {
  if (StoreStatus bad = make_writable(); !bad.ok()) return bad;
  return put_now(entry, data);
}

StoreStatus SmallStore::put_now(const ManifestEntry& entry, std::string_view data) {
  write_small_record(entry, data, value_);
  PutOptions options;
  options.alignment = kSmallRecordAlignment;
  StoreStatus status = store_.put(key_of(entry.id), value_, options).status();
  if (status.code() != StoreCode::kNoSpace || !may_compact_) return status;
  // The store's own compactor is in no hurry where little is dead; a full disk is.
  if (StoreResult<StoreState> state = store_.state(); state && state->dead_bytes >= value_.size()) {
    (void)store_.compact();  // what counts is whether there is room now
    status = store_.put(key_of(entry.id), value_, options).status();
  }
  may_compact_ = status.code() != StoreCode::kNoSpace;
  return status;
}

StoreStatus SmallStore::edit(uint64_t id, const std::function<void(ManifestEntry&)>& change) {
  if (StoreStatus bad = make_writable(); !bad.ok()) return bad;
  return edit_now(id, change);
}

StoreStatus SmallStore::edit_now(uint64_t id, const std::function<void(ManifestEntry&)>& change) {
  StoreResult<Value> value = store_.get(key_of(id));
  if (!value) return value.status();
  if (!value->found()) return {};  // it could not be written, or is gone
  ManifestEntry entry;
  std::string_view data;
  if (!read_small_record(value->view(), entry, data))
    return {StoreCode::kCorrupt, fmt::format("{}: the record of object {:x} is none", path_, id)};
  change(entry);
  return put_now(entry, data);
}

void SmallStore::remove(uint64_t id) {
  owed_.erase({Owed::kUnname, id});
  owed_.insert({Owed::kRemove, id});
  settle();
}

void SmallStore::unname(uint64_t id) {
  owed_.insert({Owed::kUnname, id});
  settle();
}

void SmallStore::settle() { (void)make_writable(); }

void SmallStore::remove_files() {
  const std::unique_lock lock(mutex_);
  is_writer_ = false;
  not_before_ms_ = 0;
  if (remove_store(store_, path_).ok()) owed_.clear();
  files_.recount(path_);
}

StoreStatus SmallStore::sync() {
  const std::shared_lock lock(mutex_);
  return store_.sync();
}

StoreStatus SmallStore::read(uint64_t id, char* to, uint64_t bytes) const {
  const std::shared_lock lock(mutex_);
  StoreResult<Value> value = store_.get(key_of(id));
  if (!value) return value.status();
  if (!value->found() || value->size() < bytes)
    return {StoreCode::kCorrupt, fmt::format("{}: object {:x} is missing", path_, id)};
  memcpy(to, value->data(), bytes);
  return {};
}

StoreResult<FilePlace> SmallStore::find(uint64_t id, uint64_t bytes) const {
  const std::shared_lock lock(mutex_);
  constexpr int kTries = 100;  // the compactor may take the segment away before it is open
  for (int tries = 0;; ++tries) {
    StoreResult<Value> value = store_.get(key_of(id));
    if (!value) return value.status();
    if (!value->found() || value->size() < bytes)
      return StoreStatus(StoreCode::kCorrupt, fmt::format("{}: object {:x} is missing", path_, id));
    const ValuePlace place = place_of(*value);
    const std::string file = path_ + "/" + place.file;
    Result<os::Fd> fd = os::open_file(file.c_str(), os::Open::kRead);
    if (fd) return FilePlace{std::make_shared<os::Fd>(std::move(*fd)), place.offset};
    if (fd.error() != ENOENT || tries == kTries)
      return StoreStatus(StoreCode::kIo, file + ": " + strerror(fd.error().code()), fd.error().code());
  }
}

StoreStatus SmallStore::adopt(const std::function<void(ManifestEntry&)>& each,
                              const std::function<void(const std::string&)>& damaged) {
  if (StoreStatus bad = make_writable(); !bad.ok()) return bad;
  StoreResult<StoreState> state = store_.state();
  if (!state) return state.status();
  for (const SegmentStatus& segment : state->segments)
    if (segment.is_damaged)
      damaged(
          fmt::format("{}/{}: part of it cannot be read, and what was there is lost", path_, segment.name));
  StoreResult<Snapshot> all = store_.snapshot();
  if (!all) return all.status();
  return all->for_each(
      [&](std::string_view key, const Value& value) {
        ManifestEntry entry;
        std::string_view data;
        if (key.size() == sizeof entry.id && read_small_record(value.view(), entry, data) &&
            key == key_of(entry.id))
          each(entry);
        else
          damaged(path_ + ": a record that is no object");
        return true;
      },
      [&](const StoreStatus& bad) { damaged(bad.message()); });
}

}  // namespace spillway::pool

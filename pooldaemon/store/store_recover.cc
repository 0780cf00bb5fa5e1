// store_recover.cc - what a new daemon makes of what it finds.
#include <algorithm>
#include <cstring>

#include "base/os/clock.h"
#include "pooldaemon/store/directory_identity.h"
#include "pooldaemon/store/store.h"
#include "pooldaemon/store/store_folder.h"

namespace spillway::pool {

std::string Store::recover() {
  // 1. What each directory says of itself, and the one manifest.
  PoolOnDisk pool;
  if (std::string why = find_pool(disk_.directories(), pool); !why.empty()) return why;
  const bool damaged = pool.manifest_is_missing || pool.contents.damaged_bytes > 0;
  if (damaged) {
    const std::string kept = pool.manifest_is_missing ? "" : keep_damaged(pool.manifest_path);
    log_line(fmt::format("manifest_damaged path={} bytes={}{}", quoted(pool.manifest_path),
                         pool.contents.damaged_bytes, kept.empty() ? "" : " kept_as=" + quoted(kept)));
  }
  // 2. What it says is there.
  std::vector<ManifestEntry>& entries = pool.contents.entries;
  // A record that it has gone may be what was damaged.
  if (damaged)
    std::erase_if(entries, [](const ManifestEntry& e) {
      return e.pack == 0 && !e.users && !e.path.empty() && os::kind_of(e.path.c_str()) == os::Kind::kNothing;
    });
  disk_.keep_stores_in(pool.manifest_path.substr(0, pool.manifest_path.rfind('/')));
  std::vector<std::string> converted;
  if (std::string why = convert_packs(entries, converted); !why.empty()) return why;
  if (std::string why = manifest_.begin(pool.manifest_path, pool.number, entries); !why.empty()) return why;
  for (const std::string& pack : converted) (void)os::remove_file(pack.c_str()).ok();
  for (ManifestEntry& entry : entries) adopt(entry, nullptr);
  manifest_entries_ = entries.size();
  if (!absent_.empty())
    log_line(fmt::format("absent objects={} first_directory={}", absent_.size(),
                         quoted(absent_.front().directory)));
  // 3. What the stores of small objects say of themselves.
  if (std::string why = adopt_small_stores(); !why.empty()) return why;
  // 4. And what else is there.
  std::set<std::string> known;
  for (const Object* object : table_)
    if (object != nullptr && object->disk) known.insert(file_of(*object));
  for (size_t i = 0; i < disk_.directories().size(); ++i)
    look_at_leftovers(*disk_.directories()[i], known,
                      {.may_go = pool.belongs[i] && !damaged,
                       .may_come = pool.belongs[i] && damaged,
                       .removed = &pool.contents.removed});
  for (uint32_t i = 0; i < table_.size(); ++i)
    if (table_[i] == nullptr && !taken_indices_.contains(i)) free_indices_.push_back(i);
  // 5. Only now, when the manifest is written that has all of them.
  if (std::string why = mark_directories(disk_.directories(), pool); !why.empty()) return why;
  await_claims();
  return "";
}

void Store::await_claims() {
  if (object_count_ == 0) return;
  timers_.add(os::monotonic_ms() + config_.orphan_grace_s * 1000, [this] {
    for (size_t i = 0; i < table_.size(); ++i) {
      Object* const object = table_[i];
      if (object == nullptr || !object->recovered) continue;
      object->recovered = false;
      maybe_die(*object);
    }
  });
}

std::string Store::adopt_small_stores() {
  if (!disk_.can_have_stores()) return "";
  SpillDirectory& directory = *disk_.for_stores();
  for (const std::string& name : names_in(directory.path + "/" + SmallStore::kFolder))
    if (const std::optional<AccessClass> access = SmallStore::parse_folder_name(name))
      (void)small_store(directory, *access);
  for (const auto& [where, store] : small_stores_) {
    const StoreStatus status =
        store->adopt([this, small = store.get()](ManifestEntry& entry) { adopt(entry, small); },
                     [](const std::string& what) { log_line("damaged_object reason=" + quoted(what)); });
    if (!status.ok()) return status.message();
    remove_when_empty(*store);
  }
  return "";
}

// What daemons before the stores of small objects kept in packs: many objects one after the other in a file.
// `converted`: packs of which everything is in the store.
std::string Store::convert_packs(std::vector<ManifestEntry>& entries, std::vector<std::string>& converted) {
  std::set<SmallStore*> stores;
  std::set<std::string> packs, damaged;
  std::vector<ManifestEntry> others;
  for (ManifestEntry& entry : entries) {
    const bool is_here = std::any_of(disk_.directories().begin(), disk_.directories().end(),
                                     [&](const auto& d) { return d->path == entry.directory; });
    if (entry.pack == 0 || !is_here) {
      others.push_back(std::move(entry));
      continue;
    }
    const std::string path = fmt::format("{}/pack-{:08x}", entry.directory, entry.pack);
    if (!disk_.can_have_stores())
      return path + ": what an earlier version left there is for a store on a disk of this machine";
    packs.insert(path);
    std::string bytes(std::min(entry.bytes, wire::kLargeBytes), '\0');
    Result<os::Fd> file = os::open_file(path.c_str(), os::Open::kRead);
    const Errno e = file ? os::read_all(file->get(), bytes.data(), bytes.size(), entry.offset) : file.error();
    if (!e.ok() || format::checksum_of(bytes) != entry.checksum) {
      damaged.insert(path);
      log_line(fmt::format("damaged_object name={} reason={}", quoted(entry.name),
                           quoted(path + ": " + (e.ok() ? "its checksum differs" : strerror(e.code())))));
      continue;
    }
    SmallStore& store =
        small_store(*disk_.for_stores(), {entry.uid, entry.gid, static_cast<uint16_t>(entry.mode & 0444)});
    if (StoreStatus bad = store.put(entry, bytes); !bad.ok()) return bad.message();
    stores.insert(&store);
  }
  entries = std::move(others);
  for (SmallStore* store : stores)
    if (StoreStatus bad = store->sync(); !bad.ok()) return bad.message();
  std::set_difference(packs.begin(), packs.end(), damaged.begin(), damaged.end(),
                      std::back_inserter(converted));
  return "";
}

// `small`: where it is; null: in a file of its own.
void Store::adopt(ManifestEntry& e, SmallStore* small) {
  const uint32_t index = static_cast<uint32_t>(e.id);
  if (index > 100'000'000 || e.key == 0) return;  // no id of ours
  SpillDirectory* directory = small ? &small->directory() : nullptr;
  for (const auto& d : disk_.directories())
    if (d->path == e.directory) directory = d.get();
  if (!e.users && directory == nullptr) {
    last_version_ = std::max(last_version_, e.version);
    taken_indices_.insert(index);
    absent_.push_back(e);
    return;
  }
  while (table_.size() <= index) {
    table_.push_back(nullptr);
    generations_.push_back(0);
  }
  if (table_[index] != nullptr) {
    // A kill came between its file's record and the end of this one, or before the end of an older object.
    if (small != nullptr && e.id <= table_[index]->id)
      settle_with(*small, [id = e.id](SmallStore& s) { s.remove(id); });
    return;
  }
  auto copy = make_ref<DiskCopy>(*this);
  copy->id = e.id;
  copy->directory = e.users ? nullptr : directory;
  copy->small = small;
  copy->path = e.path;
  copy->offset = e.offset, copy->stored_bytes = e.stored_bytes, copy->checksum = e.checksum;
  copy->filters = e.filters;
  copy->users = e.users, copy->raw = e.raw;
  copy->in_manifest = small == nullptr;
  copy->listed = true;
  auto object = std::make_unique<Object>();
  if (small != nullptr) {
    ++small->copies;
  } else if (copy->directory != nullptr) {
    copy->charge = e.charge;
    disk_.charge(*copy->directory, e.charge);
  }
  object->id = e.id, object->key = e.key, object->bytes = e.bytes, object->version = e.version;
  object->uid = e.uid, object->gid = e.gid, object->created_s = e.created_s, object->mode = e.mode;
  object->hint = static_cast<wire::Hint>(std::min<uint8_t>(e.hint, 3));
  object->durable = e.durable, object->retained = e.retained;
  if (!e.tag.empty()) object->more().tag = e.tag;
  if (e.kept_resident > 0) object->more().kept_resident = e.kept_resident;
  if (!e.device_tags.empty()) object->more().device_tags = e.device_tags;
  if (!e.wanted_filters.empty()) object->more().filters = e.wanted_filters;
  object->disk = std::move(copy);
  object->state = wire::Residency::kSpilled;
  object->name = e.name;
  object->recovered = e.name.empty();
  object->used_ns = os::clock_ns();
  last_version_ = std::max(last_version_, e.version);
  generations_[index] = static_cast<uint32_t>(e.id >> 32);
  ++object_count_;
  Object* const raw = table_[index] = object.release();
  if (raw->name.empty()) return;
  // Two of one name: the newer; the kill came between them.
  const auto found = names_.find(raw);
  if (found == names_.end()) {
    names_.insert(raw);
    return;
  }
  Object* older = *found;
  if (older->version > raw->version) {
    older = raw;
  } else {
    names_.erase(found);
    names_.insert(raw);
  }
  older->name.clear();
  older->recovered = true;
  // Once and for all: the newer may be erased, and then the older must not be found again.
  forget_recorded_name(*older);
}

}  // namespace spillway::pool

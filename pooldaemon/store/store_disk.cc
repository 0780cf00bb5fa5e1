// store_disk.cc - what objects have on disk: room, the record in the manifest, and giving both back.
#include <cstring>

#include "pooldaemon/store/store.h"

namespace spillway::pool {

void Store::journal(std::function<void()> call, Done done) {
  journal_work(std::move(call), done ? std::function<void()>([done] { done({}); }) : nullptr);
}

void Store::journal_work(Workers::Call call, Workers::Call done) {
  if (!journal_) return;
  ++journal_queued_;
  journal_->run(
      [this, call = std::move(call)] {
        // What a disk that failed did not take note of goes before everything else.
        for (auto store = owing_.begin(); store != owing_.end();) {
          (*store)->settle();
          store = (*store)->owes() ? std::next(store) : owing_.erase(store);
        }
        call();
      },
      [this, done = std::move(done)] {
        --journal_queued_;
        if (done) done();
      });
}

SpillDirectory* Store::reserve_disk(uint64_t bytes, Failure& failure) {
  SpillDirectory* directory = disk_.reserve(bytes);
  if (directory == nullptr && make_disk_room(bytes)) directory = disk_.reserve(bytes);
  if (directory == nullptr) failure = {SPILLWAY_DISK_FULL, disk_.why_full(bytes)};
  return directory;
}

// The least recently used first. Room in a store of small objects comes back when that compacts itself.
bool Store::make_disk_room(uint64_t bytes) {
  bool gave = false;
  if (keeps_copies_) return false;
  uint64_t later = 0;
  policy_.each_victim([&](Object& object) {
    if (!object.disk || object.durable || object.retained || object.disk->users || object.disk.shared())
      return true;
    if (object.disk->small) later += object.bytes;
    object.state = wire::Residency::kResident;
    let_go_of_copy(object);
    gave = true;
    return later < bytes && disk_.used() + bytes > disk_.limit();
  });
  return gave;
}

ManifestEntry Store::facts_of(const Object& o) const {
  ManifestEntry e;
  e.id = o.id, e.key = o.key, e.bytes = o.bytes, e.version = o.version;
  e.uid = o.uid, e.gid = o.gid, e.created_s = o.created_s, e.mode = o.mode;
  e.hint = static_cast<uint8_t>(o.hint);
  e.durable = o.durable, e.retained = o.retained;
  e.name = o.name.str();
  if (o.details) {
    e.tag = o.details->tag, e.wanted_filters = o.details->filters;
    e.device_tags = o.details->device_tags;
    e.kept_resident = o.details->kept_resident;
  }
  return e;
}

ManifestEntry Store::entry_of(const Object& o, const DiskCopy& copy) const {
  ManifestEntry e = facts_of(o);
  e.users = copy.users, e.raw = copy.raw;
  e.path = copy.path;
  if (copy.directory) e.directory = copy.directory->path;
  e.offset = copy.offset, e.stored_bytes = copy.stored_bytes, e.charge = copy.charge,
  e.checksum = copy.checksum;
  e.filters = copy.filters;
  return e;
}

void Store::list_in_manifest(Object& object, Ref<DiskCopy> copy, bool sync, Done done) {
  copy->in_manifest = true;
  object.listing = true;
  ++manifest_entries_;
  auto error = std::make_shared<Errno>();
  journal_work([this, entry = entry_of(object, *copy), sync, error] { *error = manifest_.add(entry, sync); },
               [this, id = object.id, copy, error, done] {
                 if (Object* const o = object_by(id)) o->listing = false;
                 Failure failure;
                 copy->listed = error->ok();
                 if (!error->ok()) {
                   copy->in_manifest = false;
                   failure = {*error == ENOSPC ? SPILLWAY_DISK_FULL : SPILLWAY_IO,
                              fmt::format("{}: {}", manifest_.path(), strerror(error->code()))};
                 }
                 done(failure);
               });
}

// What its record says of it is not so any more.
void Store::list_again(Object& object, Done done) {
  if (object.shown) show(object);
  if (SmallStore* const small = small_store_of(object))
    return journal(
        [small, facts = facts_of(object)] {
          (void)small->edit(facts.id, [&](ManifestEntry& entry) { entry = facts; });
        },
        std::move(done));
  const bool listed = object.disk && (object.disk->in_manifest || object.listing);
  if (!listed) return done({});
  ++manifest_entries_;
  journal([this, entry = entry_of(object, *object.disk)] { (void)manifest_.add(entry, false).ok(); },
          std::move(done));
}

// An earlier version that is on disk must not be found under the name again.
void Store::forget_recorded_name(Object& object) {
  const uint64_t id = object.id;
  if (SmallStore* const small = small_store_of(object))
    settle_with(*small, [id](SmallStore& s) { s.unname(id); });
  else if (object.listing || (object.disk && object.disk->in_manifest))
    journal([this, id] { (void)manifest_.unname(id).ok(); });
}

// Once most of what it says is outdated. Not while a write ends: its record would be queued before the
// rewrite, and not be in it.
void Store::compact_manifest() {
  constexpr uint64_t kFewEntries = 4096, kSpillsBetween = 256;  // a look at all objects each time
  if (manifest_entries_ < kFewEntries || manifest_entries_ < 4 * object_count_ ||
      counters_.spills % kSpillsBetween != 0)
    return;
  auto entries = std::make_shared<std::vector<ManifestEntry>>(absent_);
  for (const Object* object : table_) {
    if (object == nullptr) continue;
    if (object->spilling || object->listing) return;
    if (object->disk && object->disk->in_manifest) entries->push_back(entry_of(*object, *object->disk));
  }
  manifest_entries_ = entries->size();
  journal([this, entries] { (void)manifest_.rewrite(*entries).ok(); });
}

void Store::let_go_of_copy(Object& object) {
  if (object.listing) journal([this, id = object.id] { (void)manifest_.remove(id).ok(); });
  object.listing = false;
  if (!object.disk) return;
  if (object.disk->in_manifest) {
    object.disk->in_manifest = false;
    journal([this, id = object.id] { (void)manifest_.remove(id).ok(); });
  }
  object.disk.reset();
}

void Store::give_back(DiskCopy& copy) {
  if (closing_) return;
  if (copy.directory != nullptr && copy.listed) no_spill_until_.clear();  // what did not fit may fit now
  if (copy.in_manifest) {
    copy.in_manifest = false;
    journal([this, id = copy.id] { (void)manifest_.remove(id).ok(); });
  }
  if (SmallStore* const small = copy.small) {
    // Its record may be that of a later copy by now.
    const Object* const object = object_by(copy.id);
    const bool is_last = object == nullptr || small_store_of(*object) != small || object->disk.get() == &copy;
    if (copy.listed && is_last) settle_with(*small, [id = copy.id](SmallStore& s) { s.remove(id); });
    --small->copies;
    return remove_when_empty(*small);
  }
  if (copy.directory != nullptr) disk_.release(*copy.directory, copy.charge);
  if (!copy.users && copy.forget && !copy.path.empty())
    journal([path = copy.path] { (void)os::remove_file(path.c_str()).ok(); });
}

}  // namespace spillway::pool

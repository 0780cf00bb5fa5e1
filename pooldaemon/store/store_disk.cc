// store_disk.cc - writing objects, the manifest, and what a new daemon makes of it.
#include <algorithm>
#include <cctype>
#include <cstring>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "libpool/format/filters.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {
namespace {

constexpr uint64_t kPackAlignment = 4096;  // an object in a pack can be mapped, and its room given back
constexpr uint64_t kSpillAgainMs = 1000;

std::string plain_name(const std::string& name) {
  std::string plain;
  for (unsigned char c : name)
    plain += isalnum(c) || c == '.' || c == '-' || c == '_' ? static_cast<char>(c) : '_';
  return plain.size() > 100 ? plain.substr(0, 100) : plain;
}

}  // namespace

void Store::journal(std::function<void()> call, Done done) {
  journal_work(std::move(call), done ? std::function<void()>([done] { done({}); }) : nullptr);
}

SpillDirectory* Store::reserve_disk(uint64_t bytes, Failure& failure) {
  std::string why;
  if (SpillDirectory* const directory = disk_.reserve(bytes, why)) return directory;
  // Second copies of what is in memory give way, the least recently used first.
  bool gave = false;
  policy_.each_victim([&](Object& object) {
    if (!object.disk || object.durable || object.retained || object.disk->users || object.disk.shared())
      return true;
    object.state = wire::Residency::kResident;
    let_go_of_copy(object);
    gave = true;
    return disk_.used() + bytes > disk_.limit();
  });
  if (gave)
    if (SpillDirectory* const directory = disk_.reserve(bytes, why)) return directory;
  failure = {SPILLWAY_DISK_FULL, why};
  return nullptr;
}

// --- writing
// --------------------------------------------------------------------------------------------------------

void Store::write_own_file(Object& object, ToDisk how, Done done) {
  const uint64_t id = object.id;
  if (done) spill_waiters_[id].push_back(std::move(done));
  if (object.spilling) return;
  object.spilling = true;
  if (object.memory) object.state = wire::Residency::kSpilling;
  const std::string filter_text = how.other_filters ? how.filters
                                  : object.details  ? object.details->filters
                                                    : "";
  auto header = std::make_shared<format::ObjectHeader>();
  header->id = id;
  if (object.details) header->tag = object.details->tag;
  header->filters = format::split_filters(filter_text);
  std::erase(header->filters, "none");

  auto copy = make_ref<DiskCopy>(*this);
  copy->id = id;
  copy->offset = format::kDataOffset;
  copy->filters = header->filters;
  Failure failure;
  // What a filter cannot shrink it makes a little larger.
  copy->charge =
      object.bytes + format::kDataOffset + (header->filters.empty() ? 0 : object.bytes / 128 + kPageBytes);
  copy->directory = reserve_disk(copy->charge, failure);
  if (copy->directory == nullptr) {
    copy->charge = 0;
    return spilled(id, failure, nullptr);
  }
  copy->path = how.path.empty() ? Disk::object_path(*copy->directory, id) : how.path;
  auto result = std::make_shared<format::FileError>();
  work(
      [memory = object.memory, bytes = object.bytes, copy, header, result, how] {
        const auto fail = [&](Errno e) { *result = {e, strerror(e.code())}; };
        const std::string next = copy->path + ".tmp";
        Result<os::Fd> file = os::open_file(next.c_str(), os::Open::kReplace);
        if (!file) return fail(file.error());
        os::Mapping mapping;
        std::string_view text;
        if (memory && memory->slab != nullptr) {
          text = {Slabs::data(memory->place()), bytes};
        } else if (memory) {
          Result<os::Mapping> mapped = os::Mapping::read_only(memory->fd().get(), 0, bytes);
          if (!mapped) return fail(mapped.error());
          mapping = std::move(*mapped);
          text = {mapping.data(), bytes};
        }
        *result = format::write_object(*file, text, *header);
        if (!result->bad() && how.sync)
          if (Errno e = os::sync_data(file->get()); !e.ok()) fail(e);
        if (!result->bad()) {
          const bool replace = how.path.empty() || how.overwrite;
          const Errno e = replace ? os::rename_file(next.c_str(), copy->path.c_str())
                                  : os::rename_new(next.c_str(), copy->path.c_str());
          if (!e.ok()) fail(e);
        }
        if (result->bad()) {
          (void)os::remove_file(next.c_str()).ok();
        } else if (how.sync) {
          (void)os::sync_directory(copy->path.substr(0, copy->path.rfind('/')).c_str()).ok();
        }
      },
      // The memory is let go of on this thread, if nobody else holds it.
      [this, id, copy, header, result, how, memory = object.memory] {
        if (result->bad()) {
          copy->forget = how.path.empty();  // a file of that name that was there stays
          const spillway_status status = result->code == ENOSPC || result->code == EDQUOT ? SPILLWAY_DISK_FULL
                                         : result->code == EEXIST                         ? SPILLWAY_EXISTS
                                                                                          : SPILLWAY_IO;
          return spilled(id, {status, fmt::format("{}: {}", copy->path, result->what)}, nullptr);
        }
        copy->stored_bytes = header->stored_bytes;
        copy->checksum = header->checksum;
        copy->verified = true;  // it was computed from what is in memory
        const uint64_t charge = header->stored_bytes + format::kDataOffset;
        copy->directory->used_bytes -= copy->charge - std::min(copy->charge, charge);
        copy->charge = std::min(copy->charge, charge);
        Object* const o = object_by(id);
        if (o == nullptr) return;  // erased meanwhile: the copy goes with this call
        list_in_manifest(*o, copy, how.sync, [this, id, copy](Failure f) { spilled(id, f, copy); });
      });
}

// Several small objects with one write.
void Store::write_pack(std::vector<Object*> objects) {
  struct Item {
    uint64_t id, bytes;
    Ref<Memory> memory;
    Ref<DiskCopy> copy;
  };
  auto items = std::make_shared<std::vector<Item>>();
  Failure failure;
  for (Object* object : objects) {
    const uint64_t room = round_up(object->bytes, kPackAlignment);
    SpillDirectory* const directory = reserve_disk(room, failure);
    Result<Pack*> pack = directory ? disk_.pack_for(*directory) : Result<Pack*>(Errno(ENOSPC));
    if (!pack) {
      if (directory != nullptr) {
        disk_.release(*directory, room);
        failure = {SPILLWAY_IO, fmt::format("{}: {}", directory->path, strerror(pack.error().code()))};
      }
      spilled(object->id, failure, nullptr);
      continue;
    }
    auto copy = make_ref<DiskCopy>(*this);
    copy->id = object->id;
    copy->directory = directory;
    copy->pack = *pack;
    copy->charge = room;
    copy->offset = (*pack)->end;
    copy->stored_bytes = object->bytes;
    (*pack)->end += room;
    ++(*pack)->live_objects;
    items->push_back({object->id, object->bytes, object->memory, copy});
  }
  if (items->empty()) return;
  auto error = std::make_shared<Errno>();
  work(
      [items, error] {
        std::string text;
        uint64_t from = 0;
        for (size_t i = 0; i < items->size() && error->ok(); ++i) {
          Item& item = (*items)[i];
          const std::string_view bytes(Slabs::data(item.memory->place()), item.bytes);
          item.copy->checksum = format::checksum_of(bytes);
          if (text.empty()) from = item.copy->offset;
          text.append(bytes);
          text.resize(round_up(text.size(), kPackAlignment));
          const bool more = i + 1 < items->size() && (*items)[i + 1].copy->pack == item.copy->pack &&
                            (*items)[i + 1].copy->offset == from + text.size() && text.size() < 4 * kMiB;
          if (more) continue;
          *error = os::write_all(item.copy->pack->fd.get(), text.data(), text.size(), from);
          text.clear();
        }
      },
      [this, items, error] {
        for (Item& item : *items) {
          Object* const o = object_by(item.id);
          if (o == nullptr) continue;
          if (!error->ok()) {
            spilled(item.id,
                    {*error == ENOSPC ? SPILLWAY_DISK_FULL : SPILLWAY_IO,
                     fmt::format("{}: {}", Disk::pack_path(*item.copy->directory, item.copy->pack->number),
                                 strerror(error->code()))},
                    nullptr);
            continue;
          }
          item.copy->verified = true;
          list_in_manifest(*o, item.copy, false,
                           [this, id = item.id, copy = item.copy](Failure f) { spilled(id, f, copy); });
        }
      });
}

// A write came to an end, one way or the other.
void Store::spilled(uint64_t id, Failure failure, Ref<DiskCopy> copy) {
  Object* const object = object_by(id);
  if (object == nullptr) return;
  object->spilling = false;
  const bool moving = object->moving;
  object->moving = false;
  if (moving && object->memory) departing_bytes_ -= object->memory->charge;
  if (failure.bad()) {
    ++counters_.spill_failures;
    last_spill_error_ = failure.what;
    last_spill_status_ = failure.status;
    last_spill_error_ms_ = os::monotonic_ms();
    no_spill_until_[id] = os::monotonic_ms() + kSpillAgainMs;
    if (object->memory) object->state = object->disk ? wire::Residency::kBoth : wire::Residency::kResident;
  } else {
    ++counters_.spills;
    counters_.spilled_bytes += object->bytes;
    if (object->disk && object->disk != copy) {
      object->disk->in_manifest = false;  // the new record took its place
      object->disk.reset();
    }
    object->disk = copy;
    if (object->memory || object->bytes == 0) object->state = wire::Residency::kBoth;
    if (moving && drop_memory(*object)) object->state = wire::Residency::kSpilled;
  }
  if (object->memory && !object->listed && object->state != wire::Residency::kCreating)
    policy_.insert(*object);
  auto waiters = spill_waiters_.extract(id);
  if (!waiters.empty())
    for (Done& done : waiters.mapped()) done(failure);
  compact_manifest();
  pump_later();
}

ManifestEntry Store::entry_of(const Object& o, const DiskCopy& copy) const {
  ManifestEntry e;
  e.id = o.id, e.key = o.key, e.bytes = o.bytes, e.version = o.version;
  e.uid = o.uid, e.gid = o.gid, e.created_s = o.created_s, e.mode = o.mode;
  e.hint = static_cast<uint8_t>(o.hint);
  e.durable = o.durable, e.retained = o.retained, e.users = copy.users, e.raw = copy.raw;
  e.name = o.name.str();
  if (o.details) e.tag = o.details->tag, e.wanted_filters = o.details->filters;
  e.path = copy.path;
  if (copy.directory) e.directory = copy.directory->path;
  if (copy.pack) e.pack = copy.pack->number;
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
                 if (!error->ok()) {
                   copy->in_manifest = false;
                   failure = {*error == ENOSPC ? SPILLWAY_DISK_FULL : SPILLWAY_IO,
                              fmt::format("{}/manifest: {}", disk_.first_path(), strerror(error->code()))};
                 }
                 done(failure);
               });
}

// Once most of what it says is outdated. Not while a write ends: its record would be queued before the
// rewrite, and not be in it.
void Store::compact_manifest() {
  constexpr uint64_t kFewEntries = 4096, kSpillsBetween = 256;  // a look at all objects each time
  if (manifest_entries_ < kFewEntries || manifest_entries_ < 4 * object_count_ ||
      counters_.spills % kSpillsBetween != 0)
    return;
  auto entries = std::make_shared<std::vector<ManifestEntry>>();
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
  if (copy.directory != nullptr) no_spill_until_.clear();  // what did not fit may fit now
  if (copy.in_manifest) {
    copy.in_manifest = false;
    journal([this, id = copy.id] { (void)manifest_.remove(id).ok(); });
  }
  if (copy.directory != nullptr) disk_.release(*copy.directory, copy.charge);
  if (copy.pack != nullptr) {
    // After the record that it is gone, and not here: the file system may be busy with others' writes.
    Pack& pack = *copy.pack;
    if (--pack.live_objects == 0) {
      journal([empty = std::shared_ptr<Pack>(disk_.take_out(pack))] {
        (void)os::remove_file(Disk::pack_path(*empty->directory, empty->number).c_str()).ok();
      });
    } else {
      journal([fd = pack.fd.get(), at = copy.offset, bytes = copy.charge] { os::give_back(fd, at, bytes); });
    }
    return;
  }
  if (!copy.users && copy.forget && !copy.path.empty())
    journal([path = copy.path] { (void)os::remove_file(path.c_str()).ok(); });
}

// --- straight to disk
// -----------------------------------------------------------------------------------------------

void Store::create_on_disk(Client& client, PutRequest request, uint64_t bytes, Reply<Created> reply) {
  Failure failure;
  SpillDirectory* const directory = reserve_disk(bytes + format::kDataOffset, failure);
  if (directory == nullptr) {
    if (bytes > config_.memory_limit)
      failure = {SPILLWAY_TOO_LARGE,
                 fmt::format("{} are more than the memory limit of {}, and {}", size_text(bytes),
                             size_text(config_.memory_limit), failure.what)};
    return reply({failure});
  }
  Object& object = make_object(client, request, bytes);
  client.creating.insert(object.id);
  create_flags_[object.id] = request.flags;
  auto copy = make_ref<DiskCopy>(*this);
  copy->id = object.id;
  copy->directory = directory;
  copy->charge = bytes + format::kDataOffset;
  copy->offset = format::kDataOffset;
  copy->stored_bytes = bytes;
  copy->path = Disk::object_path(*directory, object.id);
  object.disk = copy;
  auto file = std::make_shared<Result<os::Fd>>(Errno(EIO));
  work(
      [copy, bytes, file] {
        *file = os::open_file(copy->path.c_str(), os::Open::kReplace);
        if (!*file) return;
        if (Errno e = os::preallocate((*file)->get(), 0, format::kDataOffset + bytes, true); !e.ok())
          *file = e;
      },
      [this, id = object.id, client_id = client.id, copy, file, reply] {
        Object* const o = object_by(id);
        Client* const c = client_by(client_id);
        if (o == nullptr || c == nullptr) return;
        if (!*file) {
          const Errno e = file->error();
          abort(*c, id);
          return reply({{e == ENOSPC ? SPILLWAY_DISK_FULL : SPILLWAY_IO,
                         fmt::format("{}: {}", copy->path, strerror(e.code()))}});
        }
        reply({{}, {id, o->key, format::kDataOffset, wire::Place::kFile, (*file)->get()}});
      });
}

void Store::seal_on_disk(Client& client, Object& object, Reply<Published> reply) {
  const uint64_t id = object.id, client_id = client.id;
  Ref<DiskCopy> copy = object.disk;
  if (!copy) return reply({{SPILLWAY_BUSY, "it is not written yet"}});
  const uint32_t flags = create_flags_[id];
  create_flags_.erase(id);
  auto header = std::make_shared<format::ObjectHeader>();
  header->id = id;
  header->bytes = header->stored_bytes = object.bytes;
  if (object.details) header->tag = object.details->tag;
  auto result = std::make_shared<format::FileError>();
  const bool sync = object.durable;
  work(
      [copy, header, result, sync] {
        Result<os::Fd> file = os::open_file(copy->path.c_str(), os::Open::kReadWrite);
        if (!file) {
          *result = {file.error(), strerror(file.error().code())};
          return;
        }
        if (copy->checksum == 0) {
          uint64_t sum = 0;
          *result = format::checksum_file(*file, header->stored_bytes, sum);
          header->checksum = sum;
          const std::string page = format::encode_header(*header);
          if (!result->bad())
            if (Errno e = os::write_all(file->get(), page.data(), page.size(), 0); !e.ok())
              *result = {e, strerror(e.code())};
          copy->checksum = header->checksum;
        }
        if (sync && !result->bad())
          if (Errno e = os::sync_data(file->get()); !e.ok()) *result = {e, strerror(e.code())};
      },
      [this, id, client_id, copy, result, flags, reply, sync] {
        Object* const o = object_by(id);
        Client* const c = client_by(client_id);
        if (o == nullptr || c == nullptr) return;
        if (result->bad()) {
          abort(*c, id);
          return reply({{SPILLWAY_IO, fmt::format("{}: {}", copy->path, result->what)}});
        }
        copy->verified = true;
        o->version = ++last_version_;  // for its record: of two of one name the newer is found again
        list_in_manifest(*o, copy, sync, [this, id, client_id, flags, reply](Failure failure) {
          Object* const made = object_by(id);
          Client* const maker = client_by(client_id);
          if (made == nullptr || maker == nullptr) return;
          if (failure.bad()) {
            abort(*maker, id);
            return reply({failure});
          }
          made->state = wire::Residency::kSpilled;
          finish_publishing(*maker, *made, flags, reply);
        });
      });
}

// --- verbs
// ----------------------------------------------------------------------------------------------------------

void Store::to_disk(Client& client, ToDisk request, Reply<Filed> reply) {
  Answer<Object*> found = find(client, request.which, !request.keep_memory || !request.path.empty());
  if (found.failure.bad()) return reply({found.failure});
  Object& object = *found.value;
  if (object.state == wire::Residency::kDeleted)
    return reply({{SPILLWAY_EVICTED, "it was recomputable and had to leave"}});
  if (!request.path.empty()) {
    if (request.path[0] != '/')
      return reply({{SPILLWAY_INVALID, request.path + ": expected an absolute path"}});
    if (client.peer.uid != os::user_id())
      return reply(
          {{SPILLWAY_DENIED, "only the daemon's own user may choose where it writes; save it instead"}});
    if (!request.overwrite && os::exists(request.path.c_str()))
      return reply({{SPILLWAY_EXISTS, request.path + " exists, and overwriting was not asked for"}});
  }
  for (const std::string& filter : format::split_filters(request.filters))
    if (!format::is_builtin_filter(filter) && filter != "none")
      return reply({{SPILLWAY_INVALID, filter + ": the daemon has the filters lz4, zstd and checksum"}});
  const uint64_t id = object.id;
  const bool keep = request.keep_memory;
  const auto finish = [this, id, keep, reply](Failure failure) {
    if (failure.bad()) return reply({failure});
    Object* const o = object_by(id);
    if (o == nullptr) return reply({{SPILLWAY_NOT_FOUND, "it was erased meanwhile"}});
    const Filed filed{file_of(*o), o->bytes};
    if (!keep) {
      const bool dropped = drop_memory(*o);
      if (dropped && o->state != wire::Residency::kLoading) o->state = wire::Residency::kSpilled;
      if (!dropped)
        return reply(
            {{SPILLWAY_BUSY, fmt::format("it is on disk now ({}), and in memory as long as it is pinned: {}",
                                         filed.path, full_failure(0, SPILLWAY_BUSY).what)},
             filed});
      pump_later();
    }
    reply({{}, filed});
  };
  // A copy that will do is not written again.
  const bool own = object.disk && object.disk->pack == nullptr;
  const bool same_place = own && (request.path.empty() || object.disk->path == request.path);
  if (same_place && !request.other_filters) {
    // As long as earlier versions' records are on their way, one of them might be found instead.
    if (!request.sync) return journal_queued_ > 0 ? journal([] {}, finish) : finish({});
    auto error = std::make_shared<Errno>();
    return work(
        [path = object.disk->path, error] {
          Result<os::Fd> file = os::open_file(path.c_str(), os::Open::kRead);
          *error = file ? os::sync_data(file->get()) : file.error();
        },
        [finish, error] {
          finish(error->ok() ? Failure{} : Failure{SPILLWAY_IO, strerror(error->code())});
        });
  }
  if (!object.memory && object.bytes > 0) {
    // It is on disk elsewhere: through memory.
    Which which{object.id, object.key, ""};
    return load(client, which, [this, client_id = client.id, request, reply](Failure failure) {
      Client* const c = client_by(client_id);
      if (failure.bad() || c == nullptr) return reply({failure});
      to_disk(*c, request, reply);
    });
  }
  if (object.spilling) {
    // Being written where it was asked for before: then again, if that was elsewhere.
    spill_waiters_[id].push_back([this, client_id = client.id, request, reply](Failure failure) {
      Client* const c = client_by(client_id);
      if (failure.bad() || c == nullptr) return reply({failure});
      to_disk(*c, request, reply);
    });
    return;
  }
  write_own_file(object, request, finish);
}

void Store::restore(Client& client, PutRequest request, std::string path, os::Fd file,
                    Reply<Published> reply) {
  if (path.empty() || path[0] != '/')
    return reply({{SPILLWAY_INVALID, path + ": expected an absolute path"}});
  Result<os::Fd> ours = os::open_file(path.c_str(), os::Open::kRead);
  // The client shows that it may read it by having opened it.
  Result<os::FileIdentity> theirs = os::identify(file.get());
  Result<os::FileIdentity> same = ours ? os::identify(ours->get()) : Result<os::FileIdentity>(ours.error());
  if (!ours || !theirs || !same)
    return reply({{SPILLWAY_IO, fmt::format("{}: the daemon cannot open it", path)}});
  if (!(*theirs == *same))
    return reply({{SPILLWAY_DENIED, fmt::format("{} is another file to the daemon", path)}});
  format::ObjectHeader header;
  auto copy = make_ref<DiskCopy>(*this);
  copy->users = true;
  copy->path = path;
  const format::FileError error = format::read_header(*ours, header);
  if (error.bad() && error.code.ok() && !format::looks_like_object(*ours)) {
    copy->raw = true;
    header.bytes = header.stored_bytes = os::length_of(ours->get());
  } else if (error.bad()) {
    return reply({{error.code.ok() ? SPILLWAY_CORRUPT : SPILLWAY_IO, path + ": " + error.what}});
  } else {
    copy->offset = format::kDataOffset;
    copy->checksum = header.checksum;
    copy->filters = header.filters;
    for (const std::string& filter : header.filters)
      if (!format::is_builtin_filter(filter))
        return reply({{SPILLWAY_INVALID,
                       fmt::format("{} was written through the filter {}, which only its program has", path,
                                   filter)}});
    if (request.tag.empty()) request.tag = header.tag;
  }
  copy->stored_bytes = header.stored_bytes;
  if (Failure f = check_put(client, request, header.bytes); f.bad()) return reply({f});
  Object& object = make_object(client, request, header.bytes);
  copy->id = object.id;
  object.disk = copy;
  client.creating.insert(object.id);
  create_flags_[object.id] = request.flags;
  list_in_manifest(object, copy, false,
                   [this, id = object.id, client_id = client.id, flags = request.flags, reply](Failure f) {
                     Object* const o = object_by(id);
                     Client* const c = client_by(client_id);
                     if (o == nullptr || c == nullptr) return;
                     create_flags_.erase(id);
                     if (f.bad()) {
                       abort(*c, id);
                       return reply({f});
                     }
                     o->state = wire::Residency::kSpilled;
                     finish_publishing(*c, *o, flags, reply);
                   });
}

std::string Store::retained_path(const Object& object) const {
  const std::string base =
      object.disk && object.disk->directory ? object.disk->directory->path : disk_.first_path();
  return fmt::format("{}/retained/{}{}{:016x}", base, plain_name(object.name.str()),
                     object.name.empty() ? "" : "-", object.id);
}

void Store::retain(Client& client, const Which* which, bool on, Reply<Filed> reply) {
  if (which == nullptr) {
    client.retain_all = on;
    for (Object* object : table_)
      if (object != nullptr && made(client, *object)) object->retained = on;
    return reply({});
  }
  Answer<Object*> found = find(client, *which, true);
  if (found.failure.bad()) return reply({found.failure});
  found.value->retained = on;
  reply({{}, {retained_path(*found.value), found.value->bytes}});
}

// The file of an object that is about to die becomes the user's.
void Store::keep_file(Object& object, const std::string& to, Done done) {
  if (object.disk && object.disk->users) return done({});
  if (!object.disk || object.disk->pack != nullptr) {
    const uint64_t id = object.id;
    if (!object.memory && object.bytes > 0) {
      const auto again = [this, id, to, done](Failure failure) {
        Object* const o = object_by(id);
        if (failure.bad() || o == nullptr) return done(failure);
        keep_file(*o, to, done);
      };
      load_waiters_[id].push_back({0, {}, nullptr, again, std::nullopt});
      return start_load(object, wire::WhenFull::kFail, 0);
    }
    return write_own_file(object, {.keep_memory = true}, [this, id, to, done](Failure failure) {
      Object* const o = object_by(id);
      if (failure.bad() || o == nullptr) return done(failure);
      keep_file(*o, to, done);
    });
  }
  Ref<DiskCopy> copy = object.disk;
  copy->users = true;
  // In the directory it is in, should it be on another disk than the one that was promised.
  std::string other = to;
  if (copy->directory) other = copy->directory->path + "/retained" + to.substr(to.rfind('/'));
  if (copy->directory) disk_.release(*copy->directory, copy->charge);
  copy->directory = nullptr;
  journal(
      [this, copy, to, other, id = object.id] {
        for (const std::string& place : {to, other}) {
          const std::string folder = place.substr(0, place.rfind('/'));
          if (!os::make_private_directory(folder.c_str()).ok()) continue;
          if (!os::rename_file(copy->path.c_str(), place.c_str()).ok()) continue;
          copy->path = place;
          break;
        }
        (void)manifest_.remove(id).ok();
      },
      [copy, done](Failure) {
        copy->in_manifest = false;
        done({});
      });
}

void Store::drain(Done done) {
  auto left = std::make_shared<size_t>(1);
  auto worst = std::make_shared<Failure>();
  const auto one = [left, worst, done](Failure failure) {
    if (failure.bad()) *worst = failure;
    if (--*left == 0) done(*worst);
  };
  std::vector<Object*> small;
  for (Object* object : table_) {
    if (object == nullptr || object->disk || object->state == wire::Residency::kCreating) continue;
    // An empty one has no memory, and counts all the same.
    if (!object->memory && object->state != wire::Residency::kResident) continue;
    ++*left;
    const bool plain = !object->details || object->details->filters.empty();
    if (object->memory && object->memory->slab != nullptr && plain && !object->spilling) {
      spill_waiters_[object->id].push_back(one);
      object->spilling = true;
      object->state = wire::Residency::kSpilling;
      small.push_back(object);
    } else {
      write_own_file(*object, {.keep_memory = true}, one);
    }
  }
  for (size_t i = 0; i < small.size(); i += 4096)
    write_pack({small.begin() + static_cast<ptrdiff_t>(i),
                small.begin() + static_cast<ptrdiff_t>(std::min(i + 4096, small.size()))});
  // What is in the manifest's queue is written when this comes back.
  journal([] {}, one);
}

// --- a new start
// ----------------------------------------------------------------------------------------------------

std::string Store::recover() {
  std::vector<ManifestEntry> entries;
  if (std::string why = manifest_.open(disk_.first_path() + "/manifest", entries); !why.empty()) return why;
  for (ManifestEntry& entry : entries) adopt(entry);
  for (uint32_t i = 0; i < table_.size(); ++i)
    if (table_[i] == nullptr) free_indices_.push_back(i);
  std::set<std::string> known;
  for (const Object* object : table_)
    if (object != nullptr && object->disk) known.insert(file_of(*object));
  for (const auto& directory : disk_.directories()) remove_orphans(*directory, known);
  manifest_entries_ = entries.size();
  if (object_count_ > 0)
    timers_.add(os::monotonic_ms() + config_.orphan_grace_s * 1000, [this] {
      for (size_t i = 0; i < table_.size(); ++i) {
        Object* const object = table_[i];
        if (object == nullptr || !object->recovered) continue;
        object->recovered = false;
        maybe_die(*object);
      }
    });
  return "";
}

void Store::adopt(ManifestEntry& e) {
  const uint32_t index = static_cast<uint32_t>(e.id);
  if (index > 100'000'000 || e.key == 0) return;  // no id of ours
  SpillDirectory* directory = nullptr;
  for (const auto& d : disk_.directories())
    if (d->path == e.directory) directory = d.get();
  if (!e.users && directory == nullptr) return;  // its directory is not configured any more
  while (table_.size() <= index) {
    table_.push_back(nullptr);
    generations_.push_back(0);
  }
  if (table_[index] != nullptr) return;
  auto copy = make_ref<DiskCopy>(*this);
  copy->id = e.id;
  copy->directory = e.users ? nullptr : directory;
  copy->path = e.path;
  copy->offset = e.offset, copy->stored_bytes = e.stored_bytes, copy->checksum = e.checksum;
  copy->filters = e.filters;
  copy->users = e.users, copy->raw = e.raw;
  copy->in_manifest = true;
  auto object = std::make_unique<Object>();
  if (e.pack != 0) {
    if (Result<Pack*> pack = disk_.adopt_pack(*directory, e.pack)) {
      copy->pack = *pack;
      ++(*pack)->live_objects;
    } else {
      object->more().error =
          fmt::format("{}: {}", Disk::pack_path(*directory, e.pack), strerror(pack.error().code()));
      object->more().error_status = SPILLWAY_CORRUPT;
    }
  }
  if (copy->directory != nullptr) {
    copy->charge = e.charge;
    copy->directory->used_bytes += e.charge;
  }
  object->id = e.id, object->key = e.key, object->bytes = e.bytes, object->version = e.version;
  object->uid = e.uid, object->gid = e.gid, object->created_s = e.created_s, object->mode = e.mode;
  object->hint = static_cast<wire::Hint>(std::min<uint8_t>(e.hint, 3));
  object->durable = e.durable, object->retained = e.retained;
  if (!e.tag.empty()) object->more().tag = e.tag;
  if (!e.wanted_filters.empty()) object->more().filters = e.wanted_filters;
  object->disk = std::move(copy);
  object->state =
      object->details && object->details->error_status ? wire::Residency::kFailed : wire::Residency::kSpilled;
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
  journal([this, id = older->id] { (void)manifest_.unname(id).ok(); });
}

// What a write that was not finished left behind. Only names that are ours.
void Store::remove_orphans(const SpillDirectory& directory, const std::set<std::string>& known) {
  std::vector<std::string> names;
  (void)os::list_directory(
      directory.path.c_str(),
      [](void* context, const char* name) {
        static_cast<std::vector<std::string>*>(context)->push_back(name);
      },
      &names)
      .ok();
  for (const std::string& name : names) {
    const std::string path = directory.path + "/" + name;
    const bool ours = name.starts_with("obj-") || name.starts_with("pack-") || name == "manifest.tmp";
    if (ours && !known.contains(path)) (void)os::remove_file(path.c_str()).ok();
  }
}

}  // namespace spillway::pool

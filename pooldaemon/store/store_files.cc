// store_files.cc - files that clients ask for: moved and copied to disk, adopted, retained.
#include <cctype>
#include <cstring>

#include "libpool/format/filters.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {
namespace {

std::string plain_name(const std::string& name) {
  std::string plain;
  for (unsigned char c : name)
    plain += isalnum(c) || c == '.' || c == '-' || c == '_' ? static_cast<char>(c) : '_';
  return plain.size() > 100 ? plain.substr(0, 100) : plain;
}

}  // namespace

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
  // The file takes the place of what survives a power cut.
  if (object.durable && request.path.empty()) request.sync = true;
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
  const bool own = object.disk && object.disk->small == nullptr;
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
  // It is opened again whenever it is read, and who may replace it could have us read what only we may.
  if (client.peer.uid != os::user_id() && client.peer.uid != 0)
    return reply(
        {{SPILLWAY_DENIED, "only the daemon's own user may have it read files; put the bytes instead"}});
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
  object.version = ++last_version_;  // for its record: of two of one name the newer is found again
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
  if (!object.disk || object.disk->small != nullptr) {
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

}  // namespace spillway::pool

// store_direct.cc - objects for which memory has no room: written straight to disk.
#include <cstring>

#include "pooldaemon/store/store.h"

namespace spillway::pool {

void Store::create_on_disk(Client& client, PutRequest request, uint64_t bytes, Reply<Created> reply) {
  Failure failure;
  SpillDirectory* const directory = reserve_disk(bytes + format::kDataOffset, failure);
  if (directory == nullptr) {
    if (bytes > room_limit())
      failure = {SPILLWAY_TOO_LARGE, fmt::format("{} are more than the memory limit of {}, and {}",
                                                 size_text(bytes), size_text(room_limit()), failure.what)};
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
        if (Errno e = format::begin_object(**file); !e.ok()) {
          *file = e;
          return;
        }
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
  object.version = ++last_version_;  // for its record: of two of one name the newer is found again
  header->origin = origin_of(object);
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

}  // namespace spillway::pool

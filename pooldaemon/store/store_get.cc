// store_get.cc - holding objects: leases, waiting for names, bringing back what was spilled.
#include <atomic>
#include <cstring>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {
namespace {

Failure failure_of(const DiskCopy& copy, const format::FileError& error) {
  if (!error.bad()) return {};
  return {error.code.ok() || error.code == ENOENT ? SPILLWAY_CORRUPT : SPILLWAY_IO,
          fmt::format("{}: {}", copy.path, error.what)};
}

// A file of its own into memory; a large object's is sealed then.
Failure read_file(const DiskCopy& copy, const Memory& memory, uint64_t bytes) {
  const auto failed = [&](format::FileError error) { return failure_of(copy, error); };
  const auto fail = [&](Errno e) { return failed({e, strerror(e.code())}); };
  Result<os::Fd> file = os::open_file(copy.path.c_str(), os::Open::kRead);
  if (!file) return fail(file.error());
  format::ObjectHeader header;
  if (!copy.raw) {
    if (format::FileError error = format::read_header(*file, header); error.bad()) return failed(error);
    if (header.bytes != bytes) return failed({Errno(), "it holds another object"});
  } else if (os::length_of(file->get()) < copy.offset + bytes) {
    return failed({Errno(), "it is truncated"});  // a damaged file, not a broken disk
  }
  const bool is_large = memory.slab == nullptr;
  format::FileError error;
  if (is_large && header.filters.empty()) {
    error =
        format::copy_object(*file, copy.offset, bytes, copy.raw ? nullptr : &header.checksum, memory.fd());
  } else {
    os::Mapping mapping;
    if (is_large) {
      if (Errno e = os::preallocate(memory.fd().get(), 0, bytes, true); !e.ok()) return fail(e);
      Result<os::Mapping> mapped = os::Mapping::read_write(memory.fd().get(), 0, bytes, true);
      if (!mapped) return fail(mapped.error());
      mapping = std::move(*mapped);
    }
    char* const to = is_large ? mapping.data() : Slabs::data(memory.place());
    if (!copy.raw) {
      error = format::read_object(*file, header, to);
    } else if (Errno e = os::read_all(file->get(), to, bytes, copy.offset); !e.ok()) {
      return fail(e);
    }
  }
  if (is_large)
    if (Errno e = os::seal_memfd(memory.fd().get()); !e.ok() && !error.bad()) return fail(e);
  return failed(error);
}

}  // namespace

Lease* Store::new_lease(Client& client, Object& object, Failure& failure) {
  uint32_t slot;
  if (!client.free_slots.empty()) {
    slot = client.free_slots.back();
    client.free_slots.pop_back();
  } else if (client.next_slot < wire::kLeaseSlots) {
    slot = client.next_slot++;
  } else {
    failure = {SPILLWAY_FULL,
               fmt::format("this session holds {} objects, which is the most", wire::kLeaseSlots - 1)};
    return nullptr;
  }
  auto lease = std::make_unique<Lease>();
  lease->client = &client;
  lease->slot = slot;
  lease->object = &object;
  lease->next = object.leases;
  object.leases = lease.get();
  // Pinned already when the client learns of it.
  std::atomic_ref(client.slot(slot)->used_ns).store(object.used_ns, std::memory_order_relaxed);
  std::atomic_ref(client.slot(slot)->word).store(1, std::memory_order_release);
  return (client.leases[slot] = std::move(lease)).get();
}

void Store::get(Client& client, GetRequest request, Reply<Held> reply) {
  ++client.gets;
  ++counters_.gets;
  Answer<Object*> found = find(client, request.which);
  if (found.failure.status == SPILLWAY_NOT_FOUND && !request.which.name.empty() && request.timeout_ms > 0)
    return wait_for_name(client, std::move(request), std::move(reply));
  if (found.failure.bad()) return reply({found.failure});
  Object& object = *found.value;
  object.recovered = object.recovered && object.name.empty();
  if (object.state == wire::Residency::kDeleted)
    return reply({{SPILLWAY_EVICTED, "it was recomputable and had to make room for others: make it again"}});
  if (object.memory || object.bytes == 0) {
    ++client.hits;
    ++counters_.hits;
    let_stay(object);
    return answer_get(client, object, nullptr, reply);
  }
  ++counters_.misses;
  CHECK(object.disk, "an object that is neither in memory nor on disk");
  load_waiters_[object.id].push_back({client.id, request, std::move(reply), nullptr, std::nullopt});
  start_load(object, request.when_full, request.timeout_ms);
}

// What is got is the last that should leave, also when its copy is being written already. Whoever waits for
// its room gets that of others.
void Store::let_stay(Object& object) {
  if (!object.moving) return;
  object.moving = false;
  departing_bytes_ -= object.memory->charge;
  object.state = object.disk ? wire::Residency::kBoth : wire::Residency::kResident;
  policy_.insert(object);
  pump_later();
}

void Store::answer_get(Client& client, Object& object, const FilePlace* in_file, Reply<Held>& reply) {
  policy_.touch(object, os::clock_ns());
  Held held;
  held.object = &object;
  if (object.bytes == 0) return reply({{}, std::move(held)});
  Failure failure;
  Lease* const lease = new_lease(client, object, failure);
  if (lease == nullptr) return reply({failure});
  held.slot = lease->slot;
  const auto undo = [&](Failure why) {
    released(client, lease->slot);
    reply({std::move(why)});
  };
  if (in_file != nullptr) {
    lease->disk = object.disk;
    held.place = wire::Place::kFile;
    held.offset = in_file->offset;
    held.fd = in_file->fd->get();
    return reply({{}, std::move(held)});
  }
  lease->memory = object.memory;
  if (Slab* const slab = object.memory->slab) {
    held.place = wire::Place::kSlab;
    held.slab = slab->id;
    held.slab_bytes = slab->mapping.bytes();
    held.offset = object.memory->offset;
    if (std::find(slab->mapped_by.begin(), slab->mapped_by.end(), client.id) == slab->mapped_by.end()) {
      slab->mapped_by.push_back(client.id);
      held.fd = slab->read_only.get();
    }
    return reply({{}, std::move(held)});
  }
  if (Buffer* const buffer = object.memory->buffer()) {
    held.place = wire::Place::kSlab;
    held.slab = buffer->id;
    held.slab_bytes = buffer->file_bytes;
    if (std::find(buffer->mapped_by.begin(), buffer->mapped_by.end(), client.id) == buffer->mapped_by.end()) {
      buffer->mapped_by.push_back(client.id);
      held.fd = buffer->read_only.get();
    }
    return reply({{}, std::move(held)});
  }
  Result<os::Fd> fd = os::reopen_read_only(object.memory->fd().get());
  if (!fd) return undo({SPILLWAY_NO_MEMORY, fmt::format("no descriptor: {}", error_text(fd.error()))});
  held.place = wire::Place::kMemory;
  held.own_fd = std::move(*fd);
  held.fd = held.own_fd.get();
  reply({{}, std::move(held)});
}

void Store::wait_for_name(Client& client, GetRequest request, Reply<Held> reply) {
  ++counters_.waits;
  const std::string name = request.which.name;
  const uint64_t timeout_ms = request.timeout_ms;
  const auto at =
      name_waiters_.emplace(name, Waiter{client.id, std::move(request), std::move(reply), nullptr, {}});
  if (timeout_ms == wire::kForever) return;
  at->second.timer = timers_.add(os::monotonic_ms() + timeout_ms, [this, at, timeout_ms] {
    Waiter waiter = std::move(at->second);
    name_waiters_.erase(at);
    waiter.reply({{SPILLWAY_TIMED_OUT, fmt::format("no object got the name {} within {} ms",
                                                   waiter.request.which.name, timeout_ms)}});
  });
}

void Store::load(Client& client, const Which& which, Done done) {
  Answer<Object*> found = find(client, which);
  if (found.failure.bad()) return done(found.failure);
  Object& object = *found.value;
  if (object.state == wire::Residency::kDeleted)
    return done({SPILLWAY_EVICTED, "it was recomputable and had to leave"});
  if (object.memory || object.bytes == 0) {
    policy_.touch(object, os::clock_ns());
    return done({});
  }
  load_waiters_[object.id].push_back({client.id, {}, nullptr, std::move(done), std::nullopt});
  start_load(object, wire::WhenFull::kFail, 0);
}

// One at a time for each object; whoever comes meanwhile waits for the same.
void Store::start_load(Object& object, wire::WhenFull when_full, uint64_t timeout_ms) {
  if (object.state == wire::Residency::kLoading) return;
  object.state = wire::Residency::kLoading;
  const bool packed = object.bytes < wire::kLargeBytes;
  RoomRequest room;
  room.bytes = packed ? object.bytes : round_up(object.bytes, kPageBytes);
  if (packed) room.packed = AccessClass{object.uid, object.gid, static_cast<uint16_t>(object.mode & 0444)};
  room.client = 0;  // not the client's: others may wait for the same
  room.when_full = when_full;
  room.answer = [this, id = object.id](Room got, Ref<Memory> memory, Failure failure) {
    Object* const o = object_by(id);
    if (o == nullptr) return;  // those who waited have been told
    if (got == Room::kRefused) return loaded(id, failure, nullptr);
    if (got == Room::kDisk) return read_in_place(*o);
    load_into(*o, std::move(memory));
  };
  ask_room(std::move(room), timeout_ms);
}

void Store::load_into(Object& object, Ref<Memory> memory) {
  const bool packed = object.bytes < wire::kLargeBytes;
  if (packed) {
    Result<SlabPlace> place =
        slabs_.allocate(object.bytes, {object.uid, object.gid, static_cast<uint16_t>(object.mode & 0444)});
    if (!place)
      return loaded(object.id,
                    {SPILLWAY_NO_MEMORY, fmt::format("no memory: {}", strerror(place.error().code()))},
                    nullptr);
    memory->set_place(*place);
    small_bytes_ += memory->charge;
  } else {
    Result<os::Fd> fd = os::make_memfd("spillway-object", object.bytes);
    if (fd && few_descriptors_are_left(fd->get())) fd = Errno(EMFILE);
    if (!fd && fd.error() == EMFILE && object.disk->filters.empty()) return read_in_place(object);
    if (!fd)
      return loaded(object.id, {SPILLWAY_NO_MEMORY, fmt::format("no memory: {}", error_text(fd.error()))},
                    nullptr);
    memory->take(std::move(*fd));
  }
  Ref<DiskCopy> copy = object.disk;
  auto failure = std::make_shared<Failure>();
  work(
      [memory, copy, failure, bytes = object.bytes] {
        if (copy->small != nullptr)
          *failure = failure_of(copy->small->read(copy->id, Slabs::data(memory->place()), bytes));
        else
          *failure = read_file(*copy, *memory, bytes);
      },
      [this, id = object.id, memory, copy, failure]() mutable { loaded(id, *failure, std::move(memory)); });
}

// There is no room in memory: clients map the file itself, once it was seen to be right.
void Store::read_in_place(Object& object) {
  Ref<DiskCopy> copy = object.disk;
  if (!copy->filters.empty())
    return loaded(object.id,
                  {SPILLWAY_FULL, full_failure(object.bytes, SPILLWAY_FULL).what +
                                      "; and its file went through filters, so it cannot be mapped"},
                  nullptr);
  auto place = std::make_shared<FilePlace>();
  auto failure = std::make_shared<Failure>();
  work(
      [copy, place, failure, bytes = object.bytes] {
        if (copy->small != nullptr) {
          StoreResult<FilePlace> found = copy->small->find(copy->id, bytes);
          *failure = failure_of(found.status());
          if (found) *place = std::move(*found);
          return;
        }
        format::FileError error;
        Result<os::Fd> file = os::open_file(copy->path.c_str(), os::Open::kRead);
        if (!file) {
          error = {file.error(), strerror(file.error().code())};
        } else if (!copy->verified && !copy->raw) {
          format::ObjectHeader header;
          error = format::read_header(*file, header);
          if (!error.bad()) error = format::verify_object(*file, header);
        }
        *failure = failure_of(*copy, error);
        if (!error.bad()) *place = {std::make_shared<os::Fd>(std::move(*file)), copy->offset};
      },
      [this, id = object.id, copy, place, failure] {
        if (failure->bad()) return loaded(id, *failure, nullptr);
        copy->verified = true;
        ++counters_.file_reads;
        loaded(id, {}, nullptr, place.get());
      });
}

void Store::loaded(uint64_t id, Failure failure, Ref<Memory> memory, const FilePlace* in_file) {
  Object* const object = object_by(id);
  if (object == nullptr) return;
  CHECK(object->state == wire::Residency::kLoading, "an object was loaded that is not loading");
  object->state = wire::Residency::kSpilled;
  if (failure.bad() && failure.status != SPILLWAY_FULL) {
    ++counters_.load_failures;
    load_failed_line_.say(
        fmt::format("object={:x} name={} reason={}", id, quoted(object->name.view()), quoted(failure.what)));
  }
  if (!failure.bad() && memory) {
    object->memory = std::move(memory);
    object->state = wire::Residency::kBoth;
    object->used_ns = os::clock_ns();
    policy_.insert(*object);
    show(*object);
    ++counters_.loads;
    counters_.loaded_bytes += object->bytes;
  }
  auto waiters = load_waiters_.extract(id);
  if (waiters.empty()) return;
  // Held meanwhile: an answer may be the object's end.
  const Ref<Memory> hold = object->memory;
  for (Waiter& waiter : waiters.mapped()) {
    if (waiter.loaded) {
      waiter.loaded(failure.bad() || in_file == nullptr ? failure
                                                        : full_failure(object->bytes, SPILLWAY_FULL));
      continue;
    }
    Client* const client = client_by(waiter.client);
    if (client == nullptr) continue;
    if (failure.bad()) {
      waiter.reply({failure});
    } else {
      answer_get(*client, *object, in_file, waiter.reply);
    }
    if (object_by(id) == nullptr) break;  // an answer was its end, and the others have theirs
  }
  pump_later();
}

}  // namespace spillway::pool

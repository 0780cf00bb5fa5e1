// store_publish.cc - putting, creating and sealing objects, and the moment from which others find them.
#include <atomic>
#include <cstring>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {

void Store::put(Client& client, PutRequest request, std::string data, Reply<Published> reply) {
  const uint64_t bytes = data.size();
  if (bytes >= wire::kLargeBytes)
    return reply({{SPILLWAY_INVALID, "an object of 1 MiB or more is created, written and sealed"}});
  if (Failure f = check_put(client, request, bytes); f.bad()) return reply({f});
  const AccessClass access{client.peer.uid, client.peer.gid,
                           static_cast<uint16_t>((request.mode ? request.mode : 0600) & 0444)};
  const auto publish_small = [this, bytes, access](Client& c, const PutRequest& r, std::string_view text,
                                                   Ref<Memory> memory, Reply<Published>& answer) {
    if (bytes > 0) {
      Result<SlabPlace> place = slabs_.allocate(bytes, access);
      if (!place)
        return answer({{SPILLWAY_NO_MEMORY,
                        fmt::format("no memory for {} bytes: {}", bytes, strerror(place.error().code()))}});
      memory->set_place(*place);
      small_bytes_ += memory->charge;
      memcpy(Slabs::data(*place), text.data(), bytes);
    }
    Object& object = make_object(c, r, bytes);
    object.memory = std::move(memory);
    c.creating.insert(object.id);
    finish_publishing(c, object, r.flags, std::move(answer));
  };
  if (bytes == 0) return publish_small(client, request, "", nullptr, reply);
  // The usual case asks nobody.
  if (queue_.empty() && used_with(bytes, access) + buffers_.idle_bytes() <= room_limit()) {
    auto memory = make_ref<Memory>(*this);
    memory->charge = bytes;
    charged_bytes_ += bytes;
    publish_small(client, request, data, std::move(memory), reply);
    if (used_bytes() > room_limit() / 100 * config_.high_watermark) pump_later();
    return;
  }
  auto shared_data = std::make_shared<std::string>(std::move(data));
  RoomRequest room;
  room.bytes = bytes;
  room.packed = access;
  room.client = client.id;
  room.when_full = request.when_full;
  const uint64_t timeout_ms = request.timeout_ms;
  room.answer = [this, id = client.id, request = std::move(request), shared_data, reply, publish_small,
                 bytes](Room got, Ref<Memory> memory, Failure failure) mutable {
    Client* const c = client_by(id);
    if (c == nullptr) return;
    if (got == Room::kRefused) return reply({failure});
    if (got == Room::kMemory) return publish_small(*c, request, *shared_data, std::move(memory), reply);
    // Straight to disk.
    Object& object = make_object(*c, request, bytes);
    c->creating.insert(object.id);
    object.version = ++last_version_;  // for its record: of two of one name the newer is found again
    const Done written = [this, id, object_id = object.id, reply, flags = request.flags](Failure failed) {
      Object* const o = object_by(object_id);
      Client* const maker = client_by(id);
      if (o == nullptr || maker == nullptr) return;
      if (failed.bad()) {
        abort(*maker, object_id);
        return reply({failed});
      }
      o->state = wire::Residency::kSpilled;
      finish_publishing(*maker, *o, flags, reply);
    };
    if (is_for_small_store(object)) return write_small(object, object.durable, written, shared_data);
    write_own_file(object, {.keep_memory = true, .sync = object.durable}, written, shared_data);
  };
  ask_room(std::move(room), timeout_ms);
}

void Store::create(Client& client, PutRequest request, uint64_t bytes, Reply<Created> reply) {
  if (bytes < wire::kLargeBytes) return reply({{SPILLWAY_INVALID, "an object below 1 MiB is put whole"}});
  if (Failure f = check_put(client, request, bytes); f.bad()) return reply({f});
  RoomRequest room;
  room.bytes = round_up(bytes, kPageBytes);
  room.client = client.id;
  room.when_full = request.when_full;
  // What others may read is sealed for good, against its maker, too.
  room.buffered = config_.recycle > 0 && (request.mode & 0066) == 0;
  const uint64_t timeout_ms = request.timeout_ms;
  room.answer = [this, id = client.id, request = std::move(request), bytes, reply, buffered = room.buffered](
                    Room got, Ref<Memory> memory, Failure failure) {
    Client* const c = client_by(id);
    if (c == nullptr) return;
    if (got == Room::kRefused) return reply({failure});
    if (got == Room::kDisk) return create_on_disk(*c, request, bytes, reply);
    const auto no_memory = [&](Errno e) {
      // Each large object in memory is a file of ours; on disk it is none.
      if (e == EMFILE && request.when_full == wire::WhenFull::kSpill)
        return create_on_disk(*c, request, bytes, reply);
      reply({{SPILLWAY_NO_MEMORY, fmt::format("no memory for {} bytes: {}", bytes, error_text(e))}});
    };
    if (!memory->large && buffered) {
      Result<std::unique_ptr<Buffer>> buffer = buffers_.make(id, bytes);
      if (!buffer) return no_memory(buffer.error());
      if (*buffer) memory->take(std::move(*buffer));
    }
    if (!memory->large) {
      Result<os::Fd> fd = os::make_memfd("spillway-object", bytes);
      if (!fd) return no_memory(fd.error());
      memory->take(std::move(*fd));
    }
    if (few_descriptors_are_left(memory->fd().get())) return no_memory(Errno(EMFILE));
    Object& object = make_object(*c, request, bytes);
    object.memory = std::move(memory);
    c->creating.insert(object.id);
    create_flags_[object.id] = request.flags;
    reply({{},
           {object.id, object.key, 0, wire::Place::kMemory, object.memory->fd().get(),
            object.memory->buffer()}});
  };
  ask_room(std::move(room), timeout_ms);
}

void Store::seal(Client& client, uint64_t id, Reply<Published> reply) {
  Object* const object = object_by(id);
  if (object == nullptr || !client.creating.contains(id))
    return reply({{SPILLWAY_NOT_FOUND, "nothing of this id is being created by this session"}});
  if (!create_flags_.contains(id)) return reply({{SPILLWAY_BUSY, "it is being published already"}});
  if (!object->memory) return seal_on_disk(client, *object, std::move(reply));
  if (Buffer* const buffer = object->memory->buffer())
    buffer->warm_bytes = object->memory->charge;
  else if (!os::is_sealed(object->memory->fd().get()))
    return reply(
        {{SPILLWAY_BUSY, "the object's memory is not sealed: somebody still has it mapped for writing"}});
  const uint32_t flags = create_flags_[id];
  create_flags_.erase(id);
  // What the creator did not touch (it may have died trying) takes no memory, and reads as zeroes.
  finish_publishing(client, *object, flags, std::move(reply));
}

void Store::abort(Client& client, uint64_t id) {
  Object* const object = object_by(id);
  if (object == nullptr || !client.creating.erase(id)) return;
  create_flags_.erase(id);
  object->name.clear();
  object->retained = false;
  forget_object(*object);
  pump();
}

void Store::tell_change(spillway_change change, const Object& object) {
  for (auto& [id, client] : clients_) {
    if (client->watches.empty() || !may(*client, object, 04)) continue;
    for (const auto& [watch, prefix] : client->watches) {
      if (!object.name.view().starts_with(prefix)) continue;
      wire::Writer w;
      w.number(watch).number(static_cast<uint8_t>(change)).number(object.version).bytes(object.name);
      client->tell(wire::Verb::kChanged, w.take());
    }
  }
}

void Store::unbind_name(Object& object) {
  if (object.name.empty()) return;
  const auto found = names_.find(&object);
  if (found == names_.end() || *found != &object) return;
  names_.erase(found);
  name_changed(object.name);
  hide(object);
}

// Before anybody is told, and before the store of small names changes: who has read there what a name means
// now does not find an older object among what is held.
void Store::name_changed(std::string_view name) {
  auto* const marks = reinterpret_cast<wire::NameMarks*>(name_marks_.data());
  std::atomic_ref(marks->marks[wire::mark_index(name)]).fetch_add(1, std::memory_order_release);
}

// Clients read it for themselves from here on, if it is one of those they may: small, and in memory. So the
// store is as large as a part of memory is, and what has been evicted is asked for, and so comes back. What
// may be evicted for good is not in it: a pin must keep it.
void Store::show(Object& object) {
  if (object.name.empty()) return;
  const bool is_there = object.bytes == 0 || (object.memory && object.memory->slab != nullptr);
  if (!is_there || object.bytes > wire::kMostSmallNameBytes || object.hint == wire::Hint::kRecomputable)
    return hide(object);
  wire::SmallObject small;
  if (object.details) small.tag = object.details->tag;
  small.end = {object.id, object.key, object.version, small.tag.size()};
  if (object.bytes > 0) small.data = {Slabs::data(object.memory->place()), object.bytes};
  object.shown = small_names_.put(object.name, small);
}

void Store::hide(Object& object) {
  if (!object.shown) return;
  object.shown = false;
  small_names_.remove(object.name);
}

// From here on others find it.
void Store::publish(Object& object) {
  Object* before = nullptr;
  if (const auto found = object.name.empty() ? names_.end() : names_.find(&object); found != names_.end())
    before = *found;
  // What was written before has one already, unless an object of its name was published meanwhile.
  if (const bool is_recorded = object.version != 0;
      !is_recorded || (before && before->version > object.version)) {
    object.version = ++last_version_;
    if (is_recorded) list_again(object, [](Failure) {});
  }
  if (object.name.empty()) return;
  if (before != nullptr) {
    names_.erase(before);
    object.shown = before->shown;  // its place in the store is this one's now
    before->shown = false;
  }
  names_.insert(&object);
  name_changed(object.name);
  show(object);
  tell_change(before ? SPILLWAY_REPLACED : SPILLWAY_CREATED, object);
  if (before != nullptr) {
    before->name.clear();
    before->recovered = false;
    forget_recorded_name(*before);
    maybe_die(*before);
  }
  // Those who wait for the name.
  auto [first, last] = name_waiters_.equal_range(object.name.str());
  std::vector<Waiter> waiters;
  for (auto w = first; w != last; ++w) waiters.push_back(std::move(w->second));
  name_waiters_.erase(first, last);
  for (Waiter& waiter : waiters) {
    if (waiter.timer) timers_.cancel(*waiter.timer);
    // Later: they are answered after who published it.
    post_([this, client = waiter.client, request = waiter.request, reply = std::move(waiter.reply)] {
      if (Client* const c = client_by(client)) get(*c, request, reply);
    });
  }
}

void Store::finish_publishing(Client& client, Object& object, uint32_t flags, Reply<Published> reply) {
  const uint64_t id = object.id, client_id = client.id;
  const auto publish_now = [this, id, client_id, flags, reply](Failure failure) {
    Object* const o = object_by(id);
    Client* const c = client_by(client_id);
    if (o == nullptr) {  // its maker has gone, or cleans up
      if (c != nullptr) c->creating.erase(id);
      if (c != nullptr) reply({failure});
      return;
    }
    if (!failure.bad() && !o->name.empty()) {
      const auto taken = names_.find(std::string_view(o->name));
      if (taken != names_.end() && (flags & SPILLWAY_EXCLUSIVE))
        failure = {SPILLWAY_EXISTS, fmt::format("the name {} was taken meanwhile", o->name.view())};
    }
    if (c != nullptr) c->creating.erase(id);
    create_flags_.erase(id);
    if (failure.bad() || c == nullptr) {
      if (o->state == wire::Residency::kCreating) o->state = wire::Residency::kResident;
      o->name.clear();
      o->retained = false;
      forget_object(*o);
      if (c != nullptr) reply({failure});
      return;
    }
    if (!o->uncounted) add_reference(*c, *o);
    ++c->puts;
    ++counters_.puts;
    publish(*o);
    const Answer<Published> published{{}, {o->id, o->key, o->version}};
    // An earlier version that is on disk, too, must not be found under the name again.
    if (o->durable && journal_queued_ > 0)
      journal([] {}, [reply, published](Failure) { reply(published); });
    else
      reply(published);
    pump();
  };
  object.used_ns = os::clock_ns();
  if (object.memory) {
    object.state = wire::Residency::kResident;
    policy_.insert(object);
  } else if (object.bytes == 0) {
    object.state = wire::Residency::kResident;
  }
  if (object.durable && !object.disk) {
    // Not found by anybody before it is on disk: kCreating for those who ask.
    const bool resident = object.memory != nullptr || object.bytes == 0;
    CHECK(resident, "an object that is nowhere");
    object.version = ++last_version_;  // for its record: of two of one name the newer is found again
    if (is_for_small_store(object)) return write_small(object, true, publish_now);
    return write_own_file(object, {.keep_memory = true, .sync = true}, publish_now);
  }
  publish_now({});
}

}  // namespace spillway::pool

#include "pooldaemon/store/store.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/core/units.h"
#include "base/os/clock.h"
#include "base/os/directory.h"
#include "libpool/format/filters.h"

namespace spillway::pool {
namespace {

constexpr uint64_t kDefaultTicketMs = 60'000;

uint32_t now_s() {
  return static_cast<uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count());
}

uint64_t make_id(uint32_t index, uint32_t generation) { return uint64_t{generation} << 32 | index; }

Failure bad_name(const std::string& name) {
  if (name.size() > wire::kMaxNameBytes)
    return {SPILLWAY_INVALID,
            fmt::format("a name has at most {} bytes, this one {}", wire::kMaxNameBytes, name.size())};
  for (unsigned char c : name)
    if (c < 0x20 || c == 0x7f) return {SPILLWAY_INVALID, "a name has no control characters"};
  return {};
}

}  // namespace

std::string size_text(uint64_t bytes) {
  if (bytes >= kGiB) return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / static_cast<double>(kGiB));
  if (bytes >= kMiB) return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / static_cast<double>(kMiB));
  if (bytes >= kKiB) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / static_cast<double>(kKiB));
  return fmt::format("{} bytes", bytes);
}

Memory::~Memory() { store.give_back(*this); }
DiskCopy::~DiskCopy() { store.give_back(*this); }

Store::Store(Config config, std::function<void(std::function<void()>)> post)
    : config_(std::move(config)),
      post_(std::move(post)),
      policy_(config_.policy),
      slabs_([this](uint64_t session, uint32_t slab) {
        Client* const client = client_by(session);
        if (client == nullptr) return;
        wire::Writer w;
        w.number(slab);
        client->tell(wire::Verb::kSlabGone, w.take());
      }),
      buffers_(
          [this](uint64_t session, uint32_t buffer) {
            Client* const client = client_by(session);
            if (client == nullptr) return;
            wire::Writer w;
            w.number(buffer);
            client->tell(wire::Verb::kSlabGone, w.take());
          },
          [this](os::Fd file, uint64_t file_bytes, uint64_t warm_bytes) {
            free_pages(std::move(file), file_bytes, warm_bytes);
          }) {}

Store::~Store() {
  join();
  for (Object* object : table_) delete object;
  clients_.clear();
}

std::string Store::open() {
  if (std::string why = disk_.open(config_.directories); !why.empty()) return why;
  config_changed();
  workers_ = std::make_unique<Workers>(config_.io_threads, post_);
  journal_ = std::make_unique<Workers>(1, post_);
  freer_ = std::make_unique<Workers>(1, post_);
  return recover();
}

void Store::config_changed() {
  policy_.set_kind(config_.policy);
  disk_.set_limit(config_.disk_limit);
  disk_.set_least_free(config_.disk_least_free);
  limit_idle();
  pump_later();
}

// --- clients
// --------------------------------------------------------------------------------------------------------

Client& Store::open_client(os::Peer peer, std::function<void(wire::Verb, std::string)> tell,
                           Failure& failure) {
  auto client = std::make_unique<Client>();
  client->id = ++last_client_;
  client->key = os::random_number();
  client->peer = peer;
  client->tell = std::move(tell);
  client->connected_ms = os::monotonic_ms();
  char program[64];
  os::process_name(peer.pid, program, sizeof program);
  client->program = program;
  Result<os::Fd> table = os::make_memfd("spillway-leases", wire::kSharedBytes);
  if (table) {
    Result<os::Mapping> mapping = os::Mapping::read_write(table->get(), 0, wire::kSharedBytes);
    if (mapping) {
      client->lease_table = std::move(*table);
      client->lease_mapping = std::move(*mapping);
    } else {
      failure = {SPILLWAY_NO_MEMORY,
                 fmt::format("no memory for a session: {}", strerror(mapping.error().code()))};
    }
  } else {
    failure = {SPILLWAY_NO_MEMORY,
               fmt::format("no memory for a session: {}", strerror(table.error().code()))};
  }
  Client& result = *client;
  clients_[result.id] = std::move(client);
  return result;
}

Client* Store::client_by(uint64_t id) {
  const auto found = clients_.find(id);
  return found == clients_.end() ? nullptr : found->second.get();
}

void Store::close_client(Client& client) {
  const uint64_t id = client.id;
  hear(client);
  client.tell = [](wire::Verb, std::string) {};
  // 1. What it was waiting for.
  for (auto w = name_waiters_.begin(); w != name_waiters_.end();) {
    if (w->second.client != id) {
      ++w;
      continue;
    }
    if (w->second.timer) timers_.cancel(*w->second.timer);
    w = name_waiters_.erase(w);
  }
  for (RoomRequest& request : queue_)
    if (request.client == id) request.abandoned = true;
  // 2. What it holds.
  while (!client.leases.empty()) {
    Lease* const lease = client.leases.begin()->second.get();
    detach_lease(*lease, false);
    client.leases.erase(lease->slot);
  }
  // 3. What it was making, and what only it referred to.
  for (uint64_t made : std::vector<uint64_t>(client.creating.begin(), client.creating.end()))
    abort(client, made);
  const IndexSet references = std::exchange(client.references, {});
  references.each([&](uint32_t index) {
    Object* const object = table_[index];
    if (object == nullptr) return;  // it went with another of them
    --object->references;
    maybe_die(*object);
  });
  end_slot_leases(client);
  buffers_.close(id);
  clients_.erase(id);
  slabs_.trim();
  pump();
}

// --- objects
// --------------------------------------------------------------------------------------------------------

Object* Store::object_by(uint64_t id) {
  const uint32_t index = static_cast<uint32_t>(id);
  if (index >= table_.size()) return nullptr;
  Object* const object = table_[index];
  return object != nullptr && object->id == id ? object : nullptr;
}

bool Store::may(const Client& client, const Object& object, unsigned bit) const {
  const uint32_t uid = client.peer.uid;
  if (uid == object.uid || uid == 0 || uid == os::user_id()) return true;
  if (client.peer.gid == object.gid && (object.mode & bit << 3)) return true;
  return (object.mode & bit) != 0;
}

Answer<Object*> Store::find(Client& client, const Which& which, bool to_write) {
  Object* object = nullptr;
  if (!which.name.empty()) {
    const auto found = names_.find(std::string_view(which.name));
    if (found == names_.end())
      return {{SPILLWAY_NOT_FOUND, fmt::format("no object has the name {}", which.name)}};
    object = *found;
  } else {
    object = object_by(which.id);
    if (object == nullptr || object->state == wire::Residency::kCreating) {
      hear_all();  // its maker may have said so a moment ago
      object = object_by(which.id);
    }
    if (object != nullptr && (object->key != which.key || object->state == wire::Residency::kCreating))
      object = nullptr;
    if (object == nullptr)
      return {{SPILLWAY_NOT_FOUND, "no such object: it was erased, or its last reference went"}};
  }
  if (!may(client, *object, to_write ? 02 : 04))
    return {{SPILLWAY_DENIED, fmt::format("this object belongs to user {} and its mode is {:04o}",
                                          object->uid, static_cast<unsigned>(object->mode))}};
  return {{}, object};
}

uint64_t Store::reserve_id() {
  uint32_t index;
  if (!free_indices_.empty()) {
    index = free_indices_.back();
    free_indices_.pop_back();
  } else {
    index = static_cast<uint32_t>(table_.size());
    table_.push_back(nullptr);
    generations_.push_back(0);
  }
  return make_id(index, ++generations_[index]);
}

Object& Store::make_object(Client& client, const PutRequest& request, uint64_t bytes) {
  return make_object(client, request, bytes, reserve_id(), fresh_key());
}

// Not to be guessed, and never 0.
uint64_t Store::fresh_key() {
  if (keys_left_ == 0) {
    CHECK(os::random_bytes(keys_.data(), sizeof keys_).ok(), "no random numbers");
    keys_left_ = keys_.size();
  }
  return keys_[--keys_left_] | 1;
}

Object& Store::make_object(Client& client, const PutRequest& request, uint64_t bytes, uint64_t id,
                           uint64_t key) {
  auto* const object = new Object;
  object->id = id;
  object->key = key;
  object->bytes = bytes;
  object->uid = client.peer.uid;
  object->gid = client.peer.gid;
  object->mode = request.mode ? request.mode : 0600;
  object->hint = request.hint;
  object->created_s = now_s();
  object->used_ns = os::clock_ns();
  object->maker = static_cast<uint32_t>(client.id - first_client_);
  object->retained = client.retain_all || (request.flags & SPILLWAY_RETAIN);
  object->durable = request.flags & SPILLWAY_DURABLE;
  object->uncounted = request.flags & SPILLWAY_UNCOUNTED;
  object->name = request.name;
  if (!request.tag.empty()) object->more().tag = request.tag;
  const std::string& filters = request.filters.empty() ? config_.filters : request.filters;
  if (!filters.empty() && filters != "none") object->more().filters = filters;
  table_[static_cast<uint32_t>(id)] = object;
  ++object_count_;
  client.made_bytes += bytes;
  ++client.made_objects;
  return *object;
}

Failure Store::check_put(Client& client, const PutRequest& request, uint64_t bytes) {
  if (!request.name.empty()) {
    if (Failure f = bad_name(request.name); f.bad()) return f;
    const auto taken = names_.find(std::string_view(request.name));
    if (taken != names_.end()) {
      if (request.flags & SPILLWAY_EXCLUSIVE)
        return {SPILLWAY_EXISTS, fmt::format("the name {} is taken", request.name)};
      if (!may(client, **taken, 02))
        return {SPILLWAY_DENIED, fmt::format("the name {} belongs to user {}", request.name, (*taken)->uid)};
    }
  } else if (request.flags & SPILLWAY_UNCOUNTED) {
    return {SPILLWAY_INVALID, "an object without a name and without a reference could not be found again"};
  }
  if (request.tag.size() > 2048) return {SPILLWAY_INVALID, "a tag has at most 2048 bytes"};
  if (request.mode & ~0666u) return {SPILLWAY_INVALID, "a mode has the bits 0666 only"};
  const auto filters = format::split_filters(request.filters);
  for (const std::string& filter : filters)
    if (!format::is_builtin_filter(filter) && !(filter == "none" && filters.size() == 1))
      return {
          SPILLWAY_INVALID,
          fmt::format("{}: expected the filters lz4, zstd or checksum, joined by commas, or none", filter)};
  if (filters.size() > 8) return {SPILLWAY_INVALID, "at most 8 filters"};
  if (bytes > wire::kMaxObjectBytes || bytes > config_.max_object)
    return {SPILLWAY_TOO_LARGE, fmt::format("an object has at most {} bytes (max_object), this one {}",
                                            std::min(wire::kMaxObjectBytes, config_.max_object), bytes)};
  if (client.made_bytes + bytes > config_.client_limit)
    return {SPILLWAY_FULL, fmt::format("this session's objects have {} bytes, and may have {} (client_limit)",
                                       client.made_bytes, config_.client_limit)};
  return {};
}

void Store::add_reference(Client& client, Object& object) {
  const auto index = static_cast<uint32_t>(object.id);
  if (client.references.insert(index))
    ++object.references;
  else
    ++client.more_references[index];
  object.recovered = false;
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
}

// From here on others find it.
void Store::publish(Object& object) {
  object.version = ++last_version_;
  if (object.name.empty()) return;
  Object* before = nullptr;
  if (const auto found = names_.find(&object); found != names_.end()) {
    before = *found;
    names_.erase(found);
  }
  names_.insert(&object);
  tell_change(before ? SPILLWAY_REPLACED : SPILLWAY_CREATED, object);
  if (before != nullptr) {
    before->name.clear();
    before->recovered = false;
    if (before->listing || (before->disk && before->disk->in_manifest)) {
      const uint64_t id = before->id;
      journal([this, id] { (void)manifest_.unname(id).ok(); });
    }
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
    if (o == nullptr) return;  // its maker has gone
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
    write_own_file(object, {.keep_memory = true, .sync = true}, publish_now);
    return;
  }
  publish_now({});
}

// --- making
// ---------------------------------------------------------------------------------------------------------

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
  if (queue_.empty() && used_with(bytes, access) + buffers_.idle_bytes() <= config_.memory_limit) {
    auto memory = make_ref<Memory>(*this);
    memory->charge = bytes;
    charged_bytes_ += bytes;
    publish_small(client, request, data, std::move(memory), reply);
    if (used_bytes() > config_.memory_limit / 100 * config_.high_watermark) pump_later();
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
    SpillDirectory* const directory = reserve_disk(bytes + format::kDataOffset, failure);
    if (directory == nullptr) return reply({failure});
    Object& object = make_object(*c, request, bytes);
    c->creating.insert(object.id);
    auto copy = make_ref<DiskCopy>(*this);
    copy->directory = directory;
    copy->charge = bytes + format::kDataOffset;
    copy->path = Disk::object_path(*directory, object.id);
    copy->offset = format::kDataOffset;
    copy->id = object.id;
    auto result = std::make_shared<format::FileError>();
    auto header = std::make_shared<format::ObjectHeader>();
    header->id = object.id;
    header->tag = request.tag;
    work(
        [copy, shared_data, result, header] {
          Result<os::Fd> file = os::open_file(copy->path.c_str(), os::Open::kReplace);
          *result = file ? format::write_object(*file, *shared_data, *header)
                         : format::FileError{file.error(), strerror(file.error().code())};
        },
        [this, copy, result, header, id, object_id = object.id, reply, flags = request.flags] {
          Object* const o = object_by(object_id);
          Client* const maker = client_by(id);
          if (o == nullptr || maker == nullptr) return;
          if (result->bad()) {
            abort(*maker, object_id);
            return reply({{result->code == ENOSPC ? SPILLWAY_DISK_FULL : SPILLWAY_IO,
                           copy->path + ": " + result->what}});
          }
          copy->stored_bytes = header->stored_bytes;
          copy->checksum = header->checksum;
          o->disk = copy;
          seal_on_disk(*maker, *o, reply);
        });
    create_flags_[object.id] = request.flags;
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
      reply({{SPILLWAY_NO_MEMORY, fmt::format("no memory for {} bytes: {}", bytes, strerror(e.code()))}});
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

// --- dying
// ----------------------------------------------------------------------------------------------------------

void Store::maybe_die(Object& object) {
  if (object.references > 0 || object.recovered || object.state == wire::Residency::kCreating) return;
  if (!object.name.empty()) return;
  destroy(object);
}

// Nobody finds it any more. `done` when it cannot come back after a restart either.
void Store::destroy(Object& object, Done done) {
  const std::string keep_at = object.retained ? retained_path(object) : "";
  if (!object.name.empty()) {
    unbind_name(object);
    tell_change(SPILLWAY_ERASED, object);
    object.name.clear();
  }
  ++counters_.erased;
  if (object.retained) {
    // Its file stays: written first, if there is none.
    object.retained = false;
    if (object.state != wire::Residency::kDeleted && object.state != wire::Residency::kFailed) {
      const uint64_t id = object.id;
      object.recovered = true;               // not to die again meanwhile
      object.key = os::random_number() | 1;  // nor to be found
      keep_file(object, keep_at, [this, id, done](Failure failure) {
        Object* const o = object_by(id);
        if (o != nullptr) forget_object(*o);
        if (done) done(failure);
        pump();
      });
      return;
    }
  }
  const bool listed = object.listing || (object.disk && object.disk->in_manifest);
  forget_object(object);
  // The record of its end is queued, or that of an earlier object of its name, which would be found again;
  // what is queued after them is done after them.
  if (done) {
    if (listed || journal_queued_ > 0)
      journal([] {}, done);
    else
      done({});
  }
  pump_later();
}

void Store::forget_object(Object& object) {
  if (Client* const maker = maker_of(object)) {
    maker->made_bytes -= std::min(maker->made_bytes, object.bytes);
    --maker->made_objects;
  }
  unbind_name(object);
  policy_.remove(object);
  if (object.moving && object.memory) departing_bytes_ -= object.memory->charge;
  object.moving = false;
  // Who holds it goes on holding its bytes.
  while (object.leases != nullptr) detach_lease(*object.leases, true);
  let_leave(object);
  let_go_of_copy(object);
  if (object.details)
    for (const DestroyCall& call : object.details->on_destroy)
      if (Client* const client = client_by(call.client)) {
        wire::Writer w;
        w.number(call.cookie);
        client->tell(wire::Verb::kDestroyed, w.take());
      }
  const uint64_t id = object.id;
  if (auto waiters = load_waiters_.extract(id); !waiters.empty())
    for (Waiter& w : waiters.mapped()) {
      const Failure gone{SPILLWAY_NOT_FOUND, "it was erased meanwhile"};
      if (w.loaded)
        w.loaded(gone);
      else if (client_by(w.client) != nullptr)
        w.reply({gone});
    }
  if (auto waiters = spill_waiters_.extract(id); !waiters.empty())
    for (Done& done : waiters.mapped()) done({SPILLWAY_NOT_FOUND, "it was erased meanwhile"});
  for (auto& [client_id, client] : clients_) {
    (void)client_id;
    if (object.references == 0) break;
    if (!client->references.erase(static_cast<uint32_t>(id))) continue;
    client->more_references.erase(static_cast<uint32_t>(id));
    --object.references;
  }
  no_spill_until_.erase(id);
  table_[static_cast<uint32_t>(id)] = nullptr;
  free_indices_.push_back(static_cast<uint32_t>(id));
  --object_count_;
  delete &object;
}

void Store::give_back(Memory& memory) {
  charged_bytes_ -= memory.charge;
  leaving_.erase(&memory);
  if (memory.slab != nullptr) {
    small_bytes_ -= memory.charge;
    slabs_.release(memory.place());
  }
  if (Buffer* const buffer = memory.buffer()) {
    // An object that was not finished: what was touched is not known.
    if (buffer->warm_bytes < memory.charge) buffer->warm_bytes = 0;
    buffers_.give_back(std::move(memory.large->buffer), os::monotonic_ms());
    limit_idle();
  } else if (memory.large) {
    free_pages(std::move(memory.large->fd), memory.charge, memory.charge);
  }
  if (!closing_ && !queue_.empty()) pump_later();
}

// Freeing pages takes 0.1 ms a MiB, so it is done elsewhere; until then they count. (EPERM, not looked at: it
// is sealed, and goes with the last mapping.)
void Store::free_pages(os::Fd file, uint64_t file_bytes, uint64_t warm_bytes) {
  if (closing_ || !freer_) return;
  freeing_bytes_ += warm_bytes;
  auto shared = std::make_shared<os::Fd>(std::move(file));
  freer_->run(
      [shared, file_bytes] {
        os::give_back(shared->get(), 0, file_bytes);
        shared->reset();
      },
      [this, warm_bytes] {
        freeing_bytes_ -= warm_bytes;
        if (!queue_.empty()) pump_later();
      });
}

void Store::erase(Client& client, const Which& which, Done done) {
  Answer<Object*> found = find(client, which, true);
  if (found.failure.status == SPILLWAY_NOT_FOUND) return done({});  // what is gone already is no error
  if (found.failure.bad()) return done(found.failure);
  destroy(*found.value, std::move(done));
}

void Store::cleanup(Client& client, Done done) {
  hear(client);
  std::vector<uint64_t> mine;
  for (Object* object : table_)
    if (object != nullptr && made(client, *object) && !object->retained &&
        object->state != wire::Residency::kCreating)
      mine.push_back(object->id);
  for (uint64_t id : mine)
    if (Object* const object = object_by(id)) destroy(*object);
  journal([] {}, std::move(done));
}

// --- references
// -----------------------------------------------------------------------------------------------------

Failure Store::ref(Client& client, const Which& which, Published& published) {
  Answer<Object*> found = find(client, which);
  if (found.failure.bad()) return found.failure;
  add_reference(client, *found.value);
  published = {found.value->id, found.value->key, found.value->version};
  return {};
}

void Store::unref(Client& client, uint64_t id) {
  Object* const object = object_by(id);
  const auto index = static_cast<uint32_t>(id);
  if (object == nullptr || !client.references.contains(index)) return;
  if (const auto more = client.more_references.find(index); more != client.more_references.end()) {
    if (--more->second == 0) client.more_references.erase(more);
    return;
  }
  client.references.erase(index);
  --object->references;
  maybe_die(*object);
}

Answer<uint64_t> Store::issue(Client& client, const Which& which, uint64_t expiry_ms) {
  Answer<Object*> found = find(client, which);
  if (found.failure.bad()) return {found.failure};
  const uint64_t nonce = os::random_number() | 1;
  ++found.value->references;
  found.value->recovered = false;
  Ticket ticket;
  ticket.object = found.value->id;
  constexpr uint64_t kMostMs = uint64_t{1} << 50;  // tens of thousands of years
  const uint64_t life_ms = std::min(expiry_ms ? expiry_ms : kDefaultTicketMs, kMostMs);
  ticket.timer = timers_.add(os::monotonic_ms() + life_ms, [this, nonce] { void_ticket(nonce); });
  tickets_[nonce] = ticket;
  return {{}, nonce};
}

void Store::void_ticket(uint64_t nonce) {
  const auto expired = tickets_.extract(nonce);
  if (expired.empty()) return;
  timers_.cancel(expired.mapped().timer);
  Object* const object = object_by(expired.mapped().object);
  if (object == nullptr) return;
  --object->references;
  maybe_die(*object);
}

Failure Store::claim(Client& client, uint64_t id, uint64_t key, uint64_t nonce) {
  Published published;
  if (Failure f = ref(client, {id, key, ""}, published); f.bad()) return f;
  const auto ticket = tickets_.find(nonce);
  if (ticket == tickets_.end() || ticket->second.object != id) return {};
  timers_.cancel(ticket->second.timer);
  tickets_.erase(ticket);
  --object_by(id)->references;  // the client's keeps it
  return {};
}

Failure Store::on_destroy(Client& client, const Which& which, uint64_t cookie) {
  Answer<Object*> found = find(client, which);
  if (found.failure.bad()) return found.failure;
  found.value->more().on_destroy.push_back({client.id, cookie});
  return {};
}

Failure Store::keep_resident(Client& client, const Which& which, int change) {
  Answer<Object*> found = find(client, which, true);
  if (found.failure.bad()) return found.failure;
  Object& object = *found.value;
  if (change < 0 && object.kept_resident() == 0) return {SPILLWAY_INVALID, "it is not pinned"};
  object.more().kept_resident += static_cast<uint32_t>(change);
  if (change < 0) pump_later();
  return {};
}

Failure Store::set_hint(Client& client, const Which& which, wire::Hint hint) {
  Answer<Object*> found = find(client, which, true);
  if (found.failure.bad()) return found.failure;
  policy_.set_hint(*found.value, hint);
  return {};
}

// --- looking
// --------------------------------------------------------------------------------------------------------

Store::Cursor Store::list(Client& client, const std::string& prefix, bool unnamed, Cursor from,
                          const std::function<bool(Object&)>& visit) {
  hear_all();
  unsigned looked_at = 0;  // others wait meanwhile: a bounded part at a time
  constexpr unsigned kMostAtOnce = 20'000;
  if (from.index == 0) {
    auto at = from.name.empty() ? names_.lower_bound(std::string_view(prefix))
                                : names_.upper_bound(std::string_view(from.name));
    for (; at != names_.end() && (*at)->name.view().starts_with(prefix); ++at) {
      if (++looked_at > kMostAtOnce) return from;
      if (may(client, **at, 04) && !visit(**at)) return from;
      from.name = (*at)->name.view();
    }
    if (!unnamed) return {};
    from = {"", 1};
  }
  for (uint64_t i = from.index - 1; i < table_.size(); ++i) {
    Object* const object = table_[i];
    if (++looked_at > kMostAtOnce) return {"", i + 1};
    if (object == nullptr || !object->name.empty() || !may(client, *object, 04)) continue;
    if (!visit(*object)) return {"", i + 1};
  }
  return {};
}

uint32_t Store::pins_of(const Object& object) const {
  uint32_t pins = object.kept_resident();
  for (const Lease* lease = object.leases; lease != nullptr; lease = lease->next) {
    const uint32_t word =
        std::atomic_ref(lease->client->slot(lease->slot)->word).load(std::memory_order_acquire);
    pins += word & wire::kPinMask;
  }
  return pins;
}

uint64_t Store::pinned_bytes(const Client& client) const {
  uint64_t sum = 0;
  for (const auto& [slot, lease] : client.leases) {
    const uint32_t word = std::atomic_ref(lease->client->slot(slot)->word).load(std::memory_order_acquire);
    if ((word & wire::kPinMask) != 0 && lease->memory) sum += lease->memory->charge;
  }
  return sum;
}

std::string Store::file_of(const Object& object) const {
  if (!object.disk) return "";
  return object.disk->pack ? Disk::pack_path(*object.disk->pack->directory, object.disk->pack->number)
                           : object.disk->path;
}

std::vector<DeviceState> Store::devices() {
  std::vector<DeviceState> all;
  hear_all();
  const uint64_t used = used_bytes() - leased_bytes_ - freeing_bytes_;
  all.push_back({"memory", "", config_.memory_limit, used,
                 config_.memory_limit > used ? config_.memory_limit - used : 0});
  for (const auto& directory : disk_.directories()) {
    const uint64_t room = disk_.room_in(*directory);
    uint64_t capacity = std::min(directory->limit_bytes, disk_.limit());
    capacity = std::min(capacity, directory->used_bytes + room);
    all.push_back(
        {fmt::format("disk{}", directory->index), directory->path, capacity, directory->used_bytes, room});
  }
  return all;
}

std::vector<std::pair<std::string, uint64_t>> Store::counters() {
  hear_all();
  const os::Resident resident = os::resident_bytes();
  return {{"memory_limit_bytes", config_.memory_limit},
          {"memory_used_bytes", used_bytes() - leased_bytes_ - freeing_bytes_},
          {"leased_bytes", leased_bytes_},
          {"small_object_bytes", small_bytes_},
          {"slab_bytes", slabs_.allocated_bytes()},
          {"idle_buffer_bytes", buffers_.idle_bytes()},
          {"leaving_bytes", leaving_bytes()},
          {"disk_limit_bytes", config_.disk_limit},
          {"disk_used_bytes", disk_.used()},
          {"objects", object_count_},
          {"names", names_.size()},
          {"clients", clients_.size()},
          {"waiting_for_room", queue_.size()},
          {"tokens_in_flight", tickets_.size()},
          {"puts", counters_.puts},
          {"gets", counters_.gets},
          {"hits", counters_.hits},
          {"misses", counters_.misses},
          {"spills", counters_.spills},
          {"spilled_bytes", counters_.spilled_bytes},
          {"free_evictions", counters_.free_evictions},
          {"destroyed_on_evict", counters_.destroyed_on_evict},
          {"loads", counters_.loads},
          {"loaded_bytes", counters_.loaded_bytes},
          {"file_reads", counters_.file_reads},
          {"spill_failures", counters_.spill_failures},
          {"load_failures", counters_.load_failures},
          {"full_answers", counters_.full_answers},
          {"erased", counters_.erased},
          {"revokes", counters_.revokes},
          {"daemon_resident_bytes", resident.all_bytes},
          {"daemon_private_bytes", resident.all_bytes - resident.shared_bytes}};
}

bool Store::anything_only_in_memory() const {
  for (const Object* object : names_)
    if (object->memory && !object->disk) return true;
  return false;
}

}  // namespace spillway::pool

// store_end.cc - the end of objects, and of the memory they were the last to hold.
#include "base/os/clock.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {

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
    if (object.state != wire::Residency::kDeleted) {
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
  // Whoever waits for it finds that it is no more.
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

}  // namespace spillway::pool

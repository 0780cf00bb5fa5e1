// store_refs.cc - counted references, tokens on their way, and what a holder may ask of an object.
#include <algorithm>

#include "base/os/clock.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {
namespace {

constexpr uint64_t kDefaultTicketMs = 60'000;

}  // namespace

void Store::add_reference(Client& client, Object& object) {
  const auto index = static_cast<uint32_t>(object.id);
  if (client.references.insert(index))
    ++object.references;
  else
    ++client.more_references[index];
  object.recovered = false;
}

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
  list_again(object, [](Failure) {});
  if (change < 0) pump_later();
  return {};
}

Failure Store::set_hint(Client& client, const Which& which, wire::Hint hint) {
  Answer<Object*> found = find(client, which, true);
  if (found.failure.bad()) return found.failure;
  policy_.set_hint(*found.value, hint);
  if (found.value->state != wire::Residency::kCreating) show(*found.value);
  return {};
}

}  // namespace spillway::pool

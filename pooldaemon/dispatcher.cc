// dispatcher.cc - what each verb asks for and answers; the grammar is in docs/wire_protocol.md.
// Always: every request that has an answer gets one; one that cannot be decoded gets SPILLWAY_INVALID.
#include "pooldaemon/requests.h"
#include "spillway/version.h"

namespace spillway::pool {

using wire::Verb;

void dispatch(Server& server, Connection& connection, wire::Frame& frame) {
  Store& store = server.store();
  wire::Reader r(frame.payload);
  const Responder reply{connection.weak_from_this(), frame.header.request, frame.header.verb};
  const Verb verb = static_cast<Verb>(frame.header.verb);
  static const Failure invalid{SPILLWAY_INVALID, "the request cannot be decoded"};

  // 1. Who is it.
  if (connection.role == Connection::Role::kNew) {
    if (verb == Verb::kHello) {
      if (!r.complete()) return reply.fail(invalid);
      return server.hello(connection, frame.header.request);
    }
    if (verb == Verb::kAttach) {
      const uint64_t id = r.number<uint64_t>(), key = r.number<uint64_t>();
      const bool notify = r.number<uint8_t>() != 0;
      if (!r.complete()) return reply.fail(invalid);
      if (!server.attach(connection, id, key, notify))
        return reply.fail({SPILLWAY_DENIED, "no such session"});
      if (!notify) return reply.ok();
      wire::Writer w(wire::kHeaderBytes);
      w.bytes(store.small_names().directory());
      reply.ok(w, store.name_marks());
      return server.attached(connection);
    }
    return reply.fail({SPILLWAY_INVALID, "a connection begins with hello or attach"});
  }
  Client* const found_client = store.client_by(connection.client);
  if (found_client == nullptr) return connection.close();
  Client& client = *found_client;
  store.hear(client);

  // 2. What does it want.
  switch (verb) {
    case Verb::kPut: {
      PutRequest request = read_put(r);
      std::string data(r.bytes(wire::kLargeBytes));
      if (!r.complete()) return reply.fail(invalid);
      return store.put(client, std::move(request), std::move(data), [reply](Answer<Published> a) {
        if (a.failure.bad()) return reply.fail(a.failure);
        wire::Writer w(wire::kHeaderBytes);
        write_published(w, a.value);
        reply.ok(w);
      });
    }
    case Verb::kCreate: {
      PutRequest request = read_put(r);
      const uint64_t bytes = r.number<uint64_t>();
      if (!r.complete()) return reply.fail(invalid);
      return store.create(client, std::move(request), bytes, [reply](Answer<Created> a) {
        if (a.failure.bad()) return reply.fail(a.failure);
        wire::Writer w(wire::kHeaderBytes);
        w.number(a.value.id)
            .number(a.value.key)
            .number(static_cast<uint8_t>(a.value.place))
            .number(a.value.offset);
        const Buffer* const buffer = a.value.buffer;
        w.number(buffer ? buffer->id : uint32_t{0})
            .number(buffer ? buffer->file_bytes : uint64_t{0})
            .number(buffer ? buffer->warm_bytes : uint64_t{0});
        reply.ok(w, a.value.fd);
      });
    }
    case Verb::kSeal: {
      const uint64_t id = r.number<uint64_t>();
      if (!r.complete()) return reply.fail(invalid);
      return store.seal(client, id, [reply](Answer<Published> a) {
        if (a.failure.bad()) return reply.fail(a.failure);
        wire::Writer w(wire::kHeaderBytes);
        write_published(w, a.value);
        reply.ok(w);
      });
    }
    case Verb::kAbort: {
      const uint64_t id = r.number<uint64_t>();
      if (!r.complete()) return reply.fail(invalid);
      store.abort(client, id);
      return reply.ok();
    }
    case Verb::kGet:
      return get(store, client, r, reply, invalid);
    case Verb::kReleased:
      while (r.left() >= sizeof(uint32_t)) store.released(client, r.number<uint32_t>());
      return;
    case Verb::kUnref:
      while (r.left() >= sizeof(uint64_t)) store.unref(client, r.number<uint64_t>());
      return;
    case Verb::kRef: {
      const Which which = read_which(r);
      if (!r.complete()) return reply.fail(invalid);
      Published published;
      if (Failure f = store.ref(client, which, published); f.bad()) return reply.fail(f);
      wire::Writer w(wire::kHeaderBytes);
      write_published(w, published);
      return reply.ok(w);
    }
    case Verb::kErase: {
      const Which which = read_which(r);
      if (!r.complete()) return reply.fail(invalid);
      return store.erase(client, which, [reply](Failure f) { reply.done(f); });
    }
    case Verb::kStat: {
      const Which which = read_which(r);
      if (!r.complete()) return reply.fail(invalid);
      Answer<Object*> found = store.find(client, which);
      if (found.failure.bad()) return reply.fail(found.failure);
      wire::Writer w(wire::kHeaderBytes);
      write_info(w, store, *found.value);
      return reply.ok(w);
    }
    case Verb::kList:
      return list(store, client, r, reply, invalid);
    case Verb::kWatch: {
      const uint32_t id = r.number<uint32_t>();
      std::string prefix(r.bytes(wire::kMaxNameBytes));
      if (!r.complete()) return reply.fail(invalid);
      if (client.watches.size() >= 1024)
        return reply.fail({SPILLWAY_INVALID, "a session has at most 1024 watches"});
      store.watch(client, id, std::move(prefix));
      return reply.ok();
    }
    case Verb::kUnwatch: {
      const uint32_t id = r.number<uint32_t>();
      if (!r.complete()) return reply.fail(invalid);
      store.unwatch(client, id);
      return reply.ok();
    }
    case Verb::kToDisk:
      return to_disk(store, client, r, reply, invalid);
    case Verb::kLoad: {
      const Which which = read_which(r);
      if (!r.complete()) return reply.fail(invalid);
      return store.load(client, which, [reply](Failure f) { reply.done(f); });
    }
    case Verb::kPin: {
      const Which which = read_which(r);
      const int32_t change = r.number<int32_t>();
      if (!r.complete() || (change != 1 && change != -1)) return reply.fail(invalid);
      return reply.done(store.keep_resident(client, which, change));
    }
    case Verb::kRetain: {
      const Which which = read_which(r);
      const bool all = r.number<uint8_t>() != 0, on = r.number<uint8_t>() != 0;
      if (!r.complete()) return reply.fail(invalid);
      return store.retain(client, all ? nullptr : &which, on, [reply](Answer<Filed> a) {
        if (a.failure.bad()) return reply.fail(a.failure);
        wire::Writer w(wire::kHeaderBytes);
        w.bytes(a.value.path);
        reply.ok(w);
      });
    }
    case Verb::kRestore: {
      PutRequest request = read_put(r);
      std::string path(r.bytes(wire::kMaxPathBytes));
      if (!r.complete() || frame.fds.empty()) return reply.fail(invalid);
      return store.restore(client, std::move(request), std::move(path), std::move(frame.fds[0]),
                           [reply](Answer<Published> a) {
                             if (a.failure.bad()) return reply.fail(a.failure);
                             wire::Writer w(wire::kHeaderBytes);
                             write_published(w, a.value);
                             reply.ok(w);
                           });
    }
    case Verb::kHint: {
      const Which which = read_which(r);
      const wire::Hint hint = r.choice(wire::Hint::kRecomputable);
      if (!r.complete()) return reply.fail(invalid);
      return reply.done(store.set_hint(client, which, hint));
    }
    case Verb::kCleanup:
      if (!r.complete()) return reply.fail(invalid);
      return store.cleanup(client, [reply](Failure f) { reply.done(f); });
    case Verb::kIssue: {
      const Which which = read_which(r);
      const uint64_t expiry_ms = r.number<uint64_t>();
      if (!r.complete()) return reply.fail(invalid);
      Answer<uint64_t> nonce = store.issue(client, which, expiry_ms);
      if (nonce.failure.bad()) return reply.fail(nonce.failure);
      wire::Writer w(wire::kHeaderBytes);
      w.number(nonce.value);
      return reply.ok(w);
    }
    case Verb::kClaim: {
      const uint64_t id = r.number<uint64_t>(), key = r.number<uint64_t>(), nonce = r.number<uint64_t>();
      if (!r.complete()) return reply.fail(invalid);
      return reply.done(store.claim(client, id, key, nonce));
    }
    case Verb::kCellNew: {
      const bool future = r.number<uint8_t>() != 0;
      if (!r.complete()) return reply.fail(invalid);
      const auto [id, key] = server.cells().make(client, future);
      wire::Writer w(wire::kHeaderBytes);
      w.number(id).number(key);
      return reply.ok(w);
    }
    case Verb::kCellPut: {
      const uint64_t id = r.number<uint64_t>(), key = r.number<uint64_t>();
      CellValue value;
      value.id = r.number<uint64_t>();
      value.key = r.number<uint64_t>();
      std::string error(r.bytes(16 << 10));
      if (!r.complete()) return reply.fail(invalid);
      return reply.done(server.cells().put(client, id, key, value.key ? std::optional(value) : std::nullopt,
                                           std::move(error)));
    }
    case Verb::kCellGet: {
      const uint64_t id = r.number<uint64_t>(), key = r.number<uint64_t>(), timeout_ms = r.number<uint64_t>();
      if (!r.complete()) return reply.fail(invalid);
      return server.cells().get(client, id, key, timeout_ms, [reply](Answer<CellValue> a) {
        if (a.failure.bad()) return reply.fail(a.failure);
        wire::Writer w(wire::kHeaderBytes);
        w.number(a.value.id).number(a.value.key);
        reply.ok(w);
      });
    }
    case Verb::kDevices: {
      if (!r.complete()) return reply.fail(invalid);
      wire::Writer w(wire::kHeaderBytes);
      const std::vector<DeviceState> devices = store.devices();
      w.number(static_cast<uint32_t>(devices.size()));
      for (const DeviceState& d : devices)
        w.bytes(d.name).bytes(d.path).number(d.capacity).number(d.used).number(d.available);
      return reply.ok(w);
    }
    case Verb::kStats: {
      if (!r.complete()) return reply.fail(invalid);
      wire::Writer w(wire::kHeaderBytes);
      const auto counters = store.counters();
      w.number(static_cast<uint32_t>(counters.size()));
      for (const auto& [name, value] : counters) w.bytes(name).number(value);
      return reply.ok(w);
    }
    case Verb::kClients:
      if (!r.complete()) return reply.fail(invalid);
      return clients(store, client, reply);
    case Verb::kConfig:
      return configure(server, client, r, reply, invalid);
    case Verb::kDrain:
      if (!r.complete()) return reply.fail(invalid);
      return store.drain([reply](Failure f) { reply.done(f); });
    case Verb::kStop: {
      const bool force = r.left() > 0 && r.number<uint8_t>() != 0;
      if (!r.complete()) return reply.fail(invalid);
      if (client.peer.uid != os::user_id() && client.peer.uid != 0)
        return reply.fail({SPILLWAY_DENIED, "only the daemon's own user may stop it"});
      // Answered when everything is on disk, or cannot be.
      return server.stop("asked to", force ? Server::Unwritten::kIsLost : Server::Unwritten::kKeepsIt,
                         [reply](Failure f) { reply.done(f); });
    }
    case Verb::kOnDestroy: {
      const Which which = read_which(r);
      const uint64_t cookie = r.number<uint64_t>();
      if (!r.complete()) return reply.fail(invalid);
      return reply.done(store.on_destroy(client, which, cookie));
    }
    case Verb::kLeaseSlots: {
      const uint32_t bytes = r.number<uint32_t>();
      if (!r.complete()) return reply.fail(invalid);
      Answer<const SlotLease*> leased = store.lease_slots(client, bytes);
      if (leased.failure.bad()) return reply.fail(leased.failure);
      const SlotLease& lease = *leased.value;
      wire::Writer w(wire::kHeaderBytes);
      w.number(lease.number).number(lease.slab->id).number(lease.slab->mapping.bytes());
      w.number(lease.slab->slot_bytes).number(static_cast<uint32_t>(lease.slots.size()));
      for (const SlotLease::Slot& slot : lease.slots) w.number(slot.id).number(slot.key).number(slot.offset);
      return reply.ok(w, lease.slab->fd.get());
    }
    case Verb::kTag:
      return set_or_get_tag(store, client, r, reply, invalid);
    case Verb::kHello:
    case Verb::kAttach:
      return reply.fail({SPILLWAY_INVALID, "this connection belongs to a session already"});
    default:
      return reply.fail({SPILLWAY_UNSUPPORTED, fmt::format("this daemon ({}) has no verb {}",
                                                           SPILLWAY_VERSION_STRING, frame.header.verb)});
  }
}

}  // namespace spillway::pool

#include "pooldaemon/requests.h"

#include <algorithm>
#include <ctime>

#include "base/os/clock.h"

namespace spillway::pool {
namespace {

constexpr size_t kMostTagBytes = 16u << 10;  // a record of the manifest has all of an object's

}  // namespace

Which read_which(wire::Reader& r) {
  Which which;
  which.id = r.number<uint64_t>();
  which.key = r.number<uint64_t>();
  which.name = r.bytes(wire::kMaxNameBytes);
  return which;
}

PutRequest read_put(wire::Reader& r) {
  PutRequest p;
  p.name = r.bytes(wire::kMaxNameBytes);
  p.tag = r.bytes(wire::kMaxTagBytes);
  p.filters = r.bytes(256);
  p.mode = r.number<uint16_t>();
  p.hint = r.choice(wire::Hint::kRecomputable);
  p.when_full = r.choice(wire::WhenFull::kFail);
  p.timeout_ms = r.number<uint64_t>();
  p.flags = r.number<uint32_t>();
  return p;
}

void write_published(wire::Writer& w, const Published& p) { w.number(p.id).number(p.key).number(p.version); }

void write_info(wire::Writer& w, Store& store, const Object& o) {
  const Client* const maker = store.maker_of(o);
  const uint64_t now_ns = os::clock_ns();
  w.number(o.id).number(o.key).bytes(o.name).number(o.bytes).number(static_cast<uint8_t>(o.state));
  w.number(o.version).bytes(o.details ? o.details->tag : "").number(o.uid).number(o.mode);
  w.number(maker ? maker->peer.pid : 0).number(o.references).number(store.pins_of(o));
  w.number(static_cast<uint8_t>(o.hint));
  const uint64_t age_s = static_cast<uint64_t>(::time(nullptr)) - o.created_s;
  w.number(age_s * 1000).number(now_ns > o.used_ns ? (now_ns - o.used_ns) / 1'000'000 : 0);
  std::string filters;
  if (o.disk)
    for (const std::string& filter : o.disk->filters) filters += (filters.empty() ? "" : ",") + filter;
  w.bytes(store.file_of(o)).bytes(filters).number(static_cast<uint8_t>(o.retained));
}

void get(Store& store, Client& client, wire::Reader& r, const Responder& reply, const Failure& invalid) {
  GetRequest request;
  request.which = read_which(r);
  request.timeout_ms = r.number<uint64_t>();
  request.when_full = r.choice(wire::WhenFull::kFail);
  if (!r.complete()) return reply.fail(invalid);
  store.get(client, std::move(request), [reply](Answer<Held> answer) {
    if (answer.failure.bad()) return reply.fail(answer.failure);
    const Held& held = answer.value;
    const Object& o = *held.object;
    wire::Writer w(wire::kHeaderBytes);
    w.number(o.id).number(o.key).number(o.version).number(o.bytes).bytes(o.details ? o.details->tag : "");
    w.number(static_cast<uint8_t>(held.place)).number(held.slot).number(held.slab).number(held.slab_bytes);
    w.number(held.offset);
    reply.ok(w, held.fd);
  });
}

void list(Store& store, Client& client, wire::Reader& r, const Responder& reply, const Failure& invalid) {
  const std::string prefix(r.bytes(wire::kMaxNameBytes));
  const bool unnamed = r.number<uint8_t>() != 0;
  Store::Cursor from;
  from.name = r.bytes(wire::kMaxNameBytes);
  from.index = r.number<uint64_t>();
  if (!r.complete()) return reply.fail(invalid);
  wire::Writer items;
  uint32_t count = 0;
  const Store::Cursor next = store.list(client, prefix, unnamed, from, [&](Object& object) {
    if (items.data().size() > (256 << 10)) return false;
    if (object.state == wire::Residency::kCreating) return true;
    write_info(items, store, object);
    ++count;
    return true;
  });
  wire::Writer w(wire::kHeaderBytes);
  w.bytes(next.name).number(next.index).number(count);
  w.data() += items.data();
  reply.ok(w);
}

void to_disk(Store& store, Client& client, wire::Reader& r, const Responder& reply, const Failure& invalid) {
  ToDisk request;
  request.which = read_which(r);
  request.path = r.bytes(wire::kMaxPathBytes);
  request.filters = r.bytes(256);
  const uint32_t flags = r.number<uint32_t>();
  if (!r.complete()) return reply.fail(invalid);
  request.keep_memory = flags & 1;
  request.overwrite = flags & 2;
  request.sync = flags & 4;
  request.other_filters = flags & 8;
  store.to_disk(client, std::move(request), [reply](Answer<Filed> answer) {
    if (answer.failure.bad()) return reply.fail(answer.failure);
    wire::Writer w(wire::kHeaderBytes);
    w.bytes(answer.value.path).number(answer.value.bytes);
    reply.ok(w);
  });
}

void clients(Store& store, Client& self, const Responder& reply) {
  wire::Writer w(wire::kHeaderBytes);
  w.number(static_cast<uint32_t>(store.clients().size()));
  store.hear_all();
  const uint64_t now = os::monotonic_ms();
  for (const auto& [id, c] : store.clients()) {
    w.number(c->peer.pid)
        .number(c->peer.uid)
        .bytes(c->program)
        .number(now - c->connected_ms)
        .number(c->made_bytes);
    w.number(store.pinned_bytes(*c))
        .number(c->made_objects)
        .number(static_cast<uint64_t>(c->references.size()));
    w.number(static_cast<uint64_t>(c->leases.size())).number(c->puts).number(c->gets).number(c->hits);
    w.number(static_cast<uint8_t>(id == self.id));
  }
  reply.ok(w);
}

void configure(Server& server, Client& client, wire::Reader& r, const Responder& reply,
               const Failure& invalid) {
  const std::string name(r.bytes(64));
  const bool set = r.number<uint8_t>() != 0;
  const std::string value(r.bytes(wire::kMaxPathBytes));
  if (!r.complete()) return reply.fail(invalid);
  Store& store = server.store();
  const Setting* const setting = find_setting(name);
  if (!name.empty() && setting == nullptr) {
    std::string known;
    for (const Setting& s : settings()) known += (known.empty() ? "" : ", ") + std::string(s.name);
    return reply.fail({SPILLWAY_NOT_FOUND, fmt::format("no setting {}; there are {}", name, known)});
  }
  if (set) {
    if (setting == nullptr) return reply.fail({SPILLWAY_INVALID, "which setting?"});
    if (client.peer.uid != os::user_id() && client.peer.uid != 0)
      return reply.fail({SPILLWAY_DENIED, "only the daemon's own user may change its settings"});
    if (!setting->while_running)
      return reply.fail(
          {SPILLWAY_INVALID, fmt::format("{} cannot be changed while the daemon runs; stop it and start it "
                                         "with another value",
                                         name)});
    Config next = store.config();
    std::string why = setting->set(next, value);
    if (why.empty()) why = check(next);
    if (!why.empty()) return reply.fail({SPILLWAY_INVALID, fmt::format("{}: {}", name, why)});
    store.config() = next;
    store.config_changed();
    log_line(fmt::format("config {}={}", name, setting->get(store.config())));
  }
  wire::Writer w(wire::kHeaderBytes);
  std::string text;
  for (const Setting& s : settings())
    if (setting == nullptr || setting == &s) text += fmt::format("{} = {}\n", s.name, s.get(store.config()));
  w.bytes(text);
  reply.ok(w);
}

void set_or_get_tag(Store& store, Client& client, wire::Reader& r, const Responder& reply,
                    const Failure& invalid) {
  const Which which = read_which(r);
  const bool set = r.number<uint8_t>() != 0;
  const std::string device(r.bytes(64));
  const std::string tag(r.bytes(wire::kMaxTagBytes));
  if (!r.complete()) return reply.fail(invalid);
  Answer<Object*> found = store.find(client, which, set);
  if (found.failure.bad()) return reply.fail(found.failure);
  if (tag.size() > 2048) return reply.fail({SPILLWAY_INVALID, "a tag has at most 2048 bytes"});
  Object& object = *found.value;
  std::string* place = &object.more().tag;
  if (!device.empty()) {
    bool known = false;
    std::string names;
    for (const DeviceState& d : store.devices()) {
      known = known || d.name == device;
      names += (names.empty() ? "" : ", ") + d.name;
    }
    if (!known)
      return reply.fail({SPILLWAY_NOT_FOUND, fmt::format("no device {}; there are {}", device, names)});
    auto& tags = object.more().device_tags;
    auto at = std::find_if(tags.begin(), tags.end(), [&](const auto& t) { return t.first == device; });
    if (at == tags.end()) at = tags.insert(tags.end(), {device, ""});
    place = &at->second;
  }
  if (set) {
    size_t all = tag.size() + object.more().tag.size() - place->size();
    for (const auto& [name, text] : object.more().device_tags) all += name.size() + text.size();
    if (all > kMostTagBytes)
      return reply.fail(
          {SPILLWAY_INVALID,
           fmt::format("an object's tags have at most {} bytes together, these {}", kMostTagBytes, all)});
    *place = tag;
    return store.list_again(object, [reply, tag](Failure) {
      wire::Writer w(wire::kHeaderBytes);
      w.bytes(tag);
      reply.ok(w);
    });
  }
  wire::Writer w(wire::kHeaderBytes);
  w.bytes(*place);
  reply.ok(w);
}

}  // namespace spillway::pool

// c_api_look.cc - what there is: objects, changes, devices, statistics, clients.
#include "libpool/client/c_api.h"

using namespace spillway;
using namespace spillway::client;

struct spillway_watch {
  spillway_pool* pool = nullptr;
  uint32_t id = 0;
};

namespace {

struct InfoText {
  std::string name, tag, file, filters;
};

bool read_info(wire::Reader& r, spillway_info& info, InfoText& text) {
  info.ref.id = r.number<uint64_t>();
  info.ref.key = r.number<uint64_t>();
  text.name = r.bytes(wire::kMaxNameBytes);
  info.bytes = r.number<uint64_t>();
  info.state = static_cast<spillway_state>(r.number<uint8_t>());
  info.version = r.number<uint64_t>();
  text.tag = r.bytes(wire::kMaxTagBytes);
  info.uid = r.number<uint32_t>();
  info.mode = r.number<uint16_t>();
  info.owner_pid = r.number<int32_t>();
  info.references = r.number<uint32_t>();
  info.pins = r.number<uint32_t>();
  info.hint = static_cast<spillway_hint>(r.number<uint8_t>());
  info.age_ms = r.number<uint64_t>();
  info.idle_ms = r.number<uint64_t>();
  text.file = r.bytes(wire::kMaxPathBytes);
  text.filters = r.bytes(1024);
  info.retained = r.number<uint8_t>();
  info.name = text.name.c_str();
  info.tag = text.tag.data();
  info.tag_bytes = text.tag.size();
  info.file = text.file.c_str();
  info.filters = text.filters.c_str();
  return r.ok();
}

spillway_status list_some(spillway_pool* pool, const char* prefix, bool unnamed, spillway_info_call call,
                          void* context) {
  if (call == nullptr) return invalid("no callback");
  if (Failure f = check_prefix(prefix); f.bad()) return fail(f);
  std::string after;
  uint64_t index = 0;
  while (true) {
    wire::Writer w = request();
    w.bytes(prefix).number(static_cast<uint8_t>(unnamed)).bytes(after).number(index);
    Answer answer;
    if (spillway_status s = call_plain(pool, wire::Verb::kList, w, answer)) return s;
    wire::Reader r(answer.payload);
    after = r.bytes(wire::kMaxNameBytes);
    index = r.number<uint64_t>();
    const uint32_t count = r.number<uint32_t>();
    for (uint32_t i = 0; i < count; ++i) {
      spillway_info info{};
      InfoText text;
      if (!read_info(r, info, text))
        return fail(SPILLWAY_UNAVAILABLE, "the daemon's answer cannot be decoded");
      if (call(context, &info) != 0) return SPILLWAY_OK;
    }
    if (!r.ok()) return fail(SPILLWAY_UNAVAILABLE, "the daemon's answer cannot be decoded");
    if (after.empty() && index == 0) return SPILLWAY_OK;
  }
}

}  // namespace

namespace spillway::client {

spillway_status stat_which(spillway_pool* pool, spillway_ref ref, const char* name, spillway_info_call call,
                           void* context) {
  wire::Writer w = request();
  write_ref(w, ref, name ? name : "");
  Answer answer;
  if (spillway_status s = call_plain(pool, wire::Verb::kStat, w, answer)) return s;
  wire::Reader r(answer.payload);
  spillway_info info{};
  InfoText text;
  if (!read_info(r, info, text)) return fail(SPILLWAY_UNAVAILABLE, "the daemon's answer cannot be decoded");
  if (call != nullptr) call(context, &info);
  return SPILLWAY_OK;
}

}  // namespace spillway::client

extern "C" {

spillway_status spillway_stat(spillway_pool* pool, spillway_ref ref, spillway_info_call call, void* context) {
  return guarded(pool, [&] { return stat_which(pool, ref, nullptr, call, context); });
}
spillway_status spillway_stat_name(spillway_pool* pool, const char* name, spillway_info_call call,
                                   void* context) {
  return guarded(pool, [&]() -> spillway_status {
    if (Failure f = check_name(name); f.bad()) return fail(f);
    return stat_which(pool, {0, 0}, name, call, context);
  });
}
spillway_status spillway_list(spillway_pool* pool, const char* prefix, spillway_info_call call,
                              void* context) {
  return guarded(pool, [&] { return list_some(pool, prefix ? prefix : "", false, call, context); });
}
spillway_status spillway_list_all(spillway_pool* pool, spillway_info_call call, void* context) {
  return guarded(pool, [&] { return list_some(pool, "", true, call, context); });
}

spillway_status spillway_watch_open(spillway_pool* pool, const char* prefix, spillway_change_call call,
                                    void* context, spillway_watch** watch) {
  return guarded(pool, [&]() -> spillway_status {
    if (call == nullptr || watch == nullptr) return invalid("no callback, or nowhere to put the watch");
    *watch = nullptr;
    if (Failure f = check_prefix(prefix); f.bad()) return fail(f);
    auto made = std::make_unique<spillway_watch>();
    made->pool = pool;
    if (Failure f = pool->client.state().watch(
            prefix ? prefix : "",
            [call, context](spillway_change change, const std::string& name, uint64_t version) {
              call(context, change, name.c_str(), version);
            },
            made->id);
        f.bad())
      return fail(f);
    *watch = made.release();
    return SPILLWAY_OK;
  });
}
void spillway_watch_close(spillway_watch* watch) {
  if (watch == nullptr) return;
  (void)guarded([&]() -> spillway_status {
    watch->pool->client.state().unwatch(watch->id);
    return SPILLWAY_OK;
  });
  delete watch;
}

spillway_status spillway_devices(spillway_pool* pool, const char* name, spillway_device_call call,
                                 void* context) {
  return guarded(pool, [&]() -> spillway_status {
    wire::Writer w = request();
    Answer answer;
    if (spillway_status s = call_plain(pool, wire::Verb::kDevices, w, answer)) return s;
    wire::Reader r(answer.payload);
    const uint32_t count = r.number<uint32_t>();
    std::string known;
    bool found = name == nullptr;
    for (uint32_t i = 0; i < count && r.ok(); ++i) {
      const std::string device(r.bytes(64)), path(r.bytes(wire::kMaxPathBytes));
      spillway_device d{};
      d.name = device.c_str();
      d.path = path.c_str();
      d.capacity_bytes = r.number<uint64_t>();
      d.used_bytes = r.number<uint64_t>();
      d.available_bytes = r.number<uint64_t>();
      known += (known.empty() ? "" : ", ") + device;
      if (name != nullptr && device != name) continue;
      found = true;
      if (call != nullptr && call(context, &d) != 0) break;
    }
    return found ? SPILLWAY_OK
                 : fail(SPILLWAY_NOT_FOUND, fmt::format("no device {}; there are {}", name, known));
  });
}

spillway_status spillway_stats(spillway_pool* pool, int (*call)(void*, const char*, uint64_t),
                               void* context) {
  return guarded(pool, [&]() -> spillway_status {
    if (call == nullptr) return invalid("no callback");
    wire::Writer w = request();
    Answer answer;
    if (spillway_status s = call_plain(pool, wire::Verb::kStats, w, answer)) return s;
    wire::Reader r(answer.payload);
    const uint32_t count = r.number<uint32_t>();
    for (uint32_t i = 0; i < count && r.ok(); ++i) {
      const std::string name(r.bytes(256));
      if (call(context, name.c_str(), r.number<uint64_t>()) != 0) break;
    }
    return SPILLWAY_OK;
  });
}

spillway_status spillway_clients(spillway_pool* pool, int (*call)(void*, const spillway_client*),
                                 void* context) {
  return guarded(pool, [&]() -> spillway_status {
    if (call == nullptr) return invalid("no callback");
    wire::Writer w = request();
    Answer answer;
    if (spillway_status s = call_plain(pool, wire::Verb::kClients, w, answer)) return s;
    wire::Reader r(answer.payload);
    const uint32_t count = r.number<uint32_t>();
    for (uint32_t i = 0; i < count && r.ok(); ++i) {
      spillway_client c{};
      c.pid = r.number<int32_t>();
      c.uid = r.number<uint32_t>();
      const std::string program(r.bytes(256));
      c.program = program.c_str();
      for (uint64_t* field : {&c.connected_ms, &c.created_bytes, &c.pinned_bytes, &c.made_objects,
                              &c.references, &c.leases, &c.puts, &c.gets, &c.hits})
        *field = r.number<uint64_t>();
      c.self = r.number<uint8_t>();
      if (call(context, &c) != 0) break;
    }
    return SPILLWAY_OK;
  });
}

}  // extern "C"

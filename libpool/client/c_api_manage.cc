// c_api_manage.cc - where objects should be, what is noted beside them, and the daemon's settings.
#include "libpool/client/c_api.h"

using namespace spillway;
using namespace spillway::client;

extern "C" {

spillway_status spillway_load(spillway_pool* pool, spillway_ref ref) {
  return guarded(pool, [&] { return simple_with_ref(pool, wire::Verb::kLoad, ref); });
}
spillway_status spillway_set_hint(spillway_pool* pool, spillway_ref ref, spillway_hint hint) {
  return guarded(pool, [&]() -> spillway_status {
    if (hint < 0 || hint > SPILLWAY_RECOMPUTABLE) return invalid("no such hint");
    wire::Writer w = request();
    write_ref(w, ref);
    w.number(static_cast<uint8_t>(hint));
    Answer answer;
    return call_plain(pool, wire::Verb::kHint, w, answer);
  });
}
spillway_status spillway_keep_resident(spillway_pool* pool, spillway_ref ref, int change) {
  return guarded(pool, [&]() -> spillway_status {
    if (change != 1 && change != -1) return invalid("a change is +1 or -1");
    wire::Writer w = request();
    write_ref(w, ref);
    w.number(static_cast<int32_t>(change));
    Answer answer;
    return call_plain(pool, wire::Verb::kPin, w, answer, false);
  });
}
spillway_status spillway_set_tag(spillway_pool* pool, spillway_ref ref, const char* device, const void* tag,
                                 size_t bytes) {
  return guarded(pool, [&]() -> spillway_status {
    if (tag == nullptr && bytes > 0) return invalid("a tag of some bytes, and no bytes");
    if (Failure f = check_device(device); f.bad()) return fail(f);
    if (bytes > 2048) return invalid("a tag has at most 2048 bytes");
    wire::Writer w = request();
    write_ref(w, ref);
    w.number(uint8_t{1}).bytes(device ? device : "").bytes({static_cast<const char*>(tag), bytes});
    Answer answer;
    return call_plain(pool, wire::Verb::kTag, w, answer);
  });
}
spillway_status spillway_get_tag(spillway_pool* pool, spillway_ref ref, const char* device, void* tag,
                                 size_t* bytes) {
  return guarded(pool, [&]() -> spillway_status {
    if (bytes == nullptr || (tag == nullptr && *bytes > 0)) return invalid("nowhere to put the tag");
    if (Failure f = check_device(device); f.bad()) return fail(f);
    wire::Writer w = request();
    write_ref(w, ref);
    w.number(uint8_t{0}).bytes(device ? device : "").bytes("");
    Answer answer;
    if (spillway_status s = call_plain(pool, wire::Verb::kTag, w, answer)) return s;
    wire::Reader r(answer.payload);
    const std::string_view text = r.bytes(wire::kMaxTagBytes);
    const size_t room = *bytes;
    *bytes = text.size();
    if (text.size() > room) return invalid("the tag does not fit");
    if (!text.empty()) memcpy(tag, text.data(), text.size());
    return SPILLWAY_OK;
  });
}
spillway_status spillway_drain(spillway_pool* pool) {
  return guarded(pool, [&] {
    wire::Writer w = request();
    Answer answer;
    return call_plain(pool, wire::Verb::kDrain, w, answer);
  });
}
namespace {

spillway_status stop(spillway_pool* pool, bool force) {
  return guarded(pool, [&] {
    wire::Writer w = request();
    if (force) w.number(uint8_t{1});
    Answer answer;
    return call_plain(pool, wire::Verb::kStop, w, answer, false);
  });
}

}  // namespace

spillway_status spillway_stop_daemon(spillway_pool* pool) { return stop(pool, false); }
spillway_status spillway_force_stop_daemon(spillway_pool* pool) { return stop(pool, true); }
spillway_status spillway_configure(spillway_pool* pool, const char* name, const char* value,
                                   void (*line)(void*, const char*), void* context) {
  return guarded(pool, [&]() -> spillway_status {
    wire::Writer w = request();
    w.bytes(name ? name : "").number(static_cast<uint8_t>(value != nullptr)).bytes(value ? value : "");
    Answer answer;
    if (spillway_status s = call_plain(pool, wire::Verb::kConfig, w, answer)) return s;
    wire::Reader r(answer.payload);
    const std::string text(r.bytes(wire::kMaxPayloadBytes));
    for (size_t at = 0; at < text.size() && line != nullptr;) {
      const size_t end = std::min(text.find('\n', at), text.size());
      line(context, text.substr(at, end - at).c_str());
      at = end + 1;
    }
    return SPILLWAY_OK;
  });
}

}  // extern "C"

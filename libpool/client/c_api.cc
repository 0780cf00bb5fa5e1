// c_api.cc - opening a pool, and how failures are told.
#include "libpool/client/c_api.h"
#include "libpool/wire/socket_path.h"

using namespace spillway;
using namespace spillway::client;

namespace {

thread_local std::string last_error;

const char* const kStatusTexts[] = {"done",
                                    "an argument cannot be",
                                    "no such object",
                                    "evicted",
                                    "lost with the daemon's memory",
                                    "corrupt",
                                    "the pool is full",
                                    "the disk is full",
                                    "too large",
                                    "timed out",
                                    "exists already",
                                    "permission denied",
                                    "input/output error",
                                    "the owner has died",
                                    "already set",
                                    "no daemon",
                                    "out of memory",
                                    "busy",
                                    "failed",
                                    "on another machine",
                                    "not supported by this daemon"};

}  // namespace

namespace spillway::client {

spillway_status fail(const Failure& failure) {
  if (failure.bad()) last_error = failure.what.empty() ? spillway_status_text(failure.status) : failure.what;
  return failure.status;
}
spillway_status fail(spillway_status status, std::string what) {
  return fail(Failure{status, std::move(what)});
}
spillway_status invalid(std::string what) { return fail(SPILLWAY_INVALID, std::move(what)); }

wire::Writer request() { return wire::Writer(wire::kHeaderBytes); }

void write_ref(wire::Writer& w, spillway_ref ref, std::string_view name) {
  w.number(ref.id).number(ref.key).bytes(name);
}

Failure check_name(const char* name) {
  if (name == nullptr || !*name) return {SPILLWAY_INVALID, "a name is needed"};
  if (strlen(name) > wire::kMaxNameBytes)
    return {SPILLWAY_INVALID, fmt::format("a name has at most {} bytes", wire::kMaxNameBytes)};
  return {};
}

Failure check_prefix(const char* prefix) {
  if (prefix != nullptr && strlen(prefix) > wire::kMaxNameBytes)
    return {SPILLWAY_INVALID, fmt::format("a prefix has at most {} bytes, as names", wire::kMaxNameBytes)};
  return {};
}

Failure check_device(const char* device) {
  if (device != nullptr && strlen(device) > 64)
    return {SPILLWAY_INVALID, "a device's name has at most 64 bytes"};
  return {};
}

Failure write_options(wire::Writer& w, const spillway_put_options* given) {
  static const spillway_put_options kNone{};
  const spillway_put_options& o = given ? *given : kNone;
  if (o.name != nullptr && *o.name)
    if (Failure f = check_name(o.name); f.bad()) return f;
  if (o.tag == nullptr && o.tag_bytes > 0) return {SPILLWAY_INVALID, "a tag of some bytes, and no bytes"};
  if (o.tag_bytes > 2048) return {SPILLWAY_INVALID, "a tag has at most 2048 bytes"};
  if (o.hint < 0 || o.hint > SPILLWAY_RECOMPUTABLE) return {SPILLWAY_INVALID, "no such hint"};
  if (o.when_full < 0 || o.when_full > SPILLWAY_FAIL)
    return {SPILLWAY_INVALID, "no such contract for a full pool"};
  if (o.flags & ~uint32_t{SPILLWAY_DURABLE | SPILLWAY_RETAIN | SPILLWAY_EXCLUSIVE | SPILLWAY_UNCOUNTED})
    return {SPILLWAY_INVALID, fmt::format("no such flags: {:#x}", o.flags)};
  if (o.mode & ~0666u) return {SPILLWAY_INVALID, "a mode has the bits 0666 only"};
  if (o.filters != nullptr && strlen(o.filters) > 256)
    return {SPILLWAY_INVALID, "the list of filters is too long"};
  w.bytes(o.name ? o.name : "")
      .bytes({static_cast<const char*>(o.tag), o.tag_bytes})
      .bytes(o.filters ? o.filters : "");
  w.number(static_cast<uint16_t>(o.mode))
      .number(static_cast<uint8_t>(o.hint))
      .number(static_cast<uint8_t>(o.when_full));
  w.number(o.timeout_ms).number(o.flags);
  return {};
}

spillway_ref read_published(spillway_pool* pool, const Answer& answer, bool counted) {
  wire::Reader r(answer.payload);
  spillway_ref ref;
  ref.id = r.number<uint64_t>();
  ref.key = r.number<uint64_t>();
  if (counted) pool->client.state().retain(ref);
  return ref;
}

void hand_over(spillway_pool* pool, const Answer& answer, uint32_t flags, spillway_ref* ref) {
  const bool counted = !(flags & SPILLWAY_UNCOUNTED);
  const spillway_ref published = read_published(pool, answer, counted);
  if (ref != nullptr)
    *ref = published;
  else if (counted)
    pool->client.state().release(published);
}

spillway_status call_plain(spillway_pool* pool, wire::Verb verb, wire::Writer& w, Answer& answer,
                           bool again) {
  return fail(pool->client.state().call(verb, w, answer, again));
}

spillway_status simple_with_ref(spillway_pool* pool, wire::Verb verb, spillway_ref ref, const char* name) {
  wire::Writer w = request();
  write_ref(w, ref, name);
  Answer answer;
  return call_plain(pool, verb, w, answer);
}

}  // namespace spillway::client

extern "C" {

const char* spillway_status_text(spillway_status status) {
  return status >= 0 && status < std::size(kStatusTexts) ? kStatusTexts[status] : "an unknown failure";
}
const char* spillway_last_error(void) { return last_error.c_str(); }

const char* spillway_state_text(spillway_state state) {
  static const char* const kTexts[] = {"creating", "resident", "spilling", "both",
                                       "spilled",  "loading",  "broken",   "gone"};
  return state >= 0 && state < std::size(kTexts) ? kTexts[state] : "unknown";
}

spillway_status spillway_pool_open(const spillway_pool_options* given, spillway_pool** pool) {
  return guarded([&]() -> spillway_status {
    if (pool == nullptr) return invalid("nowhere to put the pool");
    *pool = nullptr;
    Options options;
    const bool named = given && given->socket && *given->socket;
    options.socket = named ? given->socket : wire::default_socket_path();
    options.others = named || wire::socket_is_named();
    if (given) {
      options.daemon = given->daemon ? given->daemon : "";
      options.start = !given->do_not_start;
      if (given->start_timeout_ms) options.start_timeout_ms = given->start_timeout_ms;
      if (given->cached_objects) options.cached_objects = given->cached_objects;
    }
    auto made = std::make_unique<spillway_pool>(options);
    if (Failure f = made->client.state().connect(); f.bad()) return fail(f);
    *pool = made.release();
    return SPILLWAY_OK;
  });
}

void spillway_pool_close(spillway_pool* pool) { delete pool; }
const char* spillway_pool_socket(const spillway_pool* pool) {
  return pool ? pool->client.options().socket.c_str() : "";
}

}  // extern "C"

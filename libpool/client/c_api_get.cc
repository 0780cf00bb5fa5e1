// c_api_get.cc - holding objects: pins, counted references, tokens, erasing.
#include "libpool/client/c_api.h"

using namespace spillway;
using namespace spillway::client;

namespace {

spillway_pin* pin_of(spillway_pool* pool, Lease* lease) {
  auto* const pin = new spillway_pin;
  pin->pool = pool;
  pin->lease = lease;
  pin->generation = os::fork_generation();
  return pin;
}

}  // namespace

namespace spillway::client {

spillway_status get_pin(spillway_pool* pool, spillway_ref ref, const char* name,
                        const spillway_get_options* options, spillway_pin** pin) {
  if (pin == nullptr) return invalid("nowhere to put the pin");
  *pin = nullptr;
  if (options != nullptr && (options->when_full < 0 || options->when_full > SPILLWAY_FAIL))
    return invalid("no such contract for a full pool");
  Lease* lease = nullptr;
  const Failure failure = pool->client.state().get(
      ref, name ? name : "", options ? options->timeout_ms : 0,
      static_cast<wire::WhenFull>(options ? options->when_full : SPILLWAY_SPILL), lease);
  if (failure.bad()) return fail(failure);
  *pin = pin_of(pool, lease);
  return SPILLWAY_OK;
}

}  // namespace spillway::client

extern "C" {

spillway_status spillway_get(spillway_pool* pool, spillway_ref ref, const spillway_get_options* options,
                             spillway_pin** pin) {
  return guarded(pool, [&] { return get_pin(pool, ref, nullptr, options, pin); });
}
spillway_status spillway_get_name(spillway_pool* pool, const char* name, const spillway_get_options* options,
                                  spillway_pin** pin) {
  return guarded(pool, [&]() -> spillway_status {
    if (Failure f = check_name(name); f.bad()) return fail(f);
    return get_pin(pool, {0, 0}, name, options, pin);
  });
}

const void* spillway_pin_data(const spillway_pin* pin) {
  return !pin ? nullptr : pin->lease ? pin->lease->data : pin->data;
}
size_t spillway_pin_size(const spillway_pin* pin) {
  return !pin ? 0 : pin->lease ? pin->lease->bytes : pin->bytes;
}
spillway_ref spillway_pin_ref(const spillway_pin* pin) {
  return pin && pin->lease ? pin->lease->ref : spillway_ref{0, 0};
}
const void* spillway_pin_tag(const spillway_pin* pin, size_t* bytes) {
  if (bytes != nullptr) *bytes = 0;
  if (pin == nullptr) return nullptr;
  const std::string& tag = pin->lease ? pin->lease->tag : pin->tag;
  if (bytes != nullptr) *bytes = tag.size();
  return tag.data();
}
uint64_t spillway_pin_version(const spillway_pin* pin) { return pin && pin->lease ? pin->lease->version : 0; }

void spillway_pin_release(spillway_pin* pin) {
  if (pin == nullptr) return;
  // A pin of before a fork is the parent's.
  if (pin->lease && pin->generation == os::fork_generation()) pin->pool->client.state().unpin(pin->lease);
  delete pin;
}

spillway_status spillway_ref_retain(spillway_pool* pool, spillway_ref ref) {
  return guarded(pool, [&] { return fail(pool->client.state().adopt(ref)); });
}
void spillway_ref_release(spillway_pool* pool, spillway_ref ref) {
  if (pool != nullptr) pool->client.state().release(ref);
}

spillway_status spillway_lookup(spillway_pool* pool, const char* name, spillway_ref* ref) {
  return guarded(pool, [&]() -> spillway_status {
    if (Failure f = check_name(name); f.bad()) return fail(f);
    if (ref == nullptr) return invalid("nowhere to put the reference");
    // Counted for the object the name means when it is counted, so by its number.
    spillway_ref found{0, 0};
    if (spillway_status s = stat_which(
            pool, {0, 0}, name,
            [](void* context, const spillway_info* info) {
              *static_cast<spillway_ref*>(context) = info->ref;
              return 0;
            },
            &found))
      return s;
    if (Failure f = pool->client.state().adopt(found); f.bad()) return fail(f);
    *ref = found;
    return SPILLWAY_OK;
  });
}

spillway_status spillway_ref_to_token(spillway_pool* pool, spillway_ref ref, uint64_t expiry_ms,
                                      char* token) {
  return guarded(pool, [&]() -> spillway_status {
    if (token == nullptr) return invalid("nowhere to put the token");
    wire::Writer w = request();
    write_ref(w, ref);
    w.number(expiry_ms);
    Answer answer;
    if (spillway_status s = call_plain(pool, wire::Verb::kIssue, w, answer)) return s;
    wire::Reader r(answer.payload);
    snprintf(token, SPILLWAY_TOKEN_BYTES, "spillway:%016llx%016llx%016llx",
             static_cast<unsigned long long>(ref.id), static_cast<unsigned long long>(ref.key),
             static_cast<unsigned long long>(r.number<uint64_t>()));
    return SPILLWAY_OK;
  });
}

spillway_status spillway_ref_from_token(spillway_pool* pool, const char* token, spillway_ref* ref) {
  return guarded(pool, [&]() -> spillway_status {
    unsigned long long id = 0, key = 0, nonce = 0;
    int end = 0;
    if (token == nullptr || sscanf(token, "spillway:%16llx%16llx%16llx%n", &id, &key, &nonce, &end) != 3 ||
        end != 57 || token[end] != 0)
      return invalid("this is no token (expected spillway: and 48 hexadecimal digits)");
    if (ref == nullptr) return invalid("nowhere to put the reference");
    wire::Writer w = request();
    w.number(static_cast<uint64_t>(id))
        .number(static_cast<uint64_t>(key))
        .number(static_cast<uint64_t>(nonce));
    const spillway_ref claimed{id, key};
    Answer answer;
    if (Failure f = pool->client.state().call(wire::Verb::kClaim, w, answer); f.bad()) return fail(f);
    // The daemon counted once more for this session; so does the session, whatever it held before.
    pool->client.state().claimed(claimed);
    *ref = claimed;
    return SPILLWAY_OK;
  });
}

spillway_status spillway_on_destroy(spillway_pool* pool, spillway_ref ref, void (*call)(void*),
                                    void* context) {
  return guarded(pool, [&]() -> spillway_status {
    if (call == nullptr) return invalid("no callback");
    State& state = pool->client.state();
    const uint64_t cookie = state.on_destroy([call, context] { call(context); });
    wire::Writer w = request();
    write_ref(w, ref);
    w.number(cookie);
    Answer answer;
    const spillway_status s = call_plain(pool, wire::Verb::kOnDestroy, w, answer);
    if (s != SPILLWAY_OK) state.cancel_destroy(cookie);
    return s;
  });
}

spillway_status spillway_erase(spillway_pool* pool, spillway_ref ref) {
  return guarded(pool, [&] { return simple_with_ref(pool, wire::Verb::kErase, ref); });
}
spillway_status spillway_erase_name(spillway_pool* pool, const char* name) {
  return guarded(pool, [&]() -> spillway_status {
    if (Failure f = check_name(name); f.bad()) return fail(f);
    return simple_with_ref(pool, wire::Verb::kErase, {0, 0}, name);
  });
}
spillway_status spillway_cleanup(spillway_pool* pool) {
  return guarded(pool, [&] {
    wire::Writer w = request();
    Answer answer;
    return call_plain(pool, wire::Verb::kCleanup, w, answer);
  });
}

}  // extern "C"

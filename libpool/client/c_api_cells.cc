// c_api_cells.cc - events and futures.
#include "libpool/client/c_api.h"

using namespace spillway;
using namespace spillway::client;

namespace {

spillway_status new_cell(spillway_pool* pool, bool future, spillway_cell* cell) {
  return guarded(pool, [&]() -> spillway_status {
    if (cell == nullptr) return invalid("nowhere to put the event or future");
    wire::Writer w = request();
    w.number(static_cast<uint8_t>(future));
    Answer answer;
    if (spillway_status s = call_plain(pool, wire::Verb::kCellNew, w, answer)) return s;
    wire::Reader r(answer.payload);
    cell->id = r.number<uint64_t>();
    cell->key = r.number<uint64_t>();
    return SPILLWAY_OK;
  });
}
spillway_status put_cell(spillway_pool* pool, spillway_cell cell, spillway_ref value, const char* error) {
  wire::Writer w = request();
  w.number(cell.id).number(cell.key).number(value.id).number(value.key).bytes(error);
  Answer answer;
  return call_plain(pool, wire::Verb::kCellPut, w, answer, false);
}
spillway_status get_cell(spillway_pool* pool, spillway_cell cell, uint64_t timeout_ms, spillway_ref* value) {
  wire::Writer w = request();
  w.number(cell.id).number(cell.key);
  const State::CallOptions options{
      .timeout_ms = timeout_ms, .timeout_at = w.data().size(), .ends_with_daemon = true};
  w.number(timeout_ms);
  Answer answer;
  if (Failure f = pool->client.state().call(wire::Verb::kCellGet, w, answer, options); f.bad())
    return fail(f);
  wire::Reader r(answer.payload);
  value->id = r.number<uint64_t>();
  value->key = r.number<uint64_t>();
  return SPILLWAY_OK;
}

}  // namespace

extern "C" {

spillway_status spillway_event_new(spillway_pool* pool, spillway_cell* event) {
  return new_cell(pool, false, event);
}
spillway_status spillway_event_set(spillway_pool* pool, spillway_cell event) {
  return guarded(pool, [&] { return put_cell(pool, event, {0, 0}, ""); });
}
spillway_status spillway_event_wait(spillway_pool* pool, spillway_cell event, uint64_t timeout_ms) {
  return guarded(pool, [&] {
    spillway_ref none;
    return get_cell(pool, event, timeout_ms, &none);
  });
}
spillway_status spillway_future_new(spillway_pool* pool, spillway_cell* future) {
  return new_cell(pool, true, future);
}
spillway_status spillway_future_put(spillway_pool* pool, spillway_cell future, const void* data,
                                    size_t bytes) {
  return guarded(pool, [&]() -> spillway_status {
    spillway_ref value;
    if (spillway_status s = spillway_put(pool, data, bytes, nullptr, &value)) return s;
    const spillway_status s = put_cell(pool, future, value, "");
    spillway_ref_release(pool, value);
    return s;
  });
}
spillway_status spillway_future_fail(spillway_pool* pool, spillway_cell future, const char* error) {
  return guarded(pool, [&]() -> spillway_status {
    if (error == nullptr || !*error || strlen(error) > (16 << 10))
      return invalid("an error has 1 to 16384 bytes");
    return put_cell(pool, future, {0, 0}, error);
  });
}
spillway_status spillway_future_get(spillway_pool* pool, spillway_cell future, uint64_t timeout_ms,
                                    spillway_pin** pin) {
  return guarded(pool, [&]() -> spillway_status {
    if (pin == nullptr) return invalid("nowhere to put the pin");
    *pin = nullptr;
    spillway_ref value;
    if (spillway_status s = get_cell(pool, future, timeout_ms, &value)) return s;
    if (value.key == 0) return invalid("an event has no value");
    return get_pin(pool, value, nullptr, nullptr, pin);
  });
}

}  // extern "C"

// c_api.h - what the files of the C interface (include/spillway/pool.h) have in common: the handles, and how
// a failure becomes a status and this thread's message. Nothing that C++ throws leaves them.
#pragma once
#include <fmt/format.h>

#include <cstring>
#include <new>

#include "base/os/folder.h"
#include "base/os/process.h"
#include "libpool/client/client.h"

struct spillway_pool {
  explicit spillway_pool(spillway::client::Options options) : client(std::move(options)) {}
  spillway::client::Client client;
};

struct spillway_pin {
  spillway_pool* pool = nullptr;
  spillway::client::Lease* lease = nullptr;  // null: a file's
  unsigned generation = 0;
  // Of a file.
  std::shared_ptr<spillway::os::Mapping> file;
  const char* data = nullptr;
  uint64_t bytes = 0;
  std::string tag;
};

namespace spillway::client {

// Remembers what went wrong, for spillway_last_error.
spillway_status fail(const Failure& failure);
spillway_status fail(spillway_status status, std::string what);
spillway_status invalid(std::string what);

template <typename F>
spillway_status guarded(F&& call) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return fail(SPILLWAY_NO_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return fail(SPILLWAY_IO, error.what());
  }
}

// Of a call that needs a pool.
template <typename F>
spillway_status guarded(const spillway_pool* pool, F&& call) {
  return pool == nullptr ? invalid("no pool") : guarded(std::forward<F>(call));
}

wire::Writer request();
void write_ref(wire::Writer& w, spillway_ref ref, std::string_view name = "");
Failure check_name(const char* name);
Failure check_prefix(const char* prefix);  // null is none
Failure check_device(const char* device);  // null is none
// Checked, as a request has them.
Failure write_options(wire::Writer& w, const spillway_put_options* given);
spillway_ref read_published(spillway_pool* pool, const Answer& answer, bool counted);
// The caller gets the reference, or nobody does.
void hand_over(spillway_pool* pool, const Answer& answer, uint32_t flags, spillway_ref* ref);
spillway_status call_plain(spillway_pool* pool, wire::Verb verb, wire::Writer& w, Answer& answer,
                           bool again = true);
// A verb that takes an object and answers nothing.
spillway_status simple_with_ref(spillway_pool* pool, wire::Verb verb, spillway_ref ref,
                                const char* name = "");

spillway_status get_pin(spillway_pool* pool, spillway_ref ref, const char* name,
                        const spillway_get_options* options, spillway_pin** pin);
spillway_status stat_which(spillway_pool* pool, spillway_ref ref, const char* name, spillway_info_call call,
                           void* context);

}  // namespace spillway::client

// c_api.cc - include/spillway/pool.h over client.h: arguments checked, failures turned into a status and this
// thread's message. Nothing that C++ throws leaves it.
#include <fmt/format.h>
#include <stdlib.h>

#include <cstring>
#include <new>

#include "base/core/units.h"
#include "base/os/folder.h"
#include "base/os/process.h"
#include "libpool/client/client.h"
#include "libpool/format/filters.h"
#include "libpool/format/object_file.h"
#include "libpool/wire/socket_path.h"

using namespace spillway;
using namespace spillway::client;

struct spillway_pool {
  explicit spillway_pool(Options options) : client(std::move(options)) {}
  Client client;
};

struct spillway_pin {
  spillway_pool* pool = nullptr;
  Lease* lease = nullptr;  // null: a file's
  unsigned generation = 0;
  // Of a file.
  std::shared_ptr<os::Mapping> file;
  const char* data = nullptr;
  uint64_t bytes = 0;
  std::string tag;
};

struct spillway_builder {
  spillway_pool* pool = nullptr;
  uint64_t bytes = 0;
  uint64_t session = 0, id = 0, key = 0;
  bool unnamed = false;  // and nothing else that sealing has to wait for
  os::Fd fd;
  os::Mapping mapping;
  bool in_file = false;
  // Memory that is used again, if buffer_id is not zero.
  uint32_t buffer_id = 0;
  uint64_t buffer_bytes = 0, warm_bytes = 0;
  std::shared_ptr<WriteBuffer> buffer;
  bool shown = false;  // the program may have pointers into it
  // Below 1 MiB it is kept here and crosses the socket whole.
  void* small = nullptr;
  std::string options;  // encoded
  ~spillway_builder() { free(small); }
};

struct spillway_watch {
  spillway_pool* pool = nullptr;
  uint32_t id = 0;
};

namespace {

thread_local std::string last_error;

spillway_status fail(const Failure& failure) {
  if (failure.bad()) last_error = failure.what.empty() ? spillway_status_text(failure.status) : failure.what;
  return failure.status;
}
spillway_status fail(spillway_status status, std::string what) {
  return fail(Failure{status, std::move(what)});
}
spillway_status invalid(std::string what) { return fail(SPILLWAY_INVALID, std::move(what)); }

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

wire::Writer request() { return wire::Writer(wire::kHeaderBytes); }

void write_ref(wire::Writer& w, spillway_ref ref, std::string_view name = "") {
  w.number(ref.id).number(ref.key).bytes(name);
}

Failure check_name(const char* name) {
  if (name == nullptr || !*name) return {SPILLWAY_INVALID, "a name is needed"};
  if (strlen(name) > wire::kMaxNameBytes)
    return {SPILLWAY_INVALID, fmt::format("a name has at most {} bytes", wire::kMaxNameBytes)};
  return {};
}

Failure write_options(wire::Writer& w, const spillway_put_options* given) {
  static const spillway_put_options kNone{};
  const spillway_put_options& o = given ? *given : kNone;
  if (o.name != nullptr && *o.name)
    if (Failure f = check_name(o.name); f.bad()) return f;
  if (o.tag_bytes > 2048) return {SPILLWAY_INVALID, "a tag has at most 2048 bytes"};
  if (o.hint < 0 || o.hint > SPILLWAY_RECOMPUTABLE) return {SPILLWAY_INVALID, "no such hint"};
  if (o.when_full < 0 || o.when_full > SPILLWAY_FAIL)
    return {SPILLWAY_INVALID, "no such contract for a full pool"};
  if (o.mode & ~0666u) return {SPILLWAY_INVALID, "a mode has the bits 0666 only"};
  if (o.filters != nullptr && strlen(o.filters) > 256)
    return {SPILLWAY_INVALID, "the list of filters is too long"};
  w.bytes(o.name ? o.name : "")
      .bytes({static_cast<const char*>(o.tag), o.tag ? o.tag_bytes : 0})
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

// The caller gets the reference, or nobody does.
void hand_over(spillway_pool* pool, const Answer& answer, uint32_t flags, spillway_ref* ref) {
  const bool counted = !(flags & SPILLWAY_UNCOUNTED);
  const spillway_ref published = read_published(pool, answer, counted);
  if (ref != nullptr)
    *ref = published;
  else if (counted)
    pool->client.state().release(published);
}

spillway_status call_plain(spillway_pool* pool, wire::Verb verb, wire::Writer& w, Answer& answer,
                           bool again = true) {
  return fail(pool->client.state().call(verb, w, answer, again));
}

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

// --- writing into a new object

// What nobody has asked anything special of.
bool is_plain(const spillway_put_options* o) {
  return o == nullptr ||
         ((o->name == nullptr || !*o->name) && o->tag_bytes == 0 && o->hint == SPILLWAY_NORMAL &&
          (o->mode == 0 || o->mode == 0600) && o->flags == 0 && (o->filters == nullptr || !*o->filters));
}

Failure seal_and_publish(spillway_pool* pool, spillway_builder& b, Answer& answer) {
  b.mapping.reset();
  if (b.buffer && b.shown)
    if (Errno e = pool->client.state().protect_buffer(*b.buffer); !e.ok())
      return {SPILLWAY_NO_MEMORY, std::string("write-protecting an object: ") + strerror(e.code())};
  if (!b.in_file && b.buffer_id == 0)
    if (Errno e = os::seal_memfd(b.fd.get()); !e.ok())
      return {SPILLWAY_BUSY,
              std::string("sealing: ") + strerror(e.code()) + " (is it mapped for writing elsewhere?)"};
  b.fd.reset();
  // Known already: its id and key. The version, that only a message tells, nobody asks for.
  if (b.buffer_id != 0 && b.unnamed && pool->client.state().publish_large(b.session, b.id)) {
    wire::Writer published;
    published.number(b.id).number(b.key);
    answer.payload = published.take();
    return {};
  }
  wire::Writer w = request();
  w.number(b.id);
  Failure failure = pool->client.state().call(wire::Verb::kSeal, w, answer, false);
  if (failure.status == SPILLWAY_NOT_FOUND)
    failure = {SPILLWAY_UNAVAILABLE, "the daemon was started again while the object was written"};
  return failure;
}

void abort_creation(spillway_pool* pool, uint64_t id) {
  wire::Writer w = request();
  w.number(id);
  Answer answer;
  (void)pool->client.state().call(wire::Verb::kAbort, w, answer, false);
}

Failure create_large(spillway_pool* pool, uint64_t bytes, const spillway_put_options* options,
                     spillway_builder& b) {
  wire::Writer w = request();
  if (Failure f = write_options(w, options); f.bad()) return f;
  w.number(bytes);
  Answer answer;
  b.session = pool->client.state().session_id();
  if (Failure f = pool->client.state().call(wire::Verb::kCreate, w, answer); f.bad()) return f;
  wire::Reader r(answer.payload);
  b.id = r.number<uint64_t>();
  b.key = r.number<uint64_t>();
  b.in_file = static_cast<wire::Place>(r.number<uint8_t>()) == wire::Place::kFile;
  (void)r.number<uint64_t>();  // where data begins in a file: as the format says
  b.buffer_id = r.number<uint32_t>();
  b.buffer_bytes = r.number<uint64_t>();
  b.warm_bytes = r.number<uint64_t>();
  if (!r.ok() || answer.fds.empty()) {
    abort_creation(pool, b.id);
    return {SPILLWAY_NO_MEMORY, "no descriptor came with the new object: too many are open"};
  }
  b.pool = pool;
  b.bytes = bytes;
  b.fd = std::move(answer.fds[0]);
  b.small = nullptr;
  b.unnamed = options == nullptr || ((options->name == nullptr || !*options->name) && options->flags == 0);
  return {};
}

// To where its bytes can be written in place.
Errno map_builder(spillway_pool* pool, spillway_builder& b) {
  if (b.buffer_id != 0) {
    Result<std::shared_ptr<WriteBuffer>> buffer =
        pool->client.state().open_buffer(b.buffer_id, b.fd, b.buffer_bytes, b.bytes, b.warm_bytes);
    if (!buffer) return buffer.error();
    b.buffer = std::move(*buffer);
    return {};
  }
  // All pages are there before the program touches one: no memory is an answer, not a SIGBUS.
  if (!b.in_file)
    if (Errno e = os::preallocate(b.fd.get(), 0, b.bytes, true); !e.ok()) return e;
  Result<os::Mapping> mapping =
      os::Mapping::read_write(b.fd.get(), b.in_file ? format::kDataOffset : 0, b.bytes);
  if (!mapping) return mapping.error();
  b.mapping = std::move(*mapping);
  return {};
}

Errno write_builder(spillway_pool* pool, spillway_builder& b, const void* data) {
  // Memory that had an object before is mapped already, or worth mapping for those to come.
  if (b.warm_bytes > 0) {
    if (Errno e = map_builder(pool, b); !e.ok()) return e;
    memcpy(b.buffer->mapping.data(), data, b.bytes);
    return {};
  }
  // New memory: write() and not a mapping: a page that cannot be had is an error, and none is zeroed first.
  return os::write_all(b.fd.get(), data, b.bytes, b.in_file ? format::kDataOffset : 0);
}

Failure put_large(spillway_pool* pool, const void* data, uint64_t bytes, const spillway_put_options* options,
                  Answer& answer) {
  spillway_builder b;
  if (Failure f = create_large(pool, bytes, options, b); f.bad()) return f;
  if (Errno e = write_builder(pool, b, data); !e.ok()) {
    abort_creation(pool, b.id);
    return {e == ENOSPC && b.in_file     ? SPILLWAY_DISK_FULL
            : e == ENOMEM || e == ENOSPC ? SPILLWAY_NO_MEMORY
                                         : SPILLWAY_IO,
            std::string("writing an object: ") + strerror(e.code())};
  }
  Failure failure = seal_and_publish(pool, b, answer);
  if (failure.bad() && failure.status != SPILLWAY_UNAVAILABLE) abort_creation(pool, b.id);
  return failure;
}

spillway_pin* pin_of(spillway_pool* pool, Lease* lease) {
  auto* const pin = new spillway_pin;
  pin->pool = pool;
  pin->lease = lease;
  pin->generation = os::fork_generation();
  return pin;
}

spillway_status get_pin(spillway_pool* pool, spillway_ref ref, const char* name,
                        const spillway_get_options* options, spillway_pin** pin) {
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

spillway_status list_some(spillway_pool* pool, const char* prefix, bool unnamed, spillway_info_call call,
                          void* context) {
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

spillway_status to_disk(spillway_pool* pool, spillway_ref ref, bool keep, const spillway_disk_options* o,
                        spillway_file_ref* file) {
  const char* const path = o && o->path ? o->path : "";
  if (*path && *path != '/') return invalid(std::string(path) + ": expected an absolute path");
  if (strlen(path) > wire::kMaxPathBytes) return invalid("the path is too long");
  wire::Writer w = request();
  write_ref(w, ref);
  const uint32_t flags = o ? o->flags : 0;
  w.bytes(path).bytes(o && o->filters ? o->filters : "");
  w.number((keep ? 1u : 0u) | (flags & SPILLWAY_OVERWRITE ? 2u : 0u) | (flags & SPILLWAY_SYNC ? 4u : 0u) |
           (o && o->filters ? 8u : 0u));
  Answer answer;
  if (spillway_status s = call_plain(pool, wire::Verb::kToDisk, w, answer)) return s;
  wire::Reader r(answer.payload);
  const std::string where(r.bytes(wire::kMaxPathBytes));
  const uint64_t bytes = r.number<uint64_t>();
  if (file != nullptr) {
    file->host = pool->client.state().host();
    file->bytes = bytes;
    snprintf(file->path, sizeof file->path, "%s", where.c_str());
  }
  return SPILLWAY_OK;
}

format::Filter users_filters(State& state, bool write) {
  return [&state, write](std::string_view name, std::string_view in, std::string& out, std::string& why) {
    State::Filter filter;
    {
      std::lock_guard lock(state.filters_mutex);
      const auto found = state.filters.find(std::string(name));
      if (found == state.filters.end()) return false;
      filter = found->second;
    }
    void* bytes = nullptr;
    size_t count = 0;
    if ((write ? filter.write : filter.read)(filter.context, in.data(), in.size(), &bytes, &count) != 0) {
      why = "it failed";
      free(bytes);
      return false;
    }
    out.assign(static_cast<const char*>(bytes), count);
    free(bytes);
    return true;
  };
}

spillway_status file_failure(const std::string& path, const format::FileError& e) {
  return fail(e.code.ok()        ? SPILLWAY_CORRUPT
              : e.code == ENOSPC ? SPILLWAY_DISK_FULL
                                 : SPILLWAY_IO,
              path + ": " + e.what);
}

spillway_status write_user_file(State& state, const spillway_pin& pin, const char* path,
                                const spillway_disk_options* o) {
  const bool overwrite = o && (o->flags & SPILLWAY_OVERWRITE);
  if (!overwrite && os::exists(path))
    return fail(SPILLWAY_EXISTS, std::string(path) + " exists, and overwriting was not asked for");
  // Written beside it and moved there: whoever looks finds all of it or nothing.
  const std::string next = fmt::format("{}.{}.tmp", path, os::random_number());
  Result<os::Fd> file = os::open_file(next.c_str(), os::Open::kCreate);
  if (!file)
    return fail(file.error() == EACCES ? SPILLWAY_DENIED : SPILLWAY_IO,
                std::string(path) + ": " + strerror(file.error().code()));
  format::ObjectHeader header;
  header.id = pin.lease->ref.id;
  header.tag = pin.lease->tag;
  header.filters = format::split_filters(o && o->filters ? o->filters : "");
  format::FileError error =
      format::write_object(*file, {pin.lease->data, pin.lease->bytes}, header, users_filters(state, true));
  if (!error.bad() && o && (o->flags & SPILLWAY_SYNC))
    if (Errno e = os::sync_data(file->get()); !e.ok()) error = {e, strerror(e.code())};
  if (!error.bad()) {
    const Errno e = overwrite ? os::rename_file(next.c_str(), path) : os::rename_new(next.c_str(), path);
    if (e == EEXIST) {
      (void)os::remove_file(next.c_str()).ok();
      return fail(SPILLWAY_EXISTS, std::string(path) + " exists, and overwriting was not asked for");
    }
    if (!e.ok()) error = {e, strerror(e.code())};
  }
  if (!error.bad()) return SPILLWAY_OK;
  (void)os::remove_file(next.c_str()).ok();
  return file_failure(path, error);
}

spillway_status simple_with_ref(spillway_pool* pool, wire::Verb verb, spillway_ref ref,
                                const char* name = "") {
  wire::Writer w = request();
  write_ref(w, ref, name);
  Answer answer;
  return call_plain(pool, verb, w, answer);
}

}  // namespace

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
    options.socket = given && given->socket && *given->socket ? given->socket : wire::default_socket_path();
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
const char* spillway_pool_socket(const spillway_pool* pool) { return pool->client.options().socket.c_str(); }

spillway_status spillway_put(spillway_pool* pool, const void* data, size_t bytes,
                             const spillway_put_options* options, spillway_ref* ref) {
  return guarded([&]() -> spillway_status {
    if (data == nullptr && bytes > 0) return invalid("no data");
    const uint32_t flags = options ? options->flags : 0;
    if (ref == nullptr && (options == nullptr || options->name == nullptr || !*options->name))
      return invalid("an object without a name and without a reference could not be found again");
    if (ref != nullptr && is_plain(options) && pool->client.state().put_small(data, bytes, *ref))
      return SPILLWAY_OK;
    Answer answer;
    if (bytes >= wire::kLargeBytes) {
      if (Failure f = put_large(pool, data, bytes, options, answer); f.bad()) return fail(f);
    } else {
      wire::Writer w = request();
      if (Failure f = write_options(w, options); f.bad()) return fail(f);
      w.bytes({static_cast<const char*>(data), bytes});
      if (Failure f = pool->client.state().call(wire::Verb::kPut, w, answer); f.bad()) return fail(f);
    }
    hand_over(pool, answer, flags, ref);
    return SPILLWAY_OK;
  });
}

spillway_status spillway_put_many(spillway_pool* pool, const void* const* data, const size_t* bytes,
                                  size_t count, spillway_ref* refs, size_t* done) {
  return guarded([&]() -> spillway_status {
    if (refs == nullptr || (count > 0 && (data == nullptr || bytes == nullptr)))
      return invalid("no data, or nowhere to put the references");
    if (done != nullptr) *done = 0;
    for (size_t i = 0; i < count; ++i) refs[i] = {0, 0};
    size_t at = 0;
    while (at < count) {
      if (pool->client.state().put_small(data[at], bytes[at], refs[at])) {
        ++at;
      } else if (bytes[at] >= wire::kLargeBytes) {
        if (spillway_status s = spillway_put(pool, data[at], bytes[at], nullptr, &refs[at])) return s;
        ++at;
      } else {
        // What the daemon reads at once without being full.
        std::vector<wire::Writer> requests;
        for (uint64_t sum = 0; at + requests.size() < count && requests.size() < 256;) {
          const size_t i = at + requests.size();
          sum += bytes[i] + 64;
          if (bytes[i] >= wire::kLargeBytes || (sum > (512 << 10) && !requests.empty())) break;
          wire::Writer w = request();
          (void)write_options(w, nullptr);
          w.bytes({static_cast<const char*>(data[i]), bytes[i]});
          requests.push_back(std::move(w));
        }
        size_t first_bad = requests.size();
        Failure why;
        Failure f = pool->client.state().call_many(wire::Verb::kPut, requests,
                                                   [&](size_t i, Failure failure, Answer& answer) {
                                                     if (failure.bad()) {
                                                       if (i < first_bad) first_bad = i, why = failure;
                                                     } else {
                                                       refs[at + i] = read_published(pool, answer, true);
                                                     }
                                                   });
        if (f.bad()) first_bad = 0, why = f;
        if (why.bad()) {
          // None of the rest.
          for (size_t i = first_bad; i < requests.size(); ++i)
            if (refs[at + i].key != 0) {
              pool->client.state().release(refs[at + i]);
              refs[at + i] = {0, 0};
            }
          if (done != nullptr) *done = at + first_bad;
          return fail(why);
        }
        at += requests.size();
      }
      if (done != nullptr) *done = at;
    }
    return SPILLWAY_OK;
  });
}

spillway_status spillway_create(spillway_pool* pool, size_t bytes, const spillway_put_options* options,
                                spillway_builder** builder) {
  return guarded([&]() -> spillway_status {
    if (builder == nullptr) return invalid("nowhere to put the builder");
    *builder = nullptr;
    auto b = std::make_unique<spillway_builder>();
    b->pool = pool;
    b->bytes = bytes;
    wire::Writer encoded;
    if (Failure f = write_options(encoded, options); f.bad()) return fail(f);
    b->options = encoded.take();
    if (bytes < wire::kLargeBytes) {
      b->small = aligned_alloc(64, round_up(std::max<uint64_t>(bytes, 1), 64));
      if (b->small == nullptr) return fail(SPILLWAY_NO_MEMORY, "out of memory");
      memset(b->small, 0, bytes);
      *builder = b.release();
      return SPILLWAY_OK;
    }
    if (Failure f = create_large(pool, bytes, options, *b); f.bad()) return fail(f);
    b->shown = true;
    if (Errno error = map_builder(pool, *b); !error.ok()) {
      abort_creation(pool, b->id);
      return fail(SPILLWAY_NO_MEMORY, std::string("memory for an object: ") + strerror(error.code()));
    }
    *builder = b.release();
    return SPILLWAY_OK;
  });
}

void* spillway_builder_data(spillway_builder* b) {
  return b->small ? b->small : b->buffer ? b->buffer->mapping.data() : b->mapping.data();
}
size_t spillway_builder_size(const spillway_builder* b) { return b->bytes; }

spillway_status spillway_builder_seal(spillway_builder* builder, spillway_ref* ref) {
  return guarded([&]() -> spillway_status {
    const std::unique_ptr<spillway_builder> b(builder);
    wire::Reader options(b->options);
    const std::string name(options.bytes(wire::kMaxNameBytes));
    (void)options.bytes(wire::kMaxTagBytes), (void)options.bytes(256), (void)options.number<uint32_t>(),
        (void)options.number<uint64_t>();
    const uint32_t flags = options.number<uint32_t>();
    if (ref == nullptr && name.empty()) {
      if (!b->small) abort_creation(b->pool, b->id);
      return invalid("an object without a name and without a reference could not be found again");
    }
    Answer answer;
    if (b->small) {
      wire::Writer w = request();
      w.data() += b->options;
      w.bytes({static_cast<const char*>(b->small), b->bytes});
      if (Failure f = b->pool->client.state().call(wire::Verb::kPut, w, answer); f.bad()) return fail(f);
    } else if (Failure f = seal_and_publish(b->pool, *b, answer); f.bad()) {
      if (f.status != SPILLWAY_UNAVAILABLE) abort_creation(b->pool, b->id);
      return fail(f);
    }
    hand_over(b->pool, answer, flags, ref);
    return SPILLWAY_OK;
  });
}

void spillway_builder_abort(spillway_builder* builder) {
  if (builder == nullptr) return;
  (void)guarded([&]() -> spillway_status {
    const std::unique_ptr<spillway_builder> b(builder);
    if (!b->small) abort_creation(b->pool, b->id);
    return SPILLWAY_OK;
  });
}

spillway_status spillway_get(spillway_pool* pool, spillway_ref ref, const spillway_get_options* options,
                             spillway_pin** pin) {
  return guarded([&] { return get_pin(pool, ref, nullptr, options, pin); });
}
spillway_status spillway_get_name(spillway_pool* pool, const char* name, const spillway_get_options* options,
                                  spillway_pin** pin) {
  return guarded([&]() -> spillway_status {
    if (Failure f = check_name(name); f.bad()) return fail(f);
    return get_pin(pool, {0, 0}, name, options, pin);
  });
}

const void* spillway_pin_data(const spillway_pin* pin) { return pin->lease ? pin->lease->data : pin->data; }
size_t spillway_pin_size(const spillway_pin* pin) { return pin->lease ? pin->lease->bytes : pin->bytes; }
spillway_ref spillway_pin_ref(const spillway_pin* pin) {
  return pin->lease ? pin->lease->ref : spillway_ref{0, 0};
}
const void* spillway_pin_tag(const spillway_pin* pin, size_t* bytes) {
  const std::string& tag = pin->lease ? pin->lease->tag : pin->tag;
  if (bytes != nullptr) *bytes = tag.size();
  return tag.data();
}
uint64_t spillway_pin_version(const spillway_pin* pin) { return pin->lease ? pin->lease->version : 0; }

void spillway_pin_release(spillway_pin* pin) {
  if (pin == nullptr) return;
  // A pin of before a fork is the parent's.
  if (pin->lease && pin->generation == os::fork_generation()) pin->pool->client.state().unpin(pin->lease);
  delete pin;
}

spillway_status spillway_ref_retain(spillway_pool* pool, spillway_ref ref) {
  return guarded([&] { return fail(pool->client.state().adopt(ref)); });
}
void spillway_ref_release(spillway_pool* pool, spillway_ref ref) { pool->client.state().release(ref); }

spillway_status spillway_lookup(spillway_pool* pool, const char* name, spillway_ref* ref) {
  return guarded([&]() -> spillway_status {
    if (Failure f = check_name(name); f.bad()) return fail(f);
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
  return guarded([&]() -> spillway_status {
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
  return guarded([&]() -> spillway_status {
    unsigned long long id = 0, key = 0, nonce = 0;
    int end = 0;
    if (token == nullptr || sscanf(token, "spillway:%16llx%16llx%16llx%n", &id, &key, &nonce, &end) != 3 ||
        end != 57 || token[end] != 0)
      return invalid("this is no token (expected spillway: and 48 hexadecimal digits)");
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
  return guarded([&]() -> spillway_status {
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
  return guarded([&] { return simple_with_ref(pool, wire::Verb::kErase, ref); });
}
spillway_status spillway_erase_name(spillway_pool* pool, const char* name) {
  return guarded([&]() -> spillway_status {
    if (Failure f = check_name(name); f.bad()) return fail(f);
    return simple_with_ref(pool, wire::Verb::kErase, {0, 0}, name);
  });
}
spillway_status spillway_cleanup(spillway_pool* pool) {
  return guarded([&] {
    wire::Writer w = request();
    Answer answer;
    return call_plain(pool, wire::Verb::kCleanup, w, answer);
  });
}

spillway_status spillway_move_to_disk(spillway_pool* pool, spillway_ref ref,
                                      const spillway_disk_options* options, spillway_file_ref* file) {
  return guarded([&] { return to_disk(pool, ref, false, options, file); });
}
spillway_status spillway_copy_to_disk(spillway_pool* pool, spillway_ref ref,
                                      const spillway_disk_options* options, spillway_file_ref* file) {
  return guarded([&] { return to_disk(pool, ref, true, options, file); });
}

spillway_status spillway_save_to_disk(spillway_pool* pool, spillway_ref ref, const char* path,
                                      const spillway_disk_options* options, spillway_file_ref* file) {
  return guarded([&]() -> spillway_status {
    if (path == nullptr || !*path) return invalid("a path is needed");
    spillway_pin* pin = nullptr;
    if (spillway_status s = get_pin(pool, ref, nullptr, nullptr, &pin)) return s;
    const uint64_t bytes = spillway_pin_size(pin);
    const spillway_status s = write_user_file(pool->client.state(), *pin, path, options);
    spillway_pin_release(pin);
    if (s != SPILLWAY_OK) return s;
    if (file != nullptr) {
      file->host = pool->client.state().host();
      file->bytes = bytes;
      char full[4096];
      snprintf(file->path, sizeof file->path, "%s", realpath(path, full) ? full : path);
    }
    return SPILLWAY_OK;
  });
}

spillway_status spillway_get_file(spillway_pool* pool, const spillway_file_ref* ref, spillway_pin** pin) {
  return guarded([&]() -> spillway_status {
    State& state = pool->client.state();
    if (ref->host != 0 && ref->host != state.host())
      return fail(SPILLWAY_NOT_HERE,
                  std::string(ref->path) + " is a file of another machine, or of before its last start");
    Result<os::Fd> file = os::open_file(ref->path, os::Open::kRead);
    if (!file)
      return fail(file.error() == ENOENT   ? SPILLWAY_NOT_FOUND
                  : file.error() == EACCES ? SPILLWAY_DENIED
                                           : SPILLWAY_IO,
                  std::string(ref->path) + ": " + strerror(file.error().code()));
    format::ObjectHeader header;
    if (auto e = format::read_header(*file, header); e.bad()) return file_failure(ref->path, e);
    Result<os::FileIdentity> identity = os::identify(file->get());
    if (!identity)
      return fail(SPILLWAY_IO, std::string(ref->path) + ": " + strerror(identity.error().code()));
    const std::string key =
        fmt::format("{} {} {:x} {}", identity->device, identity->inode, header.checksum, header.bytes);
    auto made = std::make_unique<spillway_pin>();
    made->pool = pool;
    made->generation = os::fork_generation();
    made->bytes = header.bytes;
    made->tag = header.tag;
    if (header.bytes > 0) {
      std::lock_guard lock(state.files_mutex);
      made->file = state.files[key].lock();
      if (!made->file) {
        os::Mapping mapping;
        if (header.filters.empty()) {
          if (auto e = format::verify_object(*file, header); e.bad()) return file_failure(ref->path, e);
          Result<os::Mapping> mapped = os::Mapping::read_only(file->get(), format::kDataOffset, header.bytes);
          if (!mapped)
            return fail(SPILLWAY_NO_MEMORY, std::string(ref->path) + ": " + strerror(mapped.error().code()));
          mapping = std::move(*mapped);
        } else {
          Result<os::Mapping> room = os::Mapping::anonymous(header.bytes);
          if (!room) return fail(SPILLWAY_NO_MEMORY, strerror(room.error().code()));
          mapping = std::move(*room);
          if (auto e = format::read_object(*file, header, mapping.data(), users_filters(state, false));
              e.bad())
            return file_failure(ref->path, e);
          (void)mapping.protect(false).ok();
        }
        made->file = std::make_shared<os::Mapping>(std::move(mapping));
        std::erase_if(state.files, [](const auto& entry) { return entry.second.expired(); });
        state.files[key] = made->file;
      }
      made->data = made->file->data();
    }
    *pin = made.release();
    return SPILLWAY_OK;
  });
}

spillway_status spillway_restore(spillway_pool* pool, const char* path, const spillway_put_options* options,
                                 spillway_ref* ref) {
  return guarded([&]() -> spillway_status {
    if (path == nullptr || !*path) return invalid("a path is needed");
    Result<os::Fd> file = os::open_file(path, os::Open::kRead);
    if (!file)
      return fail(file.error() == ENOENT   ? SPILLWAY_NOT_FOUND
                  : file.error() == EACCES ? SPILLWAY_DENIED
                                           : SPILLWAY_IO,
                  std::string(path) + ": " + strerror(file.error().code()));
    char full[4096];
    if (realpath(path, full) == nullptr) return fail(SPILLWAY_IO, std::string(path) + ": " + strerror(errno));
    wire::Writer w = request();
    if (Failure f = write_options(w, options); f.bad()) return fail(f);
    w.bytes(full);
    Answer answer;
    if (Failure f = pool->client.state().call(wire::Verb::kRestore, w, answer, true, &*file); f.bad())
      return fail(f);
    hand_over(pool, answer, options ? options->flags : 0, ref);
    return SPILLWAY_OK;
  });
}

spillway_status spillway_retain(spillway_pool* pool, spillway_ref ref, int on, char* path) {
  return guarded([&]() -> spillway_status {
    wire::Writer w = request();
    write_ref(w, ref);
    w.number(uint8_t{0}).number(static_cast<uint8_t>(on != 0));
    Answer answer;
    if (spillway_status s = call_plain(pool, wire::Verb::kRetain, w, answer)) return s;
    wire::Reader r(answer.payload);
    if (path != nullptr) snprintf(path, 4096, "%s", std::string(r.bytes(wire::kMaxPathBytes)).c_str());
    return SPILLWAY_OK;
  });
}
spillway_status spillway_retain_all(spillway_pool* pool, int on) {
  return guarded([&] {
    wire::Writer w = request();
    write_ref(w, {0, 0});
    w.number(uint8_t{1}).number(static_cast<uint8_t>(on != 0));
    Answer answer;
    return call_plain(pool, wire::Verb::kRetain, w, answer);
  });
}

spillway_status spillway_add_filter(spillway_pool* pool, const char* name, spillway_filter_call write,
                                    spillway_filter_call read, void* context) {
  return guarded([&]() -> spillway_status {
    if (name == nullptr || !*name || strlen(name) > 64 || strchr(name, ','))
      return invalid("a filter's name has 1 to 64 bytes, and no comma");
    if (write == nullptr || read == nullptr) return invalid("a filter is a pair of functions");
    if (format::is_builtin_filter(name)) return invalid(std::string(name) + " is a filter already");
    State& state = pool->client.state();
    std::lock_guard lock(state.filters_mutex);
    state.filters[name] = {write, read, context};
    return SPILLWAY_OK;
  });
}

spillway_status spillway_load(spillway_pool* pool, spillway_ref ref) {
  return guarded([&] { return simple_with_ref(pool, wire::Verb::kLoad, ref); });
}
spillway_status spillway_set_hint(spillway_pool* pool, spillway_ref ref, spillway_hint hint) {
  return guarded([&]() -> spillway_status {
    if (hint < 0 || hint > SPILLWAY_RECOMPUTABLE) return invalid("no such hint");
    wire::Writer w = request();
    write_ref(w, ref);
    w.number(static_cast<uint8_t>(hint));
    Answer answer;
    return call_plain(pool, wire::Verb::kHint, w, answer);
  });
}
spillway_status spillway_keep_resident(spillway_pool* pool, spillway_ref ref, int change) {
  return guarded([&]() -> spillway_status {
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
  return guarded([&]() -> spillway_status {
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
  return guarded([&]() -> spillway_status {
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
    memcpy(tag, text.data(), text.size());
    return SPILLWAY_OK;
  });
}
spillway_status spillway_drain(spillway_pool* pool) {
  return guarded([&] {
    wire::Writer w = request();
    Answer answer;
    return call_plain(pool, wire::Verb::kDrain, w, answer);
  });
}
spillway_status spillway_stop_daemon(spillway_pool* pool) {
  return guarded([&] {
    wire::Writer w = request();
    Answer answer;
    return call_plain(pool, wire::Verb::kStop, w, answer, false);
  });
}
spillway_status spillway_configure(spillway_pool* pool, const char* name, const char* value,
                                   void (*line)(void*, const char*), void* context) {
  return guarded([&]() -> spillway_status {
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

spillway_status spillway_stat(spillway_pool* pool, spillway_ref ref, spillway_info_call call, void* context) {
  return guarded([&] { return stat_which(pool, ref, nullptr, call, context); });
}
spillway_status spillway_stat_name(spillway_pool* pool, const char* name, spillway_info_call call,
                                   void* context) {
  return guarded([&]() -> spillway_status {
    if (Failure f = check_name(name); f.bad()) return fail(f);
    return stat_which(pool, {0, 0}, name, call, context);
  });
}
spillway_status spillway_list(spillway_pool* pool, const char* prefix, spillway_info_call call,
                              void* context) {
  return guarded([&] { return list_some(pool, prefix ? prefix : "", false, call, context); });
}
spillway_status spillway_list_all(spillway_pool* pool, spillway_info_call call, void* context) {
  return guarded([&] { return list_some(pool, "", true, call, context); });
}

spillway_status spillway_watch_open(spillway_pool* pool, const char* prefix, spillway_change_call call,
                                    void* context, spillway_watch** watch) {
  return guarded([&]() -> spillway_status {
    if (call == nullptr || watch == nullptr) return invalid("no callback, or nowhere to put the watch");
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
  return guarded([&]() -> spillway_status {
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
  return guarded([&]() -> spillway_status {
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
  return guarded([&]() -> spillway_status {
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

static spillway_status new_cell(spillway_pool* pool, bool future, spillway_cell* cell) {
  return guarded([&]() -> spillway_status {
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
static spillway_status put_cell(spillway_pool* pool, spillway_cell cell, spillway_ref value,
                                const char* error) {
  wire::Writer w = request();
  w.number(cell.id).number(cell.key).number(value.id).number(value.key).bytes(error);
  Answer answer;
  return call_plain(pool, wire::Verb::kCellPut, w, answer, false);
}
static spillway_status get_cell(spillway_pool* pool, spillway_cell cell, uint64_t timeout_ms,
                                spillway_ref* value) {
  wire::Writer w = request();
  w.number(cell.id).number(cell.key).number(timeout_ms);
  Answer answer;
  const spillway_status s = call_plain(pool, wire::Verb::kCellGet, w, answer);
  if (s != SPILLWAY_OK) return s;
  wire::Reader r(answer.payload);
  value->id = r.number<uint64_t>();
  value->key = r.number<uint64_t>();
  return SPILLWAY_OK;
}

spillway_status spillway_event_new(spillway_pool* pool, spillway_cell* event) {
  return new_cell(pool, false, event);
}
spillway_status spillway_event_set(spillway_pool* pool, spillway_cell event) {
  return guarded([&] { return put_cell(pool, event, {0, 0}, ""); });
}
spillway_status spillway_event_wait(spillway_pool* pool, spillway_cell event, uint64_t timeout_ms) {
  return guarded([&] {
    spillway_ref none;
    return get_cell(pool, event, timeout_ms, &none);
  });
}
spillway_status spillway_future_new(spillway_pool* pool, spillway_cell* future) {
  return new_cell(pool, true, future);
}
spillway_status spillway_future_put(spillway_pool* pool, spillway_cell future, const void* data,
                                    size_t bytes) {
  return guarded([&]() -> spillway_status {
    spillway_ref value;
    if (spillway_status s = spillway_put(pool, data, bytes, nullptr, &value)) return s;
    const spillway_status s = put_cell(pool, future, value, "");
    spillway_ref_release(pool, value);
    return s;
  });
}
spillway_status spillway_future_fail(spillway_pool* pool, spillway_cell future, const char* error) {
  return guarded([&]() -> spillway_status {
    if (error == nullptr || !*error || strlen(error) > (16 << 10))
      return invalid("an error has 1 to 16384 bytes");
    return put_cell(pool, future, {0, 0}, error);
  });
}
spillway_status spillway_future_get(spillway_pool* pool, spillway_cell future, uint64_t timeout_ms,
                                    spillway_pin** pin) {
  return guarded([&]() -> spillway_status {
    spillway_ref value;
    if (spillway_status s = get_cell(pool, future, timeout_ms, &value)) return s;
    if (value.key == 0) return invalid("an event has no value");
    return get_pin(pool, value, nullptr, nullptr, pin);
  });
}

}  // extern "C"

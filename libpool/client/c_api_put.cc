// c_api_put.cc - making objects: whole, several at once, or in place through a builder.
#include <stdlib.h>

#include "base/core/units.h"
#include "libpool/client/c_api.h"
#include "libpool/format/object_file.h"

using namespace spillway;
using namespace spillway::client;

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

namespace {

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

// Of a put or create whose options are the last in the request so far.
State::CallOptions waiting_as(uint32_t when_full, uint64_t timeout_ms, wire::Writer& w) {
  State::CallOptions options;
  if (when_full != SPILLWAY_WAIT || timeout_ms == 0) return options;
  options.timeout_ms = timeout_ms;
  options.timeout_at = w.data().size() - sizeof(uint64_t) - sizeof(uint32_t);
  return options;
}
State::CallOptions waiting_as(const spillway_put_options* o, wire::Writer& w) {
  return o == nullptr ? State::CallOptions{} : waiting_as(o->when_full, o->timeout_ms, w);
}

// What crosses the socket whole, behind its options, which the request has already.
Failure put_whole(spillway_pool* pool, wire::Writer& w, State::CallOptions waiting, uint32_t flags,
                  const void* data, uint64_t bytes, Answer& answer) {
  waiting.late = [pool, flags](State::Session&, wire::Channel&, Answer& late) {
    hand_over(pool, late, flags, nullptr);
  };
  w.bytes({static_cast<const char*>(data), bytes});
  return pool->client.state().call(wire::Verb::kPut, w, answer, waiting);
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
  State::CallOptions waiting = waiting_as(options, w);
  waiting.late = [](State::Session&, wire::Channel& channel, Answer& late) {
    State::abort_late(channel, wire::Reader(late.payload).number<uint64_t>());
  };
  w.number(bytes);
  Answer answer;
  b.session = pool->client.state().session_id();
  if (Failure f = pool->client.state().call(wire::Verb::kCreate, w, answer, waiting); f.bad()) return f;
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

}  // namespace

extern "C" {

spillway_status spillway_put(spillway_pool* pool, const void* data, size_t bytes,
                             const spillway_put_options* options, spillway_ref* ref) {
  return guarded(pool, [&]() -> spillway_status {
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
      if (Failure f = put_whole(pool, w, waiting_as(options, w), flags, data, bytes, answer); f.bad())
        return fail(f);
    }
    hand_over(pool, answer, flags, ref);
    return SPILLWAY_OK;
  });
}

spillway_status spillway_put_many(spillway_pool* pool, const void* const* data, const size_t* bytes,
                                  size_t count, spillway_ref* refs, size_t* done) {
  return guarded(pool, [&]() -> spillway_status {
    if (done != nullptr) *done = 0;
    if (count > 0 && (refs == nullptr || data == nullptr || bytes == nullptr))
      return invalid("no data, or nowhere to put the references");
    for (size_t i = 0; i < count; ++i)
      if (data[i] == nullptr && bytes[i] > 0) return invalid(fmt::format("no data for object {}", i));
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
  return guarded(pool, [&]() -> spillway_status {
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
  if (b == nullptr) return nullptr;
  return b->small ? b->small : b->buffer ? b->buffer->mapping.data() : b->mapping.data();
}
size_t spillway_builder_size(const spillway_builder* b) { return b ? b->bytes : 0; }

spillway_status spillway_builder_seal(spillway_builder* builder, spillway_ref* ref) {
  return guarded([&]() -> spillway_status {
    if (builder == nullptr) return invalid("no builder");
    const std::unique_ptr<spillway_builder> b(builder);
    wire::Reader options(b->options);
    const std::string name(options.bytes(wire::kMaxNameBytes));
    (void)options.bytes(wire::kMaxTagBytes), (void)options.bytes(256), (void)options.number<uint16_t>(),
        (void)options.number<uint8_t>();
    const uint32_t when_full = options.number<uint8_t>();
    const uint64_t timeout_ms = options.number<uint64_t>();
    const uint32_t flags = options.number<uint32_t>();
    if (ref == nullptr && name.empty()) {
      if (!b->small) abort_creation(b->pool, b->id);
      return invalid("an object without a name and without a reference could not be found again");
    }
    Answer answer;
    if (b->small) {
      wire::Writer w = request();
      w.data() += b->options;
      if (Failure f =
              put_whole(b->pool, w, waiting_as(when_full, timeout_ms, w), flags, b->small, b->bytes, answer);
          f.bad())
        return fail(f);
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

}  // extern "C"

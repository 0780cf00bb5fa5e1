// store_c.cc - the C interface: exceptions stay inside, errors become codes and words.
#include <new>

#include "spillway/store.h"
#include "spillway/store.hpp"

struct spillway_store {
  spillway::Store store;
};

namespace {

thread_local std::string last_error;

int fail(int code, const char* what) {
  last_error = what;
  return code;
}
int told(const spillway::StoreStatus& status) {
  if (status.ok()) {
    last_error.clear();
    return SPILLWAY_STORE_OK;
  }
  return fail(static_cast<int>(status.code()), status.message().c_str());
}

// Memory is the only thing that throws.
template <typename Body>
int guarded(Body&& body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    last_error.assign("no memory");  // short enough to need none
  } catch (...) {
    last_error.assign("an exception");
  }
  return SPILLWAY_STORE_IO;
}

std::string_view bytes_of(const void* data, size_t bytes) { return {static_cast<const char*>(data), bytes}; }
bool lacks(const void* data, uint64_t bytes) { return data == nullptr && bytes != 0; }
int no_key() { return fail(SPILLWAY_STORE_INVALID, "the key is NULL, and has bytes"); }
int no_store() { return fail(SPILLWAY_STORE_INVALID, "the store is NULL"); }

int keep(spillway::StoreResult<spillway::Store> opened, spillway_store** store) {
  if (!opened) return told(opened.status());
  *store = new spillway_store{std::move(*opened)};
  return told({});
}

template <typename Open>
int open_with(Open* open, const char* directory, spillway_durability durability, uint64_t segment_bytes,
              spillway_store** store) {
  if (directory == nullptr || store == nullptr)
    return fail(SPILLWAY_STORE_INVALID, "directory or store is NULL");
  *store = nullptr;
  if (durability < SPILLWAY_STORE_ASYNC || durability > SPILLWAY_STORE_SYNC)
    return fail(SPILLWAY_STORE_INVALID, "durability is none of SPILLWAY_STORE_ASYNC, _GROUP and _SYNC");
  return guarded([&] {
    spillway::StoreOptions options;
    options.durability = static_cast<spillway::Durability>(durability);
    if (segment_bytes != 0) options.segment_bytes = segment_bytes;
    return keep(open(directory, options), store);
  });
}

}  // namespace

const char* spillway_store_error(void) { return last_error.c_str(); }

int spillway_store_open(const char* directory, spillway_durability durability, uint64_t segment_bytes,
                        spillway_store** store) {
  return open_with(&spillway::Store::open, directory, durability, segment_bytes, store);
}
int spillway_store_open_shared(const char* directory, spillway_durability durability, uint64_t segment_bytes,
                               spillway_store** store) {
  return open_with(&spillway::Store::open_shared, directory, durability, segment_bytes, store);
}

int spillway_store_open_reader(const char* directory, spillway_store** store) {
  if (directory == nullptr || store == nullptr)
    return fail(SPILLWAY_STORE_INVALID, "directory or store is NULL");
  *store = nullptr;
  return guarded([&] { return keep(spillway::Store::open_reader(directory), store); });
}

int spillway_store_close(spillway_store* store) {
  return guarded([&] { return store == nullptr ? no_store() : told(store->store.close()); });
}
void spillway_store_free(spillway_store* store) { delete store; }

int spillway_store_get(spillway_store* store, const void* key, size_t key_bytes, spillway_value* value) {
  return guarded([&] {
    if (store == nullptr || value == nullptr) return no_store();
    *value = {};
    if (lacks(key, key_bytes)) return no_key();
    spillway::StoreResult<spillway::Value> got = store->store.get(bytes_of(key, key_bytes));
    if (!got) return told(got.status());
    if (!got->found()) return told({});
    auto* hold = new spillway::Value(std::move(*got));
    *value = {hold->data(), hold->size(), hold->sequence(), 1, hold};
    return told({});
  });
}
void spillway_value_release(spillway_value* value) {
  if (value == nullptr) return;
  delete static_cast<spillway::Value*>(value->hold);
  *value = {};
}

int spillway_store_put(spillway_store* store, const void* key, size_t key_bytes, const void* data,
                       uint64_t bytes, uint64_t ttl_ms, uint64_t alignment, uint64_t* sequence) {
  return guarded([&] {
    if (store == nullptr) return no_store();
    if (lacks(key, key_bytes)) return no_key();
    if (lacks(data, bytes)) return fail(SPILLWAY_STORE_INVALID, "the data is NULL, and has bytes");
    spillway::PutOptions options;
    options.ttl = std::chrono::milliseconds(ttl_ms);
    options.alignment = alignment == 0 ? 1 : alignment;
    spillway::StoreResult<uint64_t> put =
        store->store.put(bytes_of(key, key_bytes), bytes_of(data, bytes), options);
    if (put && sequence != nullptr) *sequence = *put;
    return told(put.status());
  });
}

int spillway_store_remove(spillway_store* store, const void* key, size_t key_bytes, int* removed) {
  return guarded([&] {
    if (store == nullptr) return no_store();
    if (lacks(key, key_bytes)) return no_key();
    spillway::StoreResult<bool> result = store->store.remove(bytes_of(key, key_bytes));
    if (result && removed != nullptr) *removed = *result ? 1 : 0;
    return told(result.status());
  });
}

int spillway_store_sync(spillway_store* store) {
  return guarded([&] { return store == nullptr ? no_store() : told(store->store.sync()); });
}
int spillway_store_compact(spillway_store* store) {
  return guarded([&] { return store == nullptr ? no_store() : told(store->store.compact()); });
}
int spillway_store_backup(spillway_store* store, const char* directory) {
  return guarded([&] {
    if (store == nullptr) return no_store();
    if (directory == nullptr) return fail(SPILLWAY_STORE_INVALID, "directory is NULL");
    return told(store->store.backup(directory));
  });
}
uint64_t spillway_store_durable_sequence(spillway_store* store) {
  if (store == nullptr) return 0;
  uint64_t sequence = 0;
  (void)guarded([&] { return sequence = store->store.durable_sequence(), SPILLWAY_STORE_OK; });
  return sequence;
}

int spillway_store_each(spillway_store* store, const void* prefix, size_t prefix_bytes,
                        int (*each)(void*, const void*, size_t, const void*, uint64_t), void* context) {
  return guarded([&] {
    if (store == nullptr) return no_store();
    if (each == nullptr || lacks(prefix, prefix_bytes))
      return fail(SPILLWAY_STORE_INVALID, "the function, or a prefix that has bytes, is NULL");
    spillway::StoreResult<spillway::Snapshot> snapshot = store->store.snapshot();
    if (!snapshot) return told(snapshot.status());
    return told(snapshot->for_each_prefix(
        bytes_of(prefix, prefix_bytes), [&](std::string_view key, const spillway::Value& value) {
          return each(context, key.data(), key.size(), value.data(), value.size()) == 0;
        }));
  });
}

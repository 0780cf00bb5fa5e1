/* store.h - the segment store for C, and for whatever calls C. store.hpp says what a store is and promises;
 * here is only what differs.
 *
 * Functions return 0 or a code below; spillway_store_error() then has the words, per thread, until the next
 * call. A spillway_value holds its bytes until spillway_value_release, also after the store was freed. Any
 * thread may call anything, except that a handle must not be freed while others use it.
 */
#ifndef SPILLWAY_STORE_H
#define SPILLWAY_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "spillway/api.h"

#ifdef __cplusplus
extern "C" {
#endif

enum spillway_store_code {
  SPILLWAY_STORE_OK = 0,
  SPILLWAY_STORE_CLOSED = 1,
  SPILLWAY_STORE_FORKED = 2,
  SPILLWAY_STORE_READ_ONLY = 3,
  SPILLWAY_STORE_LOCKED = 4,
  SPILLWAY_STORE_NOT_A_STORE = 5,
  SPILLWAY_STORE_INVALID = 6,
  SPILLWAY_STORE_FULL = 7,
  SPILLWAY_STORE_NO_SPACE = 8,
  SPILLWAY_STORE_IO = 9,
  SPILLWAY_STORE_CORRUPT = 10,
  SPILLWAY_STORE_BUSY = 11,
  SPILLWAY_STORE_UNKNOWN = 12 /* the writing process died while it had this write */
};

enum spillway_durability { SPILLWAY_STORE_ASYNC = 0, SPILLWAY_STORE_GROUP = 1, SPILLWAY_STORE_SYNC = 2 };

typedef struct spillway_store spillway_store;

typedef struct spillway_value {
  const void* data; /* NULL when the key is absent */
  uint64_t size;
  uint64_t sequence;
  int found;
  void* hold; /* the library's */
} spillway_value;

/* The words of this thread's last error; "" after none. */
SPILLWAY_API const char* spillway_store_error(void);

/* segment_bytes 0: the default. *store is NULL after a failure. */
SPILLWAY_API int spillway_store_open(const char* directory, enum spillway_durability durability,
                                     uint64_t segment_bytes, spillway_store** store);
/* One of any number of processes that write; Store::open_shared. */
SPILLWAY_API int spillway_store_open_shared(const char* directory, enum spillway_durability durability,
                                            uint64_t segment_bytes, spillway_store** store);
SPILLWAY_API int spillway_store_open_reader(const char* directory, spillway_store** store);
SPILLWAY_API int spillway_store_close(spillway_store* store); /* idempotent; the handle stays */
SPILLWAY_API void spillway_store_free(spillway_store* store); /* closes; NULL is fine */

SPILLWAY_API int spillway_store_get(spillway_store* store, const void* key, size_t key_bytes,
                                    spillway_value* value);
SPILLWAY_API void spillway_value_release(spillway_value* value);
/* ttl_ms 0: for ever; alignment 0 or 1: none; sequence may be NULL. */
SPILLWAY_API int spillway_store_put(spillway_store* store, const void* key, size_t key_bytes,
                                    const void* data, uint64_t bytes, uint64_t ttl_ms, uint64_t alignment,
                                    uint64_t* sequence);
/* *removed is 0 when there was none; may be NULL. */
SPILLWAY_API int spillway_store_remove(spillway_store* store, const void* key, size_t key_bytes,
                                       int* removed);
SPILLWAY_API int spillway_store_sync(spillway_store* store);
SPILLWAY_API int spillway_store_compact(spillway_store* store);
SPILLWAY_API int spillway_store_backup(spillway_store* store, const char* directory);
SPILLWAY_API uint64_t spillway_store_durable_sequence(spillway_store* store);

/* Calls each pair whose key begins with the prefix, in order, as they were at one moment; a result other than
 * 0 ends it. The pointers hold during the call. */
SPILLWAY_API int spillway_store_each(spillway_store* store, const void* prefix, size_t prefix_bytes,
                                     int (*each)(void* context, const void* key, size_t key_bytes,
                                                 const void* data, uint64_t bytes),
                                     void* context);

#ifdef __cplusplus
}
#endif
#endif

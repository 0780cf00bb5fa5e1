/* pool.h - the pool from C: objects that processes of a machine share by mapping, spilled to disk when memory
 * is short.
 *
 *   spillway_pool* pool;
 *   if (spillway_pool_open(NULL, &pool) != SPILLWAY_OK) {
 *     fprintf(stderr, "%s\n", spillway_last_error());
 *     exit(1);
 *   }
 *   spillway_ref matrix;
 *   spillway_put(pool, data, bytes, NULL, &matrix);   // copies; spillway_create() builds in place
 *   spillway_pin* pin;
 *   spillway_get(pool, matrix, NULL, &pin);           // maps: spillway_pin_data() is in shared memory
 *   ...
 *   spillway_pin_release(pin);                        // from here on the object may be spilled
 *
 * Link with -lspillway. C++ programs use pool.hpp, which is this with types.
 *
 * Contracts. A published object never changes. Every call ends in a status; other than SPILLWAY_OK it says
 * more in spillway_last_error() of the calling thread. Sizes are in bytes, times in milliseconds; a time of
 * SPILLWAY_FOREVER has no end. Strings end with 0 and are UTF-8 by convention; pointers that callbacks get
 * are good until they return. A pool may be used by many threads at once; a pin, builder or other handle by
 * one at a time. After a daemon has ended, the next call makes a session with the one that follows, and has
 * it refer to what this process refers to. After fork() the child opens a session of its own at its next
 * call; pins it inherited stay readable only as long as the parent holds them.
 *
 * Any call may fail with SPILLWAY_INVALID (an argument cannot be, or is null where nothing here permits it;
 * the message says which; functions without a status then give null or 0), SPILLWAY_UNAVAILABLE (no daemon
 * answers and none could be started), SPILLWAY_DENIED (the object belongs to somebody else),
 * SPILLWAY_NO_MEMORY. */
#ifndef SPILLWAY_POOL_H
#define SPILLWAY_POOL_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef SPILLWAY_API
#define SPILLWAY_API __attribute__((visibility("default")))
#endif

typedef enum spillway_status {
  SPILLWAY_OK = 0,
  SPILLWAY_INVALID = 1,   /* an argument cannot be */
  SPILLWAY_NOT_FOUND = 2, /* no such object, name, event, device: never was, or erased */
  SPILLWAY_EVICTED = 3,   /* it was recomputable and had to leave */
  SPILLWAY_LOST = 4,      /* it was only in the memory of a daemon that died */
  SPILLWAY_CORRUPT = 5,   /* its file was damaged; the message names it */
  SPILLWAY_FULL = 6,      /* memory (and, where asked, disk) is full; the message says who pins how much */
  SPILLWAY_DISK_FULL = 7, /* the spill directories are full */
  SPILLWAY_TOO_LARGE = 8, /* can never fit */
  SPILLWAY_TIMED_OUT = 9,
  SPILLWAY_EXISTS = 10, /* the name or file is taken, and replacing was not asked for */
  SPILLWAY_DENIED = 11,
  SPILLWAY_IO = 12,          /* the disk failed; the message has the reason */
  SPILLWAY_OWNER_DIED = 13,  /* of an event or future that was never set */
  SPILLWAY_ALREADY_SET = 14, /* a future takes one value */
  SPILLWAY_UNAVAILABLE = 15,
  SPILLWAY_NO_MEMORY = 16,
  SPILLWAY_BUSY = 17,       /* held in a way that does not permit it now */
  SPILLWAY_FAILED = 18,     /* the future carries an error; the message is its */
  SPILLWAY_NOT_HERE = 19,   /* a file reference of another machine */
  SPILLWAY_UNSUPPORTED = 20 /* this daemon does not know the request */
} spillway_status;

#define SPILLWAY_FOREVER UINT64_MAX

/* The status in words ("no such object"). */
SPILLWAY_API const char* spillway_status_text(spillway_status status);
/* What went wrong in this thread's last call that failed. Never null. */
SPILLWAY_API const char* spillway_last_error(void);

typedef struct spillway_pool spillway_pool;
typedef struct spillway_pin spillway_pin;
typedef struct spillway_builder spillway_builder;

/* Names an object: a plain value, to be copied and compared. Whether the object lives is counted per process:
 * see spillway_ref_retain(). {0, 0} names none. */
typedef struct spillway_ref {
  uint64_t id;
  uint64_t key; /* not to be guessed */
} spillway_ref;

/* ---- the pool
 * ------------------------------------------------------------------------------------------------------- */

typedef struct spillway_pool_options {
  const char*
      socket; /* null: $SPILLWAY_SOCKET, $XDG_RUNTIME_DIR/spillway/pool.sock, /tmp/spillway-UID/pool.sock */
  const char* daemon;        /* null: $SPILLWAY_DAEMON, beside the library, then PATH */
  int do_not_start;          /* 1: fail instead of starting a daemon */
  uint64_t start_timeout_ms; /* 0: 10,000 */
  uint32_t cached_objects;   /* how many objects that are no longer pinned stay mapped; 0: 4096, 1: none */
} spillway_pool_options;

/* Connects, and starts this user's daemon when none runs. `options` may be null. */
SPILLWAY_API spillway_status spillway_pool_open(const spillway_pool_options* options, spillway_pool** pool);
/* Ends the session: what only it referred to is gone. Pins must be released before. Null is fine. */
SPILLWAY_API void spillway_pool_close(spillway_pool* pool);
/* The socket it is connected to. */
SPILLWAY_API const char* spillway_pool_socket(const spillway_pool* pool);

/* ---- publishing
 * ----------------------------------------------------------------------------------------------------- */

typedef enum spillway_when_full {
  SPILLWAY_SPILL = 0, /* when nothing can leave memory, the object itself goes straight to disk */
  SPILLWAY_WAIT = 1,  /* until there is room, or timeout_ms is over (SPILLWAY_FULL) */
  SPILLWAY_FAIL = 2   /* SPILLWAY_FULL at once, when everything in memory is pinned */
} spillway_when_full;

typedef enum spillway_hint {
  SPILLWAY_NORMAL = 0,
  SPILLWAY_KEEP = 1,        /* leaves memory last */
  SPILLWAY_FIRST_TO_GO = 2, /* leaves memory first */
  SPILLWAY_RECOMPUTABLE = 3 /* when it has to leave it is deleted, not spilled (destroy on evict) */
} spillway_hint;

enum {
  SPILLWAY_DURABLE = 1,   /* on disk, synchronised, before the call returns */
  SPILLWAY_RETAIN = 2,    /* as spillway_retain() */
  SPILLWAY_EXCLUSIVE = 4, /* a name that is taken is SPILLWAY_EXISTS instead of a new version */
  SPILLWAY_UNCOUNTED = 8  /* the caller wants no reference: only the name keeps it (needs a name) */
};

typedef struct spillway_put_options {
  const char* name; /* null: none; at most 1,024 bytes, by convention "namespace/name" */
  const void* tag;  /* kept and returned with the object; at most 2,048 bytes */
  size_t tag_bytes;
  uint32_t mode; /* who may read (0400, 0040, 0004) and replace or erase (0200, ...); 0: 0600 */
  spillway_hint hint;
  spillway_when_full when_full;
  uint64_t timeout_ms; /* of SPILLWAY_WAIT; SPILLWAY_TIMED_OUT shortly after it from a daemon that hangs */
  uint32_t flags;
  const char* filters; /* applied when it is written to disk: "lz4", "zstd", "checksum", joined by commas */
} spillway_put_options;

/* Copies the bytes into a new object. With a name, the name means the new object from that instant on, and
 * who holds the old one keeps it. The caller has one reference to it (spillway_ref_release). `options` and
 * `ref` may be null, not both `ref` and the name. SPILLWAY_FULL, SPILLWAY_DISK_FULL, SPILLWAY_TOO_LARGE,
 * SPILLWAY_EXISTS, SPILLWAY_IO: nothing changed. */
SPILLWAY_API spillway_status spillway_put(spillway_pool* pool, const void* data, size_t bytes,
                                          const spillway_put_options* options, spillway_ref* ref);
/* `count` objects without names in few round trips. All or, from the first that fails, none of the rest:
 * `done` says how many were published. */
SPILLWAY_API spillway_status spillway_put_many(spillway_pool* pool, const void* const* data,
                                               const size_t* bytes, size_t count, spillway_ref* refs,
                                               size_t* done);

/* Room of `bytes` to write to in place. Nobody else sees it before it is sealed; a program that dies leaves
 * nothing. Write all of it: it may hold what an earlier object of this program left. From 1 MiB on the
 * memory is shared with the daemon: MADV_DONTNEED loses none of what was written. */
SPILLWAY_API spillway_status spillway_create(spillway_pool* pool, size_t bytes,
                                             const spillway_put_options* options, spillway_builder** builder);
SPILLWAY_API void* spillway_builder_data(spillway_builder* builder);
SPILLWAY_API size_t spillway_builder_size(const spillway_builder* builder);
/* Publishes and frees the builder, also when it fails; its memory may not be touched any more. */
SPILLWAY_API spillway_status spillway_builder_seal(spillway_builder* builder, spillway_ref* ref);
SPILLWAY_API void spillway_builder_abort(spillway_builder* builder);

/* ---- reading
 * -------------------------------------------------------------------------------------------------------- */

typedef struct spillway_get_options {
  /* A name that does not exist yet: wait this long for it; 0: do not. When the daemon ends meanwhile, its
   * successor is waited for as long, then SPILLWAY_UNAVAILABLE; when it hangs, SPILLWAY_TIMED_OUT, half a
   * second later at most. */
  uint64_t timeout_ms;
  spillway_when_full
      when_full; /* of an object that is on disk and has no room in memory; SPILLWAY_SPILL reads the file */
} spillway_get_options;

/* Maps the object and pins it: it stays where it is until the pin is released. An object that is held or was
 * held lately costs no message; nor does one of up to 4 KiB by its name, even for the first time, whose pin
 * keeps a copy of the bytes: the object itself may leave memory. SPILLWAY_NOT_FOUND, SPILLWAY_EVICTED,
 * SPILLWAY_LOST, SPILLWAY_CORRUPT, SPILLWAY_IO, SPILLWAY_FULL, SPILLWAY_TIMED_OUT. */
SPILLWAY_API spillway_status spillway_get(spillway_pool* pool, spillway_ref ref,
                                          const spillway_get_options* options, spillway_pin** pin);
/* The newest version of the name. */
SPILLWAY_API spillway_status spillway_get_name(spillway_pool* pool, const char* name,
                                               const spillway_get_options* options, spillway_pin** pin);
SPILLWAY_API const void* spillway_pin_data(
    const spillway_pin* pin); /* aligned to 64 bytes at least; null when empty */
SPILLWAY_API size_t spillway_pin_size(const spillway_pin* pin);
SPILLWAY_API spillway_ref
spillway_pin_ref(const spillway_pin* pin); /* uncounted: spillway_ref_retain() to keep it */
SPILLWAY_API const void* spillway_pin_tag(const spillway_pin* pin, size_t* bytes);
SPILLWAY_API uint64_t
spillway_pin_version(const spillway_pin* pin);             /* grows with each publication of a name */
SPILLWAY_API void spillway_pin_release(spillway_pin* pin); /* null is fine */

/* ---- references
 * ----------------------------------------------------------------------------------------------------- */

/* An object lives as long as it has a name, a process refers to it, or a token for it is on its way. put and
 * seal give the process one reference; these count more and fewer. The daemon is told of the first and the
 * last. */
SPILLWAY_API spillway_status spillway_ref_retain(spillway_pool* pool, spillway_ref ref);
SPILLWAY_API void spillway_ref_release(spillway_pool* pool, spillway_ref ref);
/* The name's object, with one reference. */
SPILLWAY_API spillway_status spillway_lookup(spillway_pool* pool, const char* name, spillway_ref* ref);

#define SPILLWAY_TOKEN_BYTES 80
/* A token is text that may travel through any stream. It keeps the object alive by itself until it is picked
 * up once, or for `expiry_ms` (0: 60,000). `token` has room for SPILLWAY_TOKEN_BYTES. */
SPILLWAY_API spillway_status spillway_ref_to_token(spillway_pool* pool, spillway_ref ref, uint64_t expiry_ms,
                                                   char* token);
/* Picks it up, with one reference. SPILLWAY_NOT_FOUND: it expired, and nobody else kept the object. */
SPILLWAY_API spillway_status spillway_ref_from_token(spillway_pool* pool, const char* token,
                                                     spillway_ref* ref);

/* Calls back once, from a thread of the library, after the object's bytes are gone. Not when the pool is
 * closed, nor once the daemon has ended, in order or not: the one after it does not know of the call. */
SPILLWAY_API spillway_status spillway_on_destroy(spillway_pool* pool, spillway_ref ref,
                                                 void (*call)(void* context), void* context);

/* The object can no longer be found; memory and disk are free when the last pin goes. What is gone already is
 * no error. Files that belong to a user (save, restore) stay. */
SPILLWAY_API spillway_status spillway_erase(spillway_pool* pool, spillway_ref ref);
SPILLWAY_API spillway_status spillway_erase_name(spillway_pool* pool, const char* name);
/* Erases what this session made and did not retain. */
SPILLWAY_API spillway_status spillway_cleanup(spillway_pool* pool);

/* ---- disk
 * -----------------------------------------------------------------------------------------------------------
 */

typedef struct spillway_file_ref {
  uint64_t host; /* of which machine */
  uint64_t bytes;
  char path[4096];
} spillway_file_ref;

enum { SPILLWAY_OVERWRITE = 1, SPILLWAY_SYNC = 2 };

typedef struct spillway_disk_options {
  const char* path; /* null: in the spill directory; absolute otherwise. The file is the pool's, and goes with
                       the object */
  const char* filters; /* null: the object's own */
  uint32_t flags;      /* SPILLWAY_OVERWRITE: an existing file; SPILLWAY_SYNC: survives a power cut */
} spillway_disk_options;

/* Writes the object (once: a copy that is there is used) and frees its memory; a later get reads it back.
 * `options` and `file` may be null here and in the next two.
 * SPILLWAY_BUSY: it is pinned, and stays in memory, but is on disk, too. */
SPILLWAY_API spillway_status spillway_move_to_disk(spillway_pool* pool, spillway_ref ref,
                                                   const spillway_disk_options* options,
                                                   spillway_file_ref* file);
/* The same, keeping the memory. */
SPILLWAY_API spillway_status spillway_copy_to_disk(spillway_pool* pool, spillway_ref ref,
                                                   const spillway_disk_options* options,
                                                   spillway_file_ref* file);
/* Writes a file of the user's own: this process writes it, with its permissions. The pool forgets it at once.
 * Filters may include those of spillway_add_filter(). SPILLWAY_EXISTS unless SPILLWAY_OVERWRITE. */
SPILLWAY_API spillway_status spillway_save_to_disk(spillway_pool* pool, spillway_ref ref, const char* path,
                                                   const spillway_disk_options* options,
                                                   spillway_file_ref* file);
/* Maps (or, where filters were applied, decodes) such a file. Gets of one file share a mapping.
 * SPILLWAY_NOT_HERE, SPILLWAY_NOT_FOUND, SPILLWAY_CORRUPT. */
SPILLWAY_API spillway_status spillway_get_file(spillway_pool* pool, const spillway_file_ref* file,
                                               spillway_pin** pin);
/* Makes an object of a file without reading it: one that was saved, or any other, whose bytes it then is. The
 * file stays the user's: it is never deleted, and must not be changed meanwhile. SPILLWAY_DENIED in another
 * user's pool. */
SPILLWAY_API spillway_status spillway_restore(spillway_pool* pool, const char* path,
                                              const spillway_put_options* options, spillway_ref* ref);
/* 1: when the object dies its file stays in the spill directory, below retained/ (it is written first when
 * there is none). 0: takes it back. `path`, room for 4,096 bytes or null, tells where it will be. */
SPILLWAY_API spillway_status spillway_retain(spillway_pool* pool, spillway_ref ref, int on, char* path);
/* For all objects of this session, those to come too. */
SPILLWAY_API spillway_status spillway_retain_all(spillway_pool* pool, int on);

/* A pair of functions that change bytes on their way to a file and back. They put their result into `*out`,
 * memory from malloc(), and return 0; anything else is a failure. They are given a MiB at a time. */
typedef int (*spillway_filter_call)(void* context, const void* in, size_t bytes, void** out,
                                    size_t* out_bytes);
SPILLWAY_API spillway_status spillway_add_filter(spillway_pool* pool, const char* name,
                                                 spillway_filter_call write, spillway_filter_call read,
                                                 void* context);

/* ---- steering
 * ------------------------------------------------------------------------------------------------------- */

/* Brings it into memory. */
SPILLWAY_API spillway_status spillway_load(spillway_pool* pool, spillway_ref ref);
SPILLWAY_API spillway_status spillway_set_hint(spillway_pool* pool, spillway_ref ref, spillway_hint hint);
/* Pins that belong to the object and not to a process: +1 or -1. They are kept with it on disk, also over the
 * daemon's end: after that it stays in memory as soon as it is there again. */
SPILLWAY_API spillway_status spillway_keep_resident(spillway_pool* pool, spillway_ref ref, int change);
/* `device`: null for the object's own tag, else "memory" or the name of a disk. */
SPILLWAY_API spillway_status spillway_set_tag(spillway_pool* pool, spillway_ref ref, const char* device,
                                              const void* tag, size_t bytes);
/* SPILLWAY_NOT_FOUND: no such device. `bytes` is the room, then the length; SPILLWAY_INVALID when it is too
 * small. */
SPILLWAY_API spillway_status spillway_get_tag(spillway_pool* pool, spillway_ref ref, const char* device,
                                              void* tag, size_t* bytes);
/* Writes everything that is only in memory. */
SPILLWAY_API spillway_status spillway_drain(spillway_pool* pool);
/* An orderly end: what is only in memory is written first. Should that not be possible, the daemon goes on:
 * SPILLWAY_DISK_FULL, SPILLWAY_IO; the message says how many objects and why. */
SPILLWAY_API spillway_status spillway_stop_daemon(spillway_pool* pool);
/* Likewise, but what cannot be written is lost. */
SPILLWAY_API spillway_status spillway_force_stop_daemon(spillway_pool* pool);
/* Settings by the names of spillwayd(8). `value` null: asks. The answer, "name = value" a line, goes to the
 * callback. */
SPILLWAY_API spillway_status spillway_configure(spillway_pool* pool, const char* name, const char* value,
                                                void (*line)(void* context, const char* text), void* context);

/* ---- what is there
 * -------------------------------------------------------------------------------------------------- */

typedef enum spillway_state {
  SPILLWAY_CREATING = 0,
  SPILLWAY_RESIDENT = 1, /* in memory only */
  SPILLWAY_SPILLING = 2,
  SPILLWAY_BOTH = 3, /* in memory and on disk */
  SPILLWAY_SPILLED = 4,
  SPILLWAY_LOADING = 5,
  SPILLWAY_BROKEN = 6,
  SPILLWAY_GONE = 7
} spillway_state;
SPILLWAY_API const char* spillway_state_text(spillway_state state);

typedef struct spillway_info {
  spillway_ref ref;
  const char* name; /* "": none */
  uint64_t bytes;
  spillway_state state;
  uint64_t version;
  const void* tag;
  size_t tag_bytes;
  uint32_t uid, mode;
  int owner_pid;       /* 0: it has ended */
  uint32_t references; /* processes that refer to it */
  uint32_t pins;       /* now, of all processes, and kept resident */
  spillway_hint hint;
  uint64_t age_ms, idle_ms;
  const char* file;    /* "": none */
  const char* filters; /* what was applied to that file */
  int retained;
} spillway_info;

typedef int (*spillway_info_call)(void* context, const spillway_info* info); /* other than 0: enough */

/* Without a callback: only whether there is such an object. */
SPILLWAY_API spillway_status spillway_stat(spillway_pool* pool, spillway_ref ref, spillway_info_call call,
                                           void* context);
SPILLWAY_API spillway_status spillway_stat_name(spillway_pool* pool, const char* name,
                                                spillway_info_call call, void* context);
/* Objects whose name begins with `prefix`, in the order of names. */
SPILLWAY_API spillway_status spillway_list(spillway_pool* pool, const char* prefix, spillway_info_call call,
                                           void* context);
/* All objects, those without a name after the others. */
SPILLWAY_API spillway_status spillway_list_all(spillway_pool* pool, spillway_info_call call, void* context);

typedef enum spillway_change {
  SPILLWAY_CREATED = 0,
  SPILLWAY_REPLACED = 1,
  SPILLWAY_ERASED = 2,
  SPILLWAY_RESYNC = 3 /* changes were missed: list again */
} spillway_change;
typedef struct spillway_watch spillway_watch;
typedef void (*spillway_change_call)(void* context, spillway_change change, const char* name,
                                     uint64_t version);
/* Tells, in order, what happens to names that begin with `prefix`, from a thread of the library. */
SPILLWAY_API spillway_status spillway_watch_open(spillway_pool* pool, const char* prefix,
                                                 spillway_change_call call, void* context,
                                                 spillway_watch** watch);
/* When it returns the callback is not running and will not be called any more. */
SPILLWAY_API void spillway_watch_close(spillway_watch* watch);

typedef struct spillway_device {
  const char* name; /* "memory", "disk0", ... */
  const char* path; /* "": none */
  uint64_t capacity_bytes, used_bytes, available_bytes;
} spillway_device;
typedef int (*spillway_device_call)(void* context, const spillway_device* device);
/* `name` null: all; `call` null: only whether it is there. SPILLWAY_NOT_FOUND: no such device; the message
 * lists them. */
SPILLWAY_API spillway_status spillway_devices(spillway_pool* pool, const char* name,
                                              spillway_device_call call, void* context);

/* Counters of the daemon: name and value. docs/wire_protocol.md lists them. */
SPILLWAY_API spillway_status spillway_stats(spillway_pool* pool,
                                            int (*call)(void* context, const char* name, uint64_t value),
                                            void* context);

typedef struct spillway_client {
  int pid;
  uint32_t uid;
  const char* program;
  uint64_t connected_ms, created_bytes, pinned_bytes, made_objects, references, leases;
  uint64_t puts, gets,
      hits; /* hits: gets that found the object in memory; those without a message are not seen */
  int self;
} spillway_client;
SPILLWAY_API spillway_status spillway_clients(spillway_pool* pool,
                                              int (*call)(void* context, const spillway_client* client),
                                              void* context);

/* ---- events and futures
 * --------------------------------------------------------------------------------------------- */

typedef struct spillway_cell {
  uint64_t id, key;
} spillway_cell; /* a plain value; its id and key may travel */

/* An event is set once, for all processes; a future takes one value or error. Their owner is the session that
 * made them: when it ends before they are set, or the daemon ends, waiters get SPILLWAY_OWNER_DIED. They go
 * when the last process that used them has ended. SPILLWAY_TIMED_OUT also when the daemon hangs. */
SPILLWAY_API spillway_status spillway_event_new(spillway_pool* pool, spillway_cell* event);
SPILLWAY_API spillway_status spillway_event_set(spillway_pool* pool, spillway_cell event); /* again is fine */
SPILLWAY_API spillway_status spillway_event_wait(spillway_pool* pool, spillway_cell event,
                                                 uint64_t timeout_ms);
SPILLWAY_API spillway_status spillway_future_new(spillway_pool* pool, spillway_cell* future);
/* SPILLWAY_ALREADY_SET when there is a value or an error. */
SPILLWAY_API spillway_status spillway_future_put(spillway_pool* pool, spillway_cell future, const void* data,
                                                 size_t bytes);
SPILLWAY_API spillway_status spillway_future_fail(spillway_pool* pool, spillway_cell future,
                                                  const char* error);
/* The value; SPILLWAY_FAILED with the error as message; SPILLWAY_TIMED_OUT; SPILLWAY_OWNER_DIED. */
SPILLWAY_API spillway_status spillway_future_get(spillway_pool* pool, spillway_cell future,
                                                 uint64_t timeout_ms, spillway_pin** pin);

#ifdef __cplusplus
}
#endif
#endif

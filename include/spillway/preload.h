/* preload.h - hints and questions about large blocks, for programs that run with and without the preload.
 *
 * Every function looks its implementation up once, weakly: under `spillway run` it reaches the preloaded
 * library; in a plain run it does nothing and returns -1 with errno ENOSYS. No library to link. Thread-safe.
 * Hints change how fast a program is, never what it computes.
 *
 * Ranges are in bytes, of any alignment; hints work in units of 2 MiB. EINVAL: the range is not within one
 * large block (a request of at least the threshold), or the advice is none of these. */
#ifndef SPILLWAY_PRELOAD_H
#define SPILLWAY_PRELOAD_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum spillway_advice {
  SPILLWAY_ADVICE_NORMAL = 0,     /* what the library sees for itself decides, as before any advice */
  SPILLWAY_ADVICE_SEQUENTIAL = 1, /* read ahead from the first touch on */
  SPILLWAY_ADVICE_RANDOM = 2,     /* never read more around a touch than is next to what was touched */
  SPILLWAY_ADVICE_LOOP = 3,       /* read again and again from one end to the other: keep a share of it */
  SPILLWAY_ADVICE_KEEP = 4,       /* leaves memory after everything that is not to be kept */
  SPILLWAY_ADVICE_DROP = 5        /* not needed for long: leaves memory now; the bytes stay */
};

struct spillway_preload_statistics {
  uint64_t limit_bytes;      /* in force; 0: none was set */
  uint64_t large_bytes;      /* of large blocks that live, in memory or not */
  uint64_t peak_large_bytes; /* the most so far */
  uint64_t faults;           /* touches that the library had to answer (managed) */
  uint64_t staged_hits;      /* of them, those whose memory had not left yet */
  uint64_t read_bytes;       /* from spill files (managed); by the process (files) */
  uint64_t written_bytes;    /* likewise, to them */
  uint64_t unchanged_bytes;  /* that left memory without being written (managed) */
};

extern int spillway_preload_advise_(const void* address, size_t bytes, int advice) __attribute__((weak));
extern int spillway_preload_prefetch_(const void* address, size_t bytes) __attribute__((weak));
extern int64_t spillway_preload_resident_(const void* address, size_t bytes) __attribute__((weak));
extern int spillway_preload_set_limit_(uint64_t bytes) __attribute__((weak));
extern int spillway_preload_statistics_(struct spillway_preload_statistics* out, size_t bytes)
    __attribute__((weak));

/* 1: the program runs under the preload. */
static inline int spillway_preload_present(void) { return spillway_preload_advise_ != NULL; }

/* How the range will be used; 0, or -1 with errno (EINVAL, ENOSYS). Advice holds until other advice is given
 * or the block is freed, but for DROP, which acts once. Blocks in files know NORMAL, SEQUENTIAL, RANDOM and
 * DROP; LOOP and KEEP have no effect there. */
static inline int spillway_preload_advise(const void* address, size_t bytes, enum spillway_advice advice) {
  if (spillway_preload_advise_) return spillway_preload_advise_(address, bytes, (int)advice);
  errno = ENOSYS;
  return -1;
}

/* Starts to bring the range back, and returns; at most a quarter of the memory that large blocks may have. 0,
 * or -1 with errno (EINVAL, ENOSYS). */
static inline int spillway_preload_prefetch(const void* address, size_t bytes) {
  if (spillway_preload_prefetch_) return spillway_preload_prefetch_(address, bytes);
  errno = ENOSYS;
  return -1;
}

/* Bytes of the range that are in memory now, in whole pages; -1 with errno (EINVAL, ENOSYS). */
static inline int64_t spillway_preload_resident(const void* address, size_t bytes) {
  if (spillway_preload_resident_) return spillway_preload_resident_(address, bytes);
  errno = ENOSYS;
  return -1;
}

/* The limit on the resident part of large blocks, in bytes; 0: none. What is over it leaves soon after. Once
 * memory has run short, the limit of that time is the highest that counts: tables were made for it. 0, or -1
 * with errno ENOSYS. */
static inline int spillway_preload_set_limit(uint64_t bytes) {
  if (spillway_preload_set_limit_) return spillway_preload_set_limit_(bytes);
  errno = ENOSYS;
  return -1;
}

/* 0, or -1 with errno ENOSYS. */
static inline int spillway_preload_get_statistics(struct spillway_preload_statistics* out) {
  if (spillway_preload_statistics_) return spillway_preload_statistics_(out, sizeof *out);
  errno = ENOSYS;
  return -1;
}

#ifdef __cplusplus
}
#endif
#endif

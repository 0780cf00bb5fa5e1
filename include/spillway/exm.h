/* exm.h - exm's interface, for programs that run with and without the preload.
 *
 * Every function looks its implementation up once, weakly: under `spillway run` (or `exm`) it reaches the
 * preloaded library; in a plain run it does nothing and says so by its result. No library to link.
 * Thread-safe. */
#ifndef SPILLWAY_EXM_H
#define SPILLWAY_EXM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a forked child does with the large blocks it inherits (exm_cow, EXM_CHILD_COW). */
enum {
  EXM_COW_SHARED = 0,   /* parent and child write the same bytes: perilous */
  EXM_COW_SNAPSHOT = 1, /* the default: each sees the block as it was at the fork, and its own writes */
  EXM_COW_DUPLICATE = 2 /* the child gets a full copy of its own, in a file of its own */
};

extern double exm_version(void) __attribute__((weak));
extern size_t exm_threshold(size_t bytes) __attribute__((weak));
extern int exm_cow(int mode) __attribute__((weak));
extern char* exm_path(char* directory) __attribute__((weak));
extern char* exm_lookup(void* block) __attribute__((weak));
extern int exm_madvise(void* block, int advice) __attribute__((weak));
extern void exm_debug_list(void) __attribute__((weak));

/* 1: the program runs under the preload. */
static inline int exm_present(void) { return exm_version != NULL; }

/* major.minor, for example 0.1; 0 without the preload. */
static inline double exm_get_version(void) { return exm_version ? exm_version() : 0.0; }

/* Requests of at least this many bytes, and of at least 4 KiB, become spillable. 0 only reads. Returns the
 * threshold in force, or 0 without the preload. */
static inline size_t exm_set_threshold(size_t bytes) { return exm_threshold ? exm_threshold(bytes) : 0; }

/* Sets what children of later forks do (a negative mode counts as EXM_COW_SHARED). Returns the mode in force;
 * -1: no such mode, nothing changed, or no preload. */
static inline int exm_set_cow(int mode) { return exm_cow ? exm_cow(mode) : -1; }

/* The directory of later region files, to be freed with free(). NULL without the preload. */
static inline char* exm_get_path(void) { return exm_path ? exm_path(NULL) : NULL; }

/* Sets the directory of later region files; blocks that exist stay where they are. 0, or -1 with errno when
 * the directory cannot hold files (nothing changes) and without the preload. */
static inline int exm_set_path(const char* directory) {
  return exm_path && directory && exm_path((char*)directory) ? 0 : -1;
}

/* The path of the file that holds `block` (any address inside a large block), to be freed with free(). It can
 * be opened as long as this process lives (an entry of /proc/PID/fd). NULL: not in a file (a block of the
 * managed backing is in memory, and spills from there), or no preload. */
static inline char* exm_get_path_of(const void* block) {
  return exm_lookup ? exm_lookup((void*)block) : NULL;
}

/* madvise(2) for the whole block: MADV_NORMAL, MADV_RANDOM or MADV_SEQUENTIAL; it ends the automatic choice.
 * 0, or -1 with errno (EINVAL: not a large block, or no such advice) and without the preload. */
static inline int exm_advise(void* block, int advice) {
  return exm_madvise ? exm_madvise(block, advice) : -1;
}

/* Lists the spillable blocks on stderr. */
static inline void exm_print_blocks(void) {
  if (exm_debug_list) exm_debug_list();
}

#ifdef __cplusplus
}
#endif
#endif

/* exm.c - reaches exm's functions in the library that `exm R` or `spillway run R` preloads.
 *
 * The functions are looked up by name once, when the package is loaded. So it builds without Spillway, and in
 * an R that runs without the preload each function says how to start R instead. The declarations are those of
 * <spillway/exm.h>; they are repeated here because a package must build from its own files. */
#define _GNU_SOURCE
#include <R.h>
#include <R_ext/Rdynload.h>
#include <Rinternals.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct {
  double (*version)(void);
  size_t (*threshold)(size_t bytes);
  int (*cow)(int mode);
  char* (*path)(char* directory);
  char* (*lookup)(void* block);
  int (*madvise)(void* block, int advice);
} exm;

/* Copied, because ISO C knows no cast from an object's pointer to a function's. */
static void look_up(void* function, const char* name) {
  void* address = dlsym(RTLD_DEFAULT, name);
  memcpy(function, &address, sizeof address);
}

static int is_present(void) {
  return exm.version && exm.threshold && exm.cow && exm.path && exm.lookup && exm.madvise;
}

static void need_preload(void) {
  if (!is_present())
    Rf_error("R runs without the preloaded library: start R with `exm R` or `spillway run R`");
}

static SEXP present(void) { return Rf_ScalarLogical(is_present()); }

static SEXP version(void) {
  need_preload();
  return Rf_ScalarReal(exm.version());
}

/* 0 only reads. A double, because R's integers end at 2 GiB. */
static SEXP threshold(SEXP bytes) {
  need_preload();
  return Rf_ScalarReal((double)exm.threshold((size_t)Rf_asReal(bytes)));
}

static SEXP cow(SEXP mode) {
  need_preload();
  return Rf_ScalarInteger(exm.cow(Rf_asInteger(mode)));
}

/* A string that came from malloc, as an R string; NULL for none. */
static SEXP take_string(char* text) {
  if (!text) return R_NilValue;
  SEXP result = PROTECT(Rf_mkString(text));
  free(text);
  UNPROTECT(1);
  return result;
}

static SEXP path(SEXP directory) {
  need_preload();
  if (directory != R_NilValue) {
    const char* name = CHAR(STRING_ELT(directory, 0));
    errno = 0;
    if (!exm.path((char*)name)) {
      Rf_error("'%s' cannot hold files: %s", name, errno ? strerror(errno) : "no reason was given");
    }
  }
  return take_string(exm.path(NULL));
}

/* An address inside the object's own memory. A vector is one block, header and data; but one of R's compact
 * or wrapped vectors (ALTREP) only points to its data, and may have none yet. */
static void* address_of(SEXP object) {
  const void* data = Rf_isVector(object) ? DATAPTR_OR_NULL(object) : NULL;
  return data ? (void*)data : (void*)object;
}

static SEXP lookup(SEXP object) {
  need_preload();
  return take_string(exm.lookup(address_of(object)));
}

static SEXP advise(SEXP object, SEXP advice) {
  need_preload();
  const char* name = CHAR(STRING_ELT(advice, 0));
  const int value = strcmp(name, "random") == 0       ? MADV_RANDOM
                    : strcmp(name, "sequential") == 0 ? MADV_SEQUENTIAL
                                                      : MADV_NORMAL;
  errno = 0;
  if (exm.madvise(address_of(object), value) != 0) {
    Rf_error(errno == EINVAL ? "'object' is not a vector above exm_threshold()" : "%s", strerror(errno));
  }
  return Rf_ScalarLogical(1);
}

static const R_CallMethodDef kRoutines[] = {
    {"present", (DL_FUNC)&present, 0}, {"version", (DL_FUNC)&version, 0},
    {"path", (DL_FUNC)&path, 1},       {"threshold", (DL_FUNC)&threshold, 1},
    {"cow", (DL_FUNC)&cow, 1},         {"lookup", (DL_FUNC)&lookup, 1},
    {"madvise", (DL_FUNC)&advise, 2},  {NULL, NULL, 0},
};

void R_init_exm(DllInfo* dll);
void R_init_exm(DllInfo* dll) {
  look_up(&exm.version, "exm_version");
  look_up(&exm.threshold, "exm_threshold");
  look_up(&exm.cow, "exm_cow");
  look_up(&exm.path, "exm_path");
  look_up(&exm.lookup, "exm_lookup");
  look_up(&exm.madvise, "exm_madvise");
  R_registerRoutines(dll, NULL, kRoutines, NULL, NULL);
  R_useDynamicSymbols(dll, FALSE);
  R_forceSymbols(dll, TRUE);
}

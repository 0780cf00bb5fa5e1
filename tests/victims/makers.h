// makers.h - every function that makes a block, under one signature, for victims that go through the whole
// family.
#pragma once
#include <malloc.h>

#include "tests/victims/victim.h"

namespace victim {

// Some of the family are missing from the libc these tests are built on; the preload has them all.
inline void* by_posix_memalign(size_t alignment, size_t bytes) {
  void* p = nullptr;
  return posix_memalign(&p, alignment, bytes) == 0 ? p : nullptr;
}

struct Maker {
  const char* name;
  bool aligns;  // takes the alignment; otherwise 16 is promised
  bool zeroes;
  void* (*make)(size_t alignment, size_t bytes);
};

inline const Maker kMakers[] = {
    {"malloc", false, false, [](size_t, size_t n) { return malloc(n); }},
    {"calloc", false, true, [](size_t, size_t n) { return calloc(1, n); }},
    {"calloc of many", false, true, [](size_t, size_t n) { return calloc(n, 1); }},
    {"realloc", false, false, [](size_t, size_t n) { return realloc(nullptr, n); }},
    {"reallocarray", false, false, [](size_t, size_t n) { return reallocarray(nullptr, n, 1); }},
    {"memalign", true, false, [](size_t a, size_t n) { return memalign(a, n); }},
    {"posix_memalign", true, false, by_posix_memalign},
    {"aligned_alloc", true, false, [](size_t a, size_t n) { return aligned_alloc(a, n); }},
    {"valloc", false, false, [](size_t, size_t n) { return valloc(n); }},
    {"pvalloc", false, false, [](size_t, size_t n) { return pvalloc(n); }},
};

// What the maker promises for this alignment argument.
inline size_t promised_alignment(const Maker& maker, size_t alignment) {
  if (maker.make == kMakers[8].make || maker.make == kMakers[9].make) return 4096;
  return maker.aligns ? alignment : 16;
}

}  // namespace victim

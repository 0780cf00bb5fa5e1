// victim.h - what the victims share. A victim is a tiny program that shows one behaviour.
//
// It prints what it found, checksums of its data above all, and `ok` as the last line with exit status 0; or
// a precise complaint with exit status 1. What it prints must not depend on the allocator: the tests compare
// it byte by byte with a plain run. Nothing here allocates, so that a complaint can always be made.
#pragma once
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <spillway/exm.h>
#include <spillway/size.hpp>

namespace victim {

inline constexpr size_t KiB = size_t{1} << 10, MiB = size_t{1} << 20;

[[noreturn]] __attribute__((format(printf, 1, 2))) inline void complain(const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text - 1, format, args);
  va_end(args);
  if (n > static_cast<int>(sizeof text) - 2) n = sizeof text - 2;
  text[n++] = '\n';
  fflush(stdout);
  if (write(1, text, static_cast<size_t>(n)) < 0) _exit(2);
  _exit(1);
}

// EXPECT(condition, "what was wrong %d", value)
#define EXPECT(condition, ...)                         \
  do {                                                 \
    if (!(condition)) ::victim::complain(__VA_ARGS__); \
  } while (0)

inline int done() {
  puts("ok");
  return 0;
}

// The optimiser may neither drop an allocation nor warn about a deliberate misuse of one that went through
// here.
template <typename T>
inline T hidden(T value) {
  asm volatile("" : "+r"(value) : : "memory");
  return value;
}

// A pattern that depends on every word's place, so that a page that is stale, zero or swapped with another
// shows.
inline uint64_t pattern(uint64_t seed, size_t word) {
  uint64_t x = (word + 1) * 0x9E3779B97F4A7C15u + seed * 0xD1B54A32D192ED03u;
  return x ^ (x >> 29);
}

inline void fill(void* block, size_t bytes, uint64_t seed) {
  auto* words = static_cast<uint64_t*>(block);
  for (size_t i = 0; i < bytes / 8; ++i) words[i] = pattern(seed, i);
  auto* rest = static_cast<unsigned char*>(block) + bytes / 8 * 8;
  for (size_t i = 0; i < bytes % 8; ++i) rest[i] = static_cast<unsigned char>(seed + i);
}

// The offset of the first byte (of a word) that is not what fill() wrote; `bytes` when all is right.
inline size_t first_difference(const void* block, size_t bytes, uint64_t seed) {
  auto* words = static_cast<const uint64_t*>(block);
  for (size_t i = 0; i < bytes / 8; ++i) {
    if (words[i] != pattern(seed, i)) return i * 8;
  }
  auto* rest = static_cast<const unsigned char*>(block) + bytes / 8 * 8;
  for (size_t i = 0; i < bytes % 8; ++i) {
    if (rest[i] != static_cast<unsigned char>(seed + i)) return bytes / 8 * 8 + i;
  }
  return bytes;
}

#define EXPECT_FILLED(block, bytes, seed, what)                                                         \
  do {                                                                                                  \
    const size_t at_ = ::victim::first_difference(block, bytes, seed);                                  \
    if (at_ != (bytes))                                                                                 \
      ::victim::complain("%s: wrong data at offset %zu of %zu", what, at_, static_cast<size_t>(bytes)); \
  } while (0)

inline bool all_zero(const void* block, size_t bytes) {
  auto* p = static_cast<const unsigned char*>(block);
  for (size_t i = 0; i < bytes; ++i) {
    if (p[i] != 0) return false;
  }
  return true;
}

inline uint64_t checksum(const void* block, size_t bytes) {
  auto* words = static_cast<const uint64_t*>(block);
  uint64_t sum = bytes;
  for (size_t i = 0; i < bytes / 8; ++i) sum = (sum ^ words[i]) * 0x100000001B3u + (sum >> 32);
  auto* rest = static_cast<const unsigned char*>(block) + bytes / 8 * 8;
  for (size_t i = 0; i < bytes % 8; ++i) sum = (sum ^ rest[i]) * 0x100000001B3u;
  return sum;
}

inline void print_checksum(const char* what, const void* block, size_t bytes) {
  printf("%s %zu bytes %016lx\n", what, bytes, static_cast<unsigned long>(checksum(block, bytes)));
}

// A block that the victim cannot do without.
inline char* must_malloc(size_t bytes) {
  auto* p = static_cast<char*>(hidden(malloc(bytes)));
  EXPECT(p, "malloc(%zu): %s", bytes, strerror(errno));
  return p;
}

// argv[i] as a size, or `otherwise` when there are not so many.
inline size_t size_argument(int argc, char** argv, int i, size_t otherwise) {
  if (i >= argc) return otherwise;
  const auto value = spillway::parse_size(argv[i]);
  EXPECT(value, "not a size: %s", argv[i]);
  return static_cast<size_t>(*value);
}

// Requests of at least this many bytes are spillable; in a plain run, what they would be under the default.
inline size_t threshold() { return exm_present() ? exm_set_threshold(0) : 4 * MiB; }

// A line of /proc/self/status, in bytes (the kernel prints kB).
inline size_t status_bytes(const char* key) {
  FILE* f = fopen("/proc/self/status", "re");
  if (!f) return 0;
  char line[256];
  size_t kib = 0;
  const size_t n = strlen(key);
  while (fgets(line, sizeof line, f)) {
    if (strncmp(line, key, n) == 0 && line[n] == ':') kib = strtoul(line + n + 1, nullptr, 10);
  }
  fclose(f);
  return kib * KiB;
}

inline size_t resident_bytes() { return status_bytes("VmRSS"); }

// A small fast generator with a state of its own: the same numbers in every run.
struct Random {
  uint64_t state;
  uint64_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  }
  size_t below(size_t n) { return static_cast<size_t>(next() % n); }
};

}  // namespace victim

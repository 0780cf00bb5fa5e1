// digest.h - tells whether bytes are the same as they were: XXH3, 128 bits. Two different extents have the
// same digest by chance once in 2^64 or so.
#pragma once
#include <cstdint>

namespace spillway {

struct Digest {
  uint64_t low = 0, high = 0;
  bool operator==(const Digest&) const = default;

  static Digest of(const void* data, uint64_t bytes);
  // Of an extent of zeroes. Takes as long as any other.
  static Digest of_zeroes();
};

bool is_all_zero(const void* data, uint64_t bytes);

// Of 4 KiB, in 64 bits: it is kept for every page that is in memory.
uint64_t digest_of_page(const void* page);

}  // namespace spillway

#include "libpreload/pager/digest.h"

#define XXH_INLINE_ALL
#define XXH_NO_STDLIB
#include <xxhash.h>

#include <cstring>

#include "base/core/units.h"

namespace spillway {

Digest Digest::of(const void* data, uint64_t bytes) {
  const XXH128_hash_t hash = XXH3_128bits(data, bytes);
  return {hash.low64, hash.high64};
}

Digest Digest::of_zeroes() {
  static const char page[kPageBytes] = {};
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  for (uint64_t at = 0; at < kExtentBytes; at += sizeof page) XXH3_128bits_update(&state, page, sizeof page);
  const XXH128_hash_t hash = XXH3_128bits_digest(&state);
  return {hash.low64, hash.high64};
}

bool is_all_zero(const void* data, uint64_t bytes) {
  const auto* at = static_cast<const char*>(data);
  return at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0;
}

uint64_t digest_of_page(const void* page) { return XXH3_64bits(page, kPageBytes); }

}  // namespace spillway

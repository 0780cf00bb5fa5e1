// hash.hpp - the one hash of the format: index keys, content dedupe, checksums. docs/typed_format.md defines
// it.
//
// Part of the format: blobs hold its values, so it never changes. Not meant to withstand an adversary:
// colliding keys cost time (they are compared one by one), never correctness.
#pragma once
#include <cstdint>
#include <cstring>
#include <string_view>

namespace spillway::typed {

inline constexpr std::uint64_t kHash0 = 0x9e3779b97f4a7c15, kHash1 = 0xd6e8feb86659fd93,
                               kHash2 = 0xa0761d6478bd642f;

constexpr std::uint64_t hash_fold(std::uint64_t a, std::uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// One word into the state. The rotated old state keeps a factor of zero from wiping out what came before.
constexpr std::uint64_t hash_step(std::uint64_t state, std::uint64_t word) {
  return (state << 23 | state >> 41) ^ hash_fold(state ^ word, kHash2);
}
constexpr std::uint64_t hash_begin(std::uint64_t seed, std::uint64_t length) {
  return hash_fold(seed ^ kHash0, length ^ kHash1);
}
constexpr std::uint64_t hash_end(std::uint64_t state) {
  return hash_fold(state ^ kHash0, kHash1) ^ state >> 29;
}

// The last 1 to 7 of `all` bytes as a little-endian number. Only by loads and shifts: bytes copied into a
// word would be read back before they are stored, and that waits for every cache miss before it, so that
// look-ups would not overlap.
inline std::uint64_t last_word(const char* p, std::size_t bytes, std::size_t all) {
  std::uint64_t word;
  if (all >= 8) {
    std::memcpy(&word, p + bytes - 8, 8);
    return word >> (64 - 8 * bytes);
  }
  if (bytes >= 4) {
    std::uint32_t low, high;
    std::memcpy(&low, p, 4), std::memcpy(&high, p + bytes - 4, 4);
    return low | std::uint64_t{high} << 8 * (bytes - 4);
  }
  const auto byte = [&](std::size_t i) { return std::uint64_t{static_cast<unsigned char>(p[i])} << 8 * i; };
  return byte(0) | byte(bytes / 2) | byte(bytes - 1);
}

// Words are little-endian; the last one is filled with zeros.
inline std::uint64_t hash64(const void* data, std::size_t bytes, std::uint64_t seed) {
  const char* p = static_cast<const char*>(data);
  std::uint64_t state = hash_begin(seed, bytes), word;
  for (std::size_t left = bytes; left >= 8; left -= 8, p += 8) {
    std::memcpy(&word, p, 8);
    state = hash_step(state, word);
  }
  if (bytes % 8) state = hash_step(state, last_word(p, bytes % 8, bytes));
  return hash_end(state);
}

constexpr std::uint64_t hash_word(std::uint64_t word, std::uint64_t seed) {
  return hash_end(hash_step(hash_begin(seed, 8), word));
}

// Seeds: values of different classes are different keys.
enum key_class : std::uint64_t {
  kKeyText = 1,
  kKeyBytes = 2,
  kKeyInteger = 3,
  kKeyReal = 4,
  kKeyNull = 5,
  kKeyDate = 6,
  kKeyInstant = 7,
  kKeyLocalTime = 8,
  kKeyTuple = 9,
  kKeyList = 10,
  kKeySet = 11,
  kKeyTimeOfDay = 12,
};
inline constexpr std::uint64_t kSeedChecksum = 100, kSeedContent = 101;

inline std::uint64_t hash_text(std::string_view text) { return hash64(text.data(), text.size(), kKeyText); }

}  // namespace spillway::typed

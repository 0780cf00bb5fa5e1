// lz4.hpp - the one place that knows whether this program was built with compression: -DSPILLWAY_TYPED_LZ4
// and -llz4.
//
// Without it, blobs are written uncompressed, and compressed texts read as errc::unsupported. Stored form: 8
// bytes raw length, then one LZ4 block.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "spillway/typed/result.hpp"
#ifdef SPILLWAY_TYPED_LZ4
#include <lz4.h>
#endif

namespace spillway::typed::detail {

inline constexpr std::size_t kCompressFrom = 512;  // shorter texts gain less than their decoding costs
inline constexpr std::uint64_t kMaxRatio =
    256;  // an LZ4 block cannot expand further: a bomb's length is refused unread

// The stored form, or empty when it would not save a third.
inline std::string compressed(std::string_view raw) {
#ifdef SPILLWAY_TYPED_LZ4
  if (raw.size() < kCompressFrom || raw.size() > LZ4_MAX_INPUT_SIZE) return {};
  const std::size_t room = raw.size() / 3 * 2 - 8;
  std::string out(8 + room, '\0');
  const int got =
      LZ4_compress_default(raw.data(), out.data() + 8, static_cast<int>(raw.size()), static_cast<int>(room));
  if (got <= 0) return {};
  const std::uint64_t length = raw.size();
  std::memcpy(out.data(), &length, 8);
  out.resize(8 + static_cast<std::size_t>(got));
  return out;
#else
  (void)raw;
  return {};
#endif
}

// Bytes that the stored form expands to, when that can be true.
inline result<std::uint64_t> expanded_bytes(std::string_view stored) {
  std::uint64_t length = 0;
  if (stored.size() < 8) return {errc::truncated, "the length of a compressed text"};
  std::memcpy(&length, stored.data(), 8);
  if (length > (stored.size() - 8) * kMaxRatio) return {errc::too_much, "a length that LZ4 can reach"};
  return length;
}

inline result<std::string> expanded(std::string_view stored) {
  const auto length = expanded_bytes(stored);
  if (!length) return length.error();
#ifdef SPILLWAY_TYPED_LZ4
  std::string raw(*length, '\0');
  const int got = LZ4_decompress_safe(stored.data() + 8, raw.data(), static_cast<int>(stored.size() - 8),
                                      static_cast<int>(*length));
  if (got < 0 || static_cast<std::uint64_t>(got) != *length) return {errc::bad_value, "an intact LZ4 block"};
  return raw;
#else
  return {errc::unsupported, "a program built with SPILLWAY_TYPED_LZ4, to read compressed text"};
#endif
}

}  // namespace spillway::typed::detail

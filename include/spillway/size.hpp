// size.hpp - sizes as people write them, the one grammar for every option and environment variable.
//
//   size   = number [ unit ]            "4096", "64k", "1.5G", "0x100000", "64 MiB", "2gb"
//   number = decimal [ "." digits ] | "0x" hex
//   unit   = b | (k|m|g|t|p) [ "i" ] [ "b" ]      any case; every unit is binary: 1k = 1KiB = 1024 bytes
//
// Header-only and free of heap and exceptions: it also runs inside malloc.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace spillway {

inline constexpr const char* kSizeForms = "a size such as 4096, 64k, 64M, 1.5G, 64MiB or 0x100000";

namespace size_detail {

constexpr int digit_value(char c, int base) {
  int v = c >= '0' && c <= '9'   ? c - '0'
          : c >= 'a' && c <= 'f' ? c - 'a' + 10
          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                 : 99;
  return v < base ? v : -1;
}

constexpr std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// log2 of the unit, or -1: it is no unit.
constexpr int unit_shift(std::string_view unit) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  if (unit.empty() || (unit.size() == 1 && lower(unit[0]) == 'b')) return 0;
  constexpr std::string_view kLetters = "kmgtp";
  auto at = kLetters.find(lower(unit[0]));
  if (at == std::string_view::npos) return -1;
  unit.remove_prefix(1);
  if (!unit.empty() && lower(unit[0]) == 'i') unit.remove_prefix(1);
  if (!unit.empty() && lower(unit[0]) == 'b') unit.remove_prefix(1);
  return unit.empty() ? 10 * static_cast<int>(at + 1) : -1;
}

}  // namespace size_detail

// Bytes, rounded down. nullopt: not a size, negative, or too large for 64 bits. See kSizeForms for the
// message.
constexpr std::optional<uint64_t> parse_size(std::string_view text) {
  using namespace size_detail;
  text = trim(text);
  const int base = text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;
  if (base == 16) text.remove_prefix(2);

  unsigned __int128 whole = 0;
  size_t digits = 0;
  for (; digits < text.size() && digit_value(text[digits], base) >= 0; ++digits) {
    whole = whole * base + digit_value(text[digits], base);
    if (whole >> 64) return std::nullopt;
  }
  if (digits == 0) return std::nullopt;
  text.remove_prefix(digits);

  // The fraction as numerator / scale; digits past the 18th cannot change a result of 64 bits.
  unsigned __int128 numerator = 0, scale = 1;
  if (base == 10 && !text.empty() && text[0] == '.') {
    text.remove_prefix(1);
    size_t n = 0;
    for (; n < text.size() && digit_value(text[n], 10) >= 0; ++n) {
      if (n >= 18) continue;
      numerator = numerator * 10 + digit_value(text[n], 10);
      scale *= 10;
    }
    if (n == 0) return std::nullopt;
    text.remove_prefix(n);
  }

  const int shift = unit_shift(trim(text));
  if (shift < 0) return std::nullopt;
  const unsigned __int128 bytes = (whole << shift) + ((numerator << shift) / scale);
  if (bytes >> 64) return std::nullopt;
  return static_cast<uint64_t>(bytes);
}

// "25%" of whole, or a size. nullopt: neither, or a percentage outside 0 < p <= 100.
constexpr std::optional<uint64_t> parse_size_or_percent(std::string_view text, uint64_t whole) {
  text = size_detail::trim(text);
  if (text.empty() || text.back() != '%') return parse_size(text);
  text.remove_suffix(1);
  uint64_t percent = 0;
  if (text.empty() || text.size() > 3) return std::nullopt;
  for (char c : text) {
    if (size_detail::digit_value(c, 10) < 0) return std::nullopt;
    percent = percent * 10 + static_cast<uint64_t>(c - '0');
  }
  if (percent == 0 || percent > 100) return std::nullopt;
  return static_cast<uint64_t>(static_cast<unsigned __int128>(whole) * percent / 100);
}

}  // namespace spillway

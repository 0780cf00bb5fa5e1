// key.hpp - when two values are the same key. Every key has one canonical text of bytes; equal keys have
// equal texts.
//
// Equal numbers are one key whatever their types (true, 1, 1.0 and decimal 1.00), NaN is equal to NaN, -0 to
// 0; text and bytes are apart; tuples, lists and sets are apart, and a set's order does not matter. Instants
// are equal when they are the same moment. Maps, records, arrays and buffers are no keys. The hash of a key
// is the hash of its canonical bytes, so a key is found by any process. docs/typed_format.md lists the tags.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "spillway/typed/hash.hpp"
#include "spillway/typed/values.hpp"

namespace spillway::typed {

inline constexpr std::size_t kMaxKeyBytes = 16 << 20;

class key_writer {
 public:
  const std::string& bytes() const { return out_; }
  std::uint64_t hash() const { return hash64(out_.data(), out_.size(), 0); }

  void null() { tag(kKeyNull); }
  void text(std::string_view s) { tag(kKeyText), sized(s); }
  void blob(std::string_view s) { tag(kKeyBytes), sized(s); }
  void integer(std::int64_t v) {
    whole(v < 0, v < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(v) : static_cast<std::uint64_t>(v));
  }
  void uinteger(std::uint64_t v) { whole(false, v); }
  void real(double v) {
    if (v == std::trunc(v) && v >= -9223372036854775808.0 && v < 18446744073709551616.0) {
      v < 0 ? integer(static_cast<std::int64_t>(v)) : uinteger(static_cast<std::uint64_t>(v));
      return;
    }
    tag(kKeyReal);
    word(std::isnan(v) ? std::uint64_t{0x7ff8000000000000} : std::bit_cast<std::uint64_t>(v));
  }
  void number(const decimal& d) {
    if (d.what == decimal::form::infinite) return real(d.negative ? -INFINITY : INFINITY);
    if (d.what != decimal::form::finite) return real(NAN);
    // 1. Without zeros at either end.
    std::string_view digits = d.digits;
    while (!digits.empty() && digits.front() == '0') digits.remove_prefix(1);
    std::int64_t exponent = d.exponent;
    while (!digits.empty() && digits.back() == '0') digits.remove_suffix(1), ++exponent;
    if (digits.empty()) return integer(0);
    const auto count = static_cast<std::int64_t>(digits.size());
    // 2. A whole number of 64 bits.
    if (exponent >= 0 && count + exponent <= 20) {
      unsigned __int128 magnitude = 0;
      for (const char c : digits) magnitude = magnitude * 10 + static_cast<unsigned>(c - '0');
      for (std::int64_t i = 0; i < exponent; ++i) magnitude *= 10;
      if (magnitude <= (d.negative ? std::uint64_t{1} << 63 : UINT64_MAX))
        return whole(d.negative, static_cast<std::uint64_t>(magnitude));
    }
    // 3. Exactly a double: its decimal expansion has at most 767 digits.
    if (count <= 800 && exponent > -2000 && exponent < 2000) {
      const std::string shown = std::string(digits) + "e" + std::to_string(exponent);
      const double v = std::strtod(shown.c_str(), nullptr);
      if (std::isfinite(v) && v != 0 && expansion(v) == std::pair(std::string(digits), exponent))
        return real(d.negative ? -v : v);
    }
    tag(kDecimal);
    out_ += d.negative ? '-' : '+';
    word(static_cast<std::uint64_t>(exponent));
    sized(digits);
  }
  void day(std::int32_t days) { tag(kKeyDate), word(static_cast<std::uint64_t>(std::int64_t{days})); }
  void when(moment m, bool local) {
    tag(local ? kKeyLocalTime : kKeyInstant);
    word(static_cast<std::uint64_t>(m.seconds)), word(static_cast<std::uint64_t>(m.nanos));
  }
  void time(std::int64_t ns, std::int32_t offset) {
    // With an offset only the moment counts, as with instants.
    tag(kKeyTimeOfDay);
    word(offset == kNoOffset ? 0 : 1);
    word(static_cast<std::uint64_t>(offset == kNoOffset ? ns : ns - offset * std::int64_t{1000000000}));
  }
  void begin_sequence(bool tuple, std::uint64_t count) { tag(tuple ? kKeyTuple : kKeyList), word(count); }
  // The members' canonical bytes, in any order; equal members count once.
  void set(std::vector<std::string> members) {
    std::sort(members.begin(), members.end());
    members.erase(std::unique(members.begin(), members.end()), members.end());
    tag(kKeySet), word(members.size());
    for (const std::string& m : members) sized(m);
  }
  bool too_long() const { return out_.size() > kMaxKeyBytes; }

 private:
  static constexpr std::uint64_t kDecimal = 13;

  static std::pair<std::string, std::int64_t> expansion(double v) {
    char shown[900];
    std::snprintf(shown, sizeof shown, "%.800e", std::fabs(v));
    std::string digits = std::string(1, shown[0]) + std::string(shown + 2, 800);
    std::int64_t exponent = std::strtoll(shown + 803, nullptr, 10) - 800;
    while (digits.size() > 1 && digits.back() == '0') digits.pop_back(), ++exponent;
    return {digits, exponent};
  }
  void whole(bool negative, std::uint64_t magnitude) {
    tag(kKeyInteger);
    out_ += negative ? '-' : '+';
    word(magnitude);
  }
  void tag(std::uint64_t t) { out_ += static_cast<char>(t); }
  void word(std::uint64_t w) { out_.append(reinterpret_cast<const char*>(&w), 8); }
  void sized(std::string_view s) { word(s.size()), out_ += s; }
  std::string out_;
};

// The canonical bytes of a native value. Errors (thrown): wrong_type for what is no key.
inline void write_key(key_writer& w, const any& key, unsigned depth = 0) {
  if (depth > kMaxDepth) fail(errc::too_deep, "a key: deeper than 255 levels");
  const auto items = [&](const std::vector<any>& values) {
    for (const any& v : values) write_key(w, v, depth + 1);
  };
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::monostate>)
          w.null();
        else if constexpr (std::is_same_v<T, std::uint64_t> || std::is_same_v<T, bool>)
          w.uinteger(v);
        else if constexpr (std::is_same_v<T, std::int64_t>)
          w.integer(v);
        else if constexpr (std::is_floating_point_v<T>)
          w.real(static_cast<double>(v));
        else if constexpr (std::is_same_v<T, std::string>)
          w.text(v);
        else if constexpr (std::is_same_v<T, bytes>)
          w.blob(v.data);
        else if constexpr (std::is_same_v<T, decimal>)
          w.number(v);
        else if constexpr (std::is_same_v<T, date>)
          w.day(v.days);
        else if constexpr (std::is_same_v<T, instant>)
          w.when(v.when(), false);
        else if constexpr (std::is_same_v<T, local_time>)
          w.when(v.when(), true);
        else if constexpr (std::is_same_v<T, time_of_day>)
          w.time(v.ns, v.offset_s);
        else if constexpr (std::is_same_v<T, any_tuple>)
          w.begin_sequence(true, v.items.size()), items(v.items);
        else if constexpr (std::is_same_v<T, any_list>)
          w.begin_sequence(false, v.items.size()), items(v.items);
        else if constexpr (std::is_same_v<T, any_set>) {
          std::vector<std::string> members;
          for (const any& item : v.items) {
            key_writer one;
            write_key(one, item, depth + 1);
            members.push_back(one.bytes());
          }
          w.set(std::move(members));
        } else
          fail(errc::wrong_type, "a key: expected a number, text, bytes, a time, or a tuple or set of these");
      },
      key.value);
}

inline std::string key_of(const any& key) {
  key_writer w;
  write_key(w, key);
  return w.bytes();
}
inline std::uint64_t hash_of(const any& key) {
  key_writer w;
  write_key(w, key);
  return w.hash();
}

}  // namespace spillway::typed

// values.hpp - the native side of values that C++ has no type for: dates, times, decimals, n-d arrays, and
// `any`.
//
// They are what a builder takes and what clone() gives back; reading in place uses the views.
#pragma once
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "spillway/typed/format.hpp"
#include "spillway/typed/result.hpp"

namespace spillway::typed {

struct bytes {  // may be stored compressed
  std::string data;
  bool operator==(const bytes&) const = default;
};
struct buffer {  // never compressed: read as a window on the blob itself
  std::string data;
  bool operator==(const buffer&) const = default;
};

// A day without a zone, counted from 1970-01-01; years 1 to 9999.
struct date {
  std::int32_t days = 0;
  auto operator<=>(const date&) const = default;

  // Howard Hinnant's days_from_civil (public domain description at
  // howardhinnant.github.io/date_algorithms.html).
  static constexpr date civil(int year, unsigned month, unsigned day) {
    year -= month <= 2;
    const int era = (year >= 0 ? year : year - 399) / 400;
    const unsigned yoe = static_cast<unsigned>(year - era * 400);
    const unsigned doy = (153 * (month + (month > 2 ? -3u : 9u)) + 2) / 5 + day - 1;
    const unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return {era * 146097 + static_cast<int>(doe) - 719468};
  }
  constexpr std::array<int, 3> ymd() const {
    const std::int64_t z = std::int64_t{days} + 719468;
    const std::int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    const unsigned doe = static_cast<unsigned>(z - era * 146097);
    const unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    const unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    const int month = static_cast<int>(mp < 10 ? mp + 3 : mp - 9);
    return {static_cast<int>(static_cast<std::int64_t>(yoe) + era * 400) + (month <= 2), month,
            static_cast<int>(doy - (153 * mp + 2) / 5 + 1)};
  }
  constexpr bool valid() const { return days >= -719162 && days <= 2932896; }
};

enum class unit : std::uint8_t { s, ms, us, ns };
constexpr std::int64_t per_second(unit u) {
  return u == unit::s ? 1 : u == unit::ms ? 1000 : u == unit::us ? 1000000 : 1000000000;
}

// Seconds and the nanoseconds behind them; what two times of different units are compared by.
struct moment {
  std::int64_t seconds = 0;
  std::int32_t nanos = 0;
  auto operator<=>(const moment&) const = default;
  static constexpr moment of(std::int64_t ticks, unit u) {
    const std::int64_t per = per_second(u);
    const std::int64_t seconds = ticks / per - (ticks % per < 0);
    return {seconds, static_cast<std::int32_t>((ticks - seconds * per) * (1000000000 / per))};
  }
  constexpr bool valid() const { return seconds >= -62135596800 && seconds <= 253402300799; }
};

// A point in time: ticks since 1970-01-01T00:00Z. The offset and the zone's name say how it was written down;
// they do not change which instant it is.
struct instant {
  std::int64_t ticks = 0;
  typed::unit unit = typed::unit::us;
  std::int32_t offset_s = kNoOffset;
  std::string zone{};
  moment when() const { return moment::of(ticks, unit); }
  bool operator==(const instant& o) const { return when() == o.when(); }
};

// What a clock on some wall shows, nobody says where: ticks since that wall's 1970-01-01T00:00.
struct local_time {
  std::int64_t ticks = 0;
  typed::unit unit = typed::unit::us;
  std::uint8_t fold = 0;  // 1: the second of two equal readings when clocks go back
  moment when() const { return moment::of(ticks, unit); }
  bool operator==(const local_time& o) const { return when() == o.when(); }
};

struct time_of_day {
  std::int64_t ns = 0;  // since midnight
  std::int32_t offset_s = kNoOffset;
  bool operator==(const time_of_day&) const = default;
};

// sign digits x 10^exponent, exactly as written: 1.0 and 1.00 are equal numbers and different texts.
struct decimal {
  enum class form : std::uint8_t { finite = 0, infinite = 2, nan = 4, snan = 8 };
  bool negative = false;
  form what = form::finite;
  std::int64_t exponent = 0;
  std::string digits = "0";  // for NaN: its payload, possibly empty
  bool operator==(const decimal&) const = default;

  // "-1.50", "1E+3", "NaN", "-Infinity". Errors: bad_value.
  static result<decimal> parse(std::string_view text) {
    decimal d;
    d.digits.clear();
    std::size_t i = 0;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) d.negative = text[i++] == '-';
    const auto rest_is = [&](std::string_view word) {
      if (text.size() - i < word.size()) return false;
      for (std::size_t k = 0; k < word.size(); ++k)
        if ((text[i + k] | 0x20) != word[k]) return false;
      return true;
    };
    const error bad{errc::bad_value, 0, 0, "a decimal such as -1.50, 2E+3, NaN or Infinity", nullptr};
    if (rest_is("inf")) {
      d.what = form::infinite;
      return text.size() - i == 3 || (text.size() - i == 8 && rest_is("infinity")) ? result(d)
                                                                                   : result<decimal>(bad);
    }
    if (rest_is("nan") || rest_is("snan")) {
      d.what = rest_is("snan") ? form::snan : form::nan;
      for (i += d.what == form::snan ? 4 : 3; i < text.size(); ++i) {
        if (text[i] < '0' || text[i] > '9') return bad;
        d.digits += text[i];
      }
      return d;
    }
    bool point = false;
    for (; i < text.size(); ++i) {
      if (text[i] == '.' && !point)
        point = true;
      else if (text[i] >= '0' && text[i] <= '9')
        d.digits += text[i], d.exponent -= point;
      else
        break;
    }
    if (d.digits.empty()) return bad;
    if (i < text.size()) {
      if ((text[i] | 0x20) != 'e' || i + 1 >= text.size()) return bad;
      const std::string tail(text.substr(i + 1));
      char* end = nullptr;
      const long long e = std::strtoll(tail.c_str(), &end, 10);
      if (*end || tail.empty() || tail[0] == ' ' || e > INT64_C(1) << 60 || e < -(INT64_C(1) << 60))
        return bad;
      d.exponent += e;
    }
    d.digits.erase(0, std::min(d.digits.find_first_not_of('0'), d.digits.size() - 1));
    return d;
  }

  // As Python's Decimal writes it.
  std::string str() const {
    std::string out = negative ? "-" : "";
    if (what == form::infinite) return out + "Infinity";
    if (what != form::finite) return out + (what == form::snan ? "sNaN" : "NaN") + digits;
    const auto count = static_cast<std::int64_t>(digits.size());
    const std::int64_t left = count + exponent;  // digits before the point
    if (exponent <= 0 && left > -6) {
      if (exponent == 0) return out + digits;
      if (left > 0)
        return out + digits.substr(0, static_cast<std::size_t>(left)) + "." +
               digits.substr(static_cast<std::size_t>(left));
      return out + "0." + std::string(static_cast<std::size_t>(-left), '0') + digits;
    }
    out += digits.substr(0, 1);
    if (count > 1) out += "." + digits.substr(1);
    return out + "E" + (left - 1 >= 0 ? "+" : "") + std::to_string(left - 1);
  }
};

// Row-major. `dtype` is empty for the plain element types; otherwise JSON that numpy's dtype takes (a string
// or a list of fields), and `element` is none.
struct nd_array {
  type element = type::f64;
  std::string dtype{};
  std::uint64_t item_bytes = 8;
  std::vector<std::uint64_t> shape{};
  std::string data{};
  bool operator==(const nd_array&) const = default;

  // From elements that do not lie row by row: columns first, a part of a larger array, in reverse. `first` is
  // the element of index (0, 0, ...); strides are in bytes.
  static nd_array strided(type element, std::vector<std::uint64_t> shape,
                          const std::vector<std::int64_t>& strides, const void* first) {
    nd_array a{element, "", bytes_of(element), std::move(shape), {}};
    if (strides.size() != a.shape.size())
      fail(errc::bad_value, "an n-d array: expected a stride for each extent");
    for (const std::uint64_t extent : a.shape)
      if (extent == 0) return a;
    std::vector<std::uint64_t> index(a.shape.size(), 0);
    for (const char* at = static_cast<const char*>(first);;) {
      a.data.append(at, a.item_bytes);
      std::size_t d = index.size();
      for (; d > 0; --d) {  // to the next element, the last index first
        at += strides[d - 1];
        if (++index[d - 1] < a.shape[d - 1]) break;
        at -= strides[d - 1] * static_cast<std::int64_t>(a.shape[d - 1]);
        index[d - 1] = 0;
      }
      if (d == 0) return a;
    }
  }
};

// An object already in the blob under construction.
struct ref {
  std::uint64_t position = 0;  // 0: none
  std::uint8_t depth = 0;
  typed::kind kind = typed::kind::padding;
  explicit operator bool() const { return position != 0; }
  bool operator==(const ref&) const = default;
};
// The same, of a described type: what add() returned for a T.
template <class T>
struct ref_to : ref {};

class builder;
struct any_record {
  virtual ~any_record() = default;
  virtual ref add_to(builder& b) const = 0;
};

struct any;
struct any_list {
  std::vector<any> items;
  bool operator==(const any_list&) const;
};
struct any_tuple {
  std::vector<any> items;
  bool operator==(const any_tuple&) const;
};
struct any_set {
  std::vector<any> items;
  bool operator==(const any_set&) const;
};
struct any_map {
  std::vector<std::pair<any, any>> items;
  bool operator==(const any_map&) const;
};

// A value of whatever type; default: null. == is of type and value: true, 1 and 1.0 are three values. (As
// keys of maps and members of sets, equal numbers are one: see key.hpp.)
struct any {
  using variant = std::variant<std::monostate, bool, std::int64_t, std::uint64_t, float, double, std::string,
                               bytes, buffer, date, instant, local_time, time_of_day, decimal, nd_array,
                               any_list, any_tuple, any_set, any_map, ref, std::shared_ptr<const any_record>>;
  variant value;

  any() = default;
  any(std::nullptr_t) {}                                    // NOLINT: all of these read as the value
  any(const char* text) : value(std::string(text)) {}       // NOLINT
  any(std::string_view text) : value(std::string(text)) {}  // NOLINT
  template <class T>
  requires(std::is_arithmetic_v<T>) any(T v) {  // NOLINT
    if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, float> || std::is_same_v<T, double>)
      value = v;
    else if constexpr (std::is_signed_v<T>)
      value = static_cast<std::int64_t>(v);
    else
      value = static_cast<std::uint64_t>(v);
  }
  template <class T>
  requires(!std::is_arithmetic_v<std::decay_t<T>> && !std::is_same_v<std::decay_t<T>, any> &&
           std::is_constructible_v<variant, T&&>) any(T&& v)
      : value(std::forward<T>(v)) {}  // NOLINT

  bool is_null() const { return value.index() == 0; }
  template <class T>
  const T* get() const {
    return std::get_if<T>(&value);
  }
  bool operator==(const any&) const = default;
};

inline bool any_list::operator==(const any_list& o) const { return items == o.items; }
inline bool any_tuple::operator==(const any_tuple& o) const { return items == o.items; }
inline bool any_set::operator==(const any_set& o) const {
  if (items.size() != o.items.size()) return false;
  for (const any& item : items) {
    bool found = false;
    for (const any& other : o.items) found = found || item == other;
    if (!found) return false;
  }
  return true;
}
inline bool any_map::operator==(const any_map& o) const {
  if (items.size() != o.items.size()) return false;
  for (const auto& item : items) {
    bool found = false;
    for (const auto& other : o.items) found = found || item == other;
    if (!found) return false;
  }
  return true;
}

// A list whose integers take the narrowest width that holds them all (std::vector keeps the width it was
// declared with).
template <class T>
struct packed : std::vector<T> {
  using std::vector<T>::vector;
};

// A field of three states: absent (maybe()), null (nullptr), or a value. std::optional has two: nullopt is
// null.
template <class T>
class maybe {
 public:
  maybe() = default;
  maybe(std::nullptr_t) : present_(true) {}                     // NOLINT
  maybe(T value) : present_(true), value_(std::move(value)) {}  // NOLINT
  bool is_absent() const { return !present_; }
  bool is_null() const { return present_ && !value_; }
  bool has_value() const { return value_.has_value(); }
  const T& operator*() const { return *value_; }
  const T* operator->() const { return &*value_; }
  bool operator==(const maybe&) const = default;

 private:
  bool present_ = false;
  std::optional<T> value_;
};

enum class state : std::uint8_t { absent, null, set };

}  // namespace spillway::typed

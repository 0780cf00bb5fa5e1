// any_view.hpp - a value of whatever type, where it lies: a slot, a field or an element, and what it refers
// to.
//
// Cheap to copy; allocates nothing. Each step into what it refers to is checked against the blob (unless that
// is proven). The document must outlive it.
#pragma once
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

#include "spillway/typed/blob.hpp"
#include "spillway/typed/lz4.hpp"
#include "spillway/typed/values.hpp"

namespace spillway::typed {

enum class what : std::uint8_t {
  null,
  boolean,
  integer,
  uinteger,
  f32,
  f64,
  text,
  bytes,
  buffer,
  date,
  instant,
  local_time,
  time_of_day,
  decimal,
  list,
  tuple,
  set,
  map,
  record,
  nd,
};
constexpr const char* name_of(what w) {
  constexpr const char* kNames[] = {"null",    "bool",       "int",         "uint",    "float32",
                                    "float64", "text",       "bytes",       "buffer",  "date",
                                    "instant", "local time", "time of day", "decimal", "list",
                                    "tuple",   "set",        "map",         "record",  "ndarray"};
  return kNames[static_cast<std::size_t>(w)];
}

// Text or bytes, possibly compressed.
class text_view {
 public:
  text_view() = default;
  text_view(const char* data, std::uint64_t bytes, bool is_compressed)
      : data_(data), bytes_(bytes), compressed_(is_compressed) {}

  bool is_compressed() const { return compressed_; }
  std::uint64_t stored_bytes() const { return bytes_; }
  // Bytes of the text itself. Errors: truncated, too_much.
  result<std::uint64_t> size() const {
    return compressed_ ? detail::expanded_bytes(stored()) : result<std::uint64_t>(bytes_);
  }
  // Where it lies. Errors: unsupported when it is compressed; then take str().
  result<std::string_view> view() const {
    if (compressed_) return {errc::unsupported, "a text that is not compressed; take a copy of this one"};
    return stored();
  }
  // A copy. Errors: too_much when it would be longer than `most`, unsupported, bad_value.
  result<std::string> str(std::uint64_t most = UINT64_MAX) const {
    const auto n = size();
    if (!n) return n.error();
    if (*n > most) return {errc::too_much, "a shorter text"};
    return compressed_ ? detail::expanded(stored()) : result<std::string>(std::string(stored()));
  }
  std::string_view stored() const { return {data_, bytes_}; }

 private:
  const char* data_ = "";
  std::uint64_t bytes_ = 0;
  bool compressed_ = false;
};

class list_view;
class set_view;
class map_view;
class record_view;
class nd_view;

class any_view {
 public:
  any_view() { s_.what = code::null; }
  // The slot at `at` of the blob, in an object of depth `below`.
  static any_view at_slot(const document& d, std::uint64_t at, unsigned below) {
    any_view v(d, load_slot(d.base + at), at + kSlotPayload, below);
    v.target_ = v.from_ + v.s_.payload;
    return v;
  }
  // The reference at `at`; 0 is null.
  static any_view at_reference(const document& d, std::uint64_t at, unsigned below) {
    const std::uint64_t offset = load_word(d.base + at);
    any_view v(d, {offset ? code::ref : code::null, 0, 0, 0, offset}, at, below);
    v.target_ = at + offset;
    return v;
  }
  // A number of an array or a record; `at` is where it lies.
  static any_view at_scalar(const document& d, type t, std::uint64_t at) {
    const std::byte* p = d.base + at;
    slot s{code::integer};
    switch (t) {
      case type::boolean:
        s.what = code::boolean, s.payload = load<bool>(p);
        break;
      case type::f32:
        s.what = code::f32, s.payload = load<std::uint32_t>(p);
        break;
      case type::f64:
        s.what = code::f64, s.payload = load<std::uint64_t>(p);
        break;
      case type::date:
        s.what = code::date, s.payload = static_cast<std::uint64_t>(std::int64_t{load<std::int32_t>(p)});
        break;
      case type::u64:
        s.payload = load<std::uint64_t>(p);
        if (s.payload >> 63) s.what = code::uinteger;
        break;
      default:
        s.payload =
            with_element(t, [&](auto like) { return static_cast<std::uint64_t>(load<decltype(like)>(p)); });
    }
    return any_view(d, s, at, 256);
  }
  static any_view of_integer(const document& d, std::int64_t v) {
    return any_view(d, {code::integer, 0, 0, 0, static_cast<std::uint64_t>(v)}, 0, 256);
  }
  // An object by its position; a builder's item, whose reference is a position.
  static any_view absolute(const document& d, slot s) {
    any_view v(d, s, 0, 256);
    v.from_ = d.bytes;
    v.target_ = s.payload;
    return v;
  }
  static any_view of_object(const document& d, std::uint64_t position) {
    return absolute(d, {code::ref, 0, 0, 0, position});
  }

  const document& doc() const { return *d_; }
  const slot& raw() const { return s_; }
  bool is_null() const { return s_.what == code::null; }
  bool is_reference() const { return s_.what == code::ref; }
  // The object it refers to.
  result<typed::object> object() const {
    if (s_.what != code::ref) return {errc::wrong_type, "a value that is an object", from_};
    return object_at(*d_, target_, from_, below_);
  }
  result<typed::what> what() const;

  // Each answers errc::null_value for null and errc::wrong_type for another type. Numbers are not converted
  // but between integers, where the value allows (value_range), and from float32 to float64.
  result<bool> boolean() const {
    if (s_.what != code::boolean) return mismatch("a bool");
    return s_.payload == 1;
  }
  result<std::int64_t> integer() const {
    if (s_.what == code::uinteger && !(s_.payload >> 63)) return static_cast<std::int64_t>(s_.payload);
    if (s_.what == code::uinteger) return {errc::value_range, "an integer below 2^63", from_};
    if (s_.what != code::integer) return mismatch("an integer");
    return static_cast<std::int64_t>(s_.payload);
  }
  result<std::uint64_t> uinteger() const {
    if (s_.what == code::integer && s_.payload >> 63)
      return {errc::value_range, "an integer that is not negative", from_};
    if (s_.what != code::integer && s_.what != code::uinteger) return mismatch("an unsigned integer");
    return s_.payload;
  }
  result<double> real() const {
    if (s_.what == code::f32)
      return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(s_.payload)));
    if (s_.what != code::f64) return mismatch("a float");
    return std::bit_cast<double>(s_.payload);
  }
  result<typed::date> date() const {
    if (s_.what != code::date) return mismatch("a date");
    const auto days = static_cast<std::int64_t>(s_.payload);
    if (days < -719162 || days > 2932896) return {errc::bad_value, "a year from 1 to 9999", from_};
    return typed::date{static_cast<std::int32_t>(days)};
  }
  result<typed::instant> instant() const;
  result<typed::local_time> local_time() const {
    if (s_.what != code::local_time) return mismatch("a local time");
    if (s_.sub > 3 || s_.aux < 0 || s_.aux > 1) return {errc::bad_value, "a unit and a fold", from_};
    typed::local_time t{static_cast<std::int64_t>(s_.payload), static_cast<unit>(s_.sub),
                        static_cast<std::uint8_t>(s_.aux)};
    if (!t.when().valid()) return {errc::bad_value, "a year from 1 to 9999", from_};
    return t;
  }
  result<typed::time_of_day> time_of_day() const {
    if (s_.what != code::time_of_day) return mismatch("a time of day");
    if (s_.payload >= 86400000000000 || !good_offset(s_.aux))
      return {errc::bad_value, "a time within a day", from_};
    return typed::time_of_day{static_cast<std::int64_t>(s_.payload), s_.aux};
  }
  result<typed::decimal> decimal() const;
  result<text_view> text() const { return characters(code::short_text, kind::text); }
  result<text_view> bytes() const { return characters(code::short_bytes, kind::bytes); }
  result<text_view> buffer() const { return characters(code::nothing, kind::buffer); }
  result<list_view> list() const;  // a list, a tuple or an array
  result<set_view> set() const;
  result<map_view> map() const;
  result<record_view> record() const;
  result<nd_view> nd() const;

  // A native copy of all of it. Errors: too_much past `most` values, shared ones counted each time; 64 bytes
  // of text count as one.
  result<any> clone(std::uint64_t most = 1 << 22) const;

  static bool good_offset(std::int32_t s) { return s == kNoOffset || (s > -86400 && s < 86400); }

 private:
  any_view(const document& d, slot s, std::uint64_t from, unsigned below)
      : d_(&d), s_(s), from_(from), below_(static_cast<std::uint16_t>(below)) {}
  error mismatch(const char* wanted) const {
    return {is_null() ? errc::null_value : errc::wrong_type, 0, from_, wanted, nullptr};
  }
  result<text_view> characters(code inline_code, kind k) const {
    if (s_.what == inline_code) {
      if (s_.aux < 0 || s_.aux > 8) return {errc::bad_value, "at most 8 bytes in a slot", from_};
      // A builder's item lies nowhere: its own bytes serve, as long as it lives.
      const bool placed = target_ != s_.payload || from_ != d_->bytes;
      return text_view(placed ? reinterpret_cast<const char*>(d_->base + from_)
                              : reinterpret_cast<const char*>(&s_.payload),
                       static_cast<std::uint64_t>(s_.aux), false);
    }
    const char* wanted = k == kind::text ? "a text" : k == kind::bytes ? "bytes" : "a buffer";
    if (s_.what != code::ref) return mismatch(wanted);
    const auto o = object();
    if (!o) return o.error();
    if (o->h().kind != k) return {errc::wrong_type, wanted, o->position};
    if (o->h().sub > kCodecLz4) return {errc::unsupported, "a known codec", o->position};
    return text_view(reinterpret_cast<const char*>(o->at() + 8), o->h().count, o->h().sub != kCodecNone);
  }

  const document* d_ = nullptr;
  slot s_{};
  std::uint64_t from_ = 0, target_ = 0;
  std::uint16_t below_ = 256;
};

inline result<what> any_view::what() const {
  switch (s_.what) {
    case code::null:
      return typed::what::null;
    case code::boolean:
      return typed::what::boolean;
    case code::integer:
      return typed::what::integer;
    case code::uinteger:
      return typed::what::uinteger;
    case code::f32:
      return typed::what::f32;
    case code::f64:
      return typed::what::f64;
    case code::short_text:
      return typed::what::text;
    case code::short_bytes:
      return typed::what::bytes;
    case code::date:
      return typed::what::date;
    case code::instant:
      return typed::what::instant;
    case code::local_time:
      return typed::what::local_time;
    case code::time_of_day:
      return typed::what::time_of_day;
    case code::ref:
      break;
    default:
      return {errc::bad_tag, "a known code", from_};
  }
  const auto o = object();
  if (!o) return o.error();
  switch (o->h().kind) {
    case kind::text:
      return typed::what::text;
    case kind::bytes:
      return typed::what::bytes;
    case kind::buffer:
      return typed::what::buffer;
    case kind::array:
    case kind::list:
      return o->h().sub & kTupleFlag ? typed::what::tuple : typed::what::list;
    case kind::set_sorted:
    case kind::set_bits:
    case kind::set_blocks:
      return typed::what::set;
    case kind::map:
      return (o->h().sub & ~kMultiFlag) == static_cast<unsigned>(flavour::set) ? typed::what::set
                                                                               : typed::what::map;
    case kind::record:
      return typed::what::record;
    case kind::nd:
      return typed::what::nd;
    case kind::decimal:
      return typed::what::decimal;
    case kind::zoned:
      return typed::what::instant;
    default:
      return {errc::bad_tag, "a value", o->position};
  }
}

inline result<instant> any_view::instant() const {
  typed::instant t;
  if (s_.what == code::instant) {
    t.ticks = static_cast<std::int64_t>(s_.payload), t.offset_s = s_.aux;
    if (s_.sub > 3) return {errc::bad_value, "a unit", from_};
    t.unit = static_cast<unit>(s_.sub);
  } else {
    if (s_.what != code::ref) return mismatch("an instant");
    const auto o = object();
    if (!o) return o.error();
    if (o->h().kind != kind::zoned) return {errc::wrong_type, "an instant", o->position};
    if (o->h().sub > 3) return {errc::bad_value, "a unit", o->position};
    t.ticks = static_cast<std::int64_t>(load_word(o->at() + 8));
    t.unit = static_cast<unit>(o->h().sub);
    t.offset_s = load<std::int32_t>(o->at() + 16);
    const auto name = at_reference(*d_, o->position + 24, o->h().depth).text();
    if (!name) return name.error();
    const auto zone = name->str(256);
    if (!zone) return zone.error();
    t.zone = *zone;
  }
  if (!t.when().valid() || !good_offset(t.offset_s)) return {errc::bad_value, "a year from 1 to 9999", from_};
  return t;
}

inline result<decimal> any_view::decimal() const {
  if (s_.what != code::ref) return mismatch("a decimal");
  const auto o = object();
  if (!o) return o.error();
  if (o->h().kind != kind::decimal) return {errc::wrong_type, "a decimal", o->position};
  const unsigned form = o->h().sub & ~1u;
  if (form != 0 && form != 2 && form != 4 && form != 8)
    return {errc::bad_tag, "a form of decimal", o->position};
  typed::decimal d;
  d.negative = o->h().sub & 1, d.what = static_cast<typed::decimal::form>(form);
  d.exponent = static_cast<std::int64_t>(load_word(o->at() + 8));
  d.digits.assign(o->h().count, '0');
  if (d.digits.empty() && form == 0) return {errc::bad_value, "a digit", o->position};
  for (std::uint64_t i = 0; i < o->h().count; ++i) {
    const auto both = static_cast<unsigned>(o->at()[16 + i / 2]);
    const unsigned digit = i % 2 ? both & 15 : both >> 4;
    if (digit > 9) return {errc::bad_value, "digits from 0 to 9", o->position};
    d.digits[i] = static_cast<char>('0' + digit);
  }
  if (d.exponent > INT64_C(1) << 61 || d.exponent < -(INT64_C(1) << 61))
    return {errc::bad_value, "an exponent", o->position};
  return d;
}

}  // namespace spillway::typed

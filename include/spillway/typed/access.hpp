// access.hpp - what reading a field, an element or a value of native type U gives: numbers and times as
// values, texts, lists, maps and records as views. And the two kinds of trust in the bytes.
#pragma once
#include <optional>
#include <type_traits>

#include "spillway/typed/evolution.hpp"
#include "spillway/typed/record_view.hpp"

namespace spillway::typed {

struct checked {};
struct proven {};

// A blob that verify() found whole, in memory that nobody else can write: only this gives proven views.
struct verify_options;
class verified_blob : public blob {
 private:
  friend result<verified_blob> verify(region r, const verify_options& options);
};

template <class T, class Trust = checked>
class view;
template <class E, class Trust>
class list_of;
template <class V, class Trust>
class string_map;
template <class V, class Trust>
class uint_map;
template <class V, class Trust>
class object_map;

namespace detail {

template <auto M>
struct pointee;
template <class C, class M, M C::*P>
struct pointee<P> {
  using type = M;
};

// What reading a field of native type U gives.
template <class U, class Trust>
constexpr auto access_of() {
  using I = typename unwrap<U>::inner;
  if constexpr (std::is_arithmetic_v<I> || std::is_enum_v<I> || std::is_same_v<I, date> ||
                std::is_same_v<I, decimal> || std::is_same_v<I, instant> || std::is_same_v<I, local_time> ||
                std::is_same_v<I, time_of_day>)
    return std::type_identity<I>();
  else if constexpr (std::is_same_v<I, std::string> || std::is_same_v<I, bytes> || std::is_same_v<I, buffer>)
    return std::type_identity<text_view>();
  else if constexpr (std::is_same_v<I, any>)
    return std::type_identity<any_view>();
  else if constexpr (std::is_same_v<I, nd_array>)
    return std::type_identity<nd_view>();
  else if constexpr (described<I>)
    return std::type_identity<view<I, Trust>>();
  else if constexpr (is_ref_to<I>::value)
    return std::type_identity<view<typename is_ref_to<I>::target, Trust>>();
  else if constexpr (is_packed<I>::value)
    return std::type_identity<packed_array<typename I::value_type>>();
  else if constexpr (is_vector<I>::value) {
    using E = typename I::value_type;
    if constexpr (std::is_arithmetic_v<E> && !std::is_same_v<E, bool>)
      return std::type_identity<packed_array<E>>();
    else
      return std::type_identity<list_of<E, Trust>>();
  } else if constexpr (is_set<I>::value || std::is_same_v<I, any_set>)
    return std::type_identity<set_view>();
  else if constexpr (is_map<I>::value) {
    using K = typename I::key_type;
    using V = typename I::mapped_type;
    if constexpr (std::is_same_v<K, std::string>)
      return std::type_identity<string_map<V, Trust>>();
    else if constexpr (std::is_unsigned_v<K> && !std::is_same_v<K, bool>)
      return std::type_identity<uint_map<V, Trust>>();
    else
      return std::type_identity<object_map<V, Trust>>();
  } else if constexpr (std::is_same_v<I, any_map>)
    return std::type_identity<map_view>();
  else
    return std::type_identity<list_view>();  // tuples, any_list, any_tuple
}

}  // namespace detail

template <class U, class Trust = checked>
using access_t = typename decltype(detail::access_of<U, Trust>())::type;

// A stored value as what U is read as. Errors: wrong_type, value_range, null_value, and those of damaged
// bytes.
template <class U, class Trust = checked>
[[gnu::always_inline]] inline result<access_t<U, Trust>> as(const any_view& v) {
  using namespace detail;
  using I = typename unwrap<U>::inner;
  using A = access_t<U, Trust>;
  if constexpr (std::is_same_v<A, any_view>)
    return v;
  else if constexpr (std::is_same_v<I, bool>)
    return v.boolean();
  else if constexpr (std::is_enum_v<I>) {
    const auto n = as<std::underlying_type_t<I>, Trust>(v);
    if (!n) return n.error();
    return static_cast<I>(*n);
  } else if constexpr (std::is_floating_point_v<I>) {
    if (const auto r = v.real(); r || v.raw().what != code::integer) {
      if (!r) return r.error();
      if constexpr (sizeof(I) == 4)
        if (v.raw().what == code::f64) return {errc::wrong_type, "a float32"};
      return static_cast<I>(*r);
    }
    return static_cast<I>(*v.integer());
  } else if constexpr (std::is_integral_v<I>) {
    if constexpr (std::is_signed_v<I>) {
      const auto n = v.integer();
      if (!n) return n.error();
      if (!std::in_range<I>(*n)) return {errc::value_range, "a smaller integer"};
      return static_cast<I>(*n);
    } else {
      const auto n = v.uinteger();
      if (!n) return n.error();
      if (!std::in_range<I>(*n)) return {errc::value_range, "a smaller integer"};
      return static_cast<I>(*n);
    }
  } else if constexpr (std::is_same_v<I, date>)
    return v.date();
  else if constexpr (std::is_same_v<I, decimal>)
    return v.decimal();
  else if constexpr (std::is_same_v<I, instant>)
    return v.instant();
  else if constexpr (std::is_same_v<I, local_time>)
    return v.local_time();
  else if constexpr (std::is_same_v<I, time_of_day>)
    return v.time_of_day();
  else if constexpr (std::is_same_v<I, std::string>)
    return v.text();
  else if constexpr (std::is_same_v<I, bytes>)
    return v.bytes();
  else if constexpr (std::is_same_v<I, buffer>)
    return v.buffer();
  else if constexpr (std::is_same_v<A, nd_view>)
    return v.nd();
  else if constexpr (std::is_same_v<A, set_view>)
    return v.set();
  else if constexpr (std::is_same_v<A, map_view>)
    return v.map();
  else if constexpr (std::is_same_v<A, list_view>)
    return v.list();
  else
    return A::of(v);
}

}  // namespace spillway::typed

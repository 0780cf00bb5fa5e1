// set_algebra.hpp - what two stored sets have in common and what not, across encodings and without a copy of
// either.
//
//   for (const any_view& v : intersection_of(liked, bought).value()) ...
//
// Members are views into the set they come from; of equal ones (2 and 2.0) the left set's. Order: the left
// set's (numbers ascending), then what only the right one has, in its order. Errors: those of damaged
// members.
#pragma once
#include <vector>

#include "spillway/typed/record_view.hpp"
#include "spillway/typed/set_view.hpp"

namespace spillway::typed {

namespace detail {

inline result<bool> is_member(const any_view& v, const set_view& of) {
  if (v.raw().what == code::integer) return of.contains(static_cast<std::int64_t>(v.raw().payload));
  const auto native = v.clone();
  if (!native) return native.error();
  return of.contains(*native);
}

// Appends those of a that are members of b, or those that are not.
inline status sift(const set_view& a, const set_view& b, bool members, std::vector<any_view>& out) {
  set_view::cursor c(a);
  for (any_view v; c.next(v);) {
    const auto member = is_member(v, b);
    if (!member) return member.error();
    if (*member == members) out.push_back(v);
  }
  return {};
}

inline std::vector<any_view> members_of(const set_view& s) {
  std::vector<any_view> out;
  out.reserve(s.size());
  s.for_each([&](const any_view& v) { out.push_back(v); });
  return out;
}

}  // namespace detail

inline result<std::vector<any_view>> intersection_of(const set_view& a, const set_view& b) {
  std::vector<any_view> out;
  if (const auto s = detail::sift(a, b, true, out); !s) return s.error();
  return out;
}
inline result<std::vector<any_view>> difference_of(const set_view& a, const set_view& b) {
  std::vector<any_view> out;
  if (const auto s = detail::sift(a, b, false, out); !s) return s.error();
  return out;
}
inline result<std::vector<any_view>> union_of(const set_view& a, const set_view& b) {
  std::vector<any_view> out = detail::members_of(a);
  if (const auto s = detail::sift(b, a, false, out); !s) return s.error();
  return out;
}
inline result<std::vector<any_view>> symmetric_difference_of(const set_view& a, const set_view& b) {
  std::vector<any_view> out;
  if (const auto s = detail::sift(a, b, false, out); !s) return s.error();
  if (const auto s = detail::sift(b, a, false, out); !s) return s.error();
  return out;
}

// No member of one is a member of the other.
inline result<bool> disjoint(const set_view& a, const set_view& b) {
  const bool few = a.size() <= b.size();
  set_view::cursor c(few ? a : b);
  for (any_view v; c.next(v);) {
    const auto member = detail::is_member(v, few ? b : a);
    if (!member) return member.error();
    if (*member) return false;
  }
  return true;
}

}  // namespace spillway::typed

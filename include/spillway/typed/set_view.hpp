// set_view.hpp - sets in place, whichever of the four encodings they have: membership, iteration, algebra.
#pragma once
#include <bit>
#include <functional>
#include <string>
#include <vector>

#include "spillway/typed/map_view.hpp"

namespace spillway::typed {

class set_view {
 public:
  set_view() = default;
  static result<set_view> of(const object& o) {
    set_view v;
    v.o_ = o;
    switch (o.h().kind) {
      case kind::set_sorted:
        v.element_ = static_cast<type>(o.h().sub);
        if (!is_integer(v.element_) && !is_float(v.element_))
          return {errc::bad_tag, "a set of numbers", o.position};
        v.size_ = o.h().count;
        return v;
      case kind::set_bits:
        v.base_ = static_cast<std::int64_t>(load_word(o.at() + 8));
        v.size_ = load_word(o.at() + 16);
        break;
      case kind::set_blocks:
        v.size_ = load_word(o.at() + 8);
        break;
      case kind::map: {
        const auto m = map_view::of(o);
        if (!m) return m.error();
        if (m->flavour() != flavour::set) return {errc::wrong_type, "a set", o.position};
        v.map_ = *m;
        v.size_ = m->entries();
        return v;
      }
      default:
        return {errc::wrong_type, "a set", o.position};
    }
    if (v.size_ > 64 * o.h().count) return {errc::contradiction, "no more members than bits", o.position};
    return v;
  }

  std::uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const typed::object& object() const { return o_; }
  bool is_integers() const {
    return o_.h().kind == kind::set_bits || o_.h().kind == kind::set_blocks ||
           (o_.h().kind == kind::set_sorted && is_integer(element_));
  }

  bool contains(std::int64_t v) const {
    switch (o_.h().kind) {
      case kind::set_bits: {
        const std::uint64_t bit = static_cast<std::uint64_t>(v) - static_cast<std::uint64_t>(base_);
        return v >= base_ && bit / 64 < o_.h().count && word(bit / 64) >> bit % 64 & 1;
      }
      case kind::set_blocks: {
        const std::uint64_t i = lower(o_.h().count, [&](std::uint64_t k) { return block(k) < v >> 6; });
        return i < o_.h().count && block(i) == v >> 6 && word(i) >> (v & 63) & 1;
      }
      default:
        return contains(any(v));
    }
  }
  // Equal numbers are one member: 2.0 is in {1, 2}.
  bool contains(const any& v) const {
    if (o_.h().kind == kind::map) return map_.contains(v);
    const std::string key = key_of(v);
    if (o_.h().kind != kind::set_sorted) {
      if (key.size() != 10 || key[0] != kKeyInteger) return false;
      std::uint64_t magnitude;
      std::memcpy(&magnitude, key.data() + 2, 8);
      const bool negative = key[1] == '-';
      if (magnitude > (negative ? std::uint64_t{1} << 63 : std::uint64_t{INT64_MAX})) return false;
      return contains(static_cast<std::int64_t>(negative ? 0 - magnitude : magnitude));
    }
    return with_element(element_, [&](auto like) {
      using S = decltype(like);
      const auto member = [&](std::uint64_t i) { return load<S>(o_.at() + 8 + i * sizeof(S)); };
      // The one member of type S that could be equal, found by order, then compared as a key.
      S wanted{};
      if (!nearest(v, wanted)) return false;
      const std::uint64_t i = lower(size_, [&](std::uint64_t k) { return member(k) < wanted; });
      if (i >= size_) return false;
      key_writer w;
      if constexpr (std::is_floating_point_v<S>)
        w.real(static_cast<double>(member(i)));
      else if constexpr (std::is_signed_v<S>)
        w.integer(member(i));
      else
        w.uinteger(member(i));
      return w.bytes() == key;
    });
  }

  // Calls f(any_view) for each member: numbers in ascending order, others in the order of their hashes.
  template <class F>
  void for_each(F&& f) const;

  class cursor;

  // Members as canonical keys, sorted: what algebra between different encodings works on.
  result<std::vector<std::string>> keys() const {
    std::vector<std::string> out;
    error bad;
    for_each([&](const any_view& v) {
      key_writer w;
      if (auto s = write_key(w, v); !s)
        bad = s.error();
      else
        out.push_back(w.bytes());
    });
    if (bad.code != errc::ok) return bad;
    std::sort(out.begin(), out.end());
    return out;
  }
  // Every member of this set is one of the other.
  result<bool> subset_of(const set_view& other) const {
    if (is_integers() && other.is_integers() && o_.h().kind != kind::set_sorted &&
        other.o_.h().kind != kind::set_sorted)
      return within(other);
    const auto mine = keys(), theirs = other.keys();
    if (!mine) return mine.error();
    if (!theirs) return theirs.error();
    return std::includes(theirs->begin(), theirs->end(), mine->begin(), mine->end());
  }
  result<bool> equals(const set_view& other) const {
    if (size_ != other.size_) return false;
    return subset_of(other);
  }

  // Blocks of 64 members, ascending, for sets of bits: f(block number, bits).
  template <class F>
  void for_each_block(F&& f) const {
    for (std::uint64_t i = 0; i < o_.h().count; ++i)
      f(o_.h().kind == kind::set_bits ? (base_ >> 6) + static_cast<std::int64_t>(i) : block(i), word(i));
  }

 private:
  friend class cursor;
  std::uint64_t word(std::uint64_t i) const {
    return load_word(o_.at() + (o_.h().kind == kind::set_bits ? 24 : 16 + 8 * o_.h().count) + 8 * i);
  }
  std::int64_t block(std::uint64_t i) const {
    return static_cast<std::int64_t>(load_word(o_.at() + 16 + 8 * i));
  }
  template <class Below>
  static std::uint64_t lower(std::uint64_t n, Below&& below) {
    std::uint64_t first = 0, last = n;
    while (first < last) {
      const std::uint64_t middle = first + (last - first) / 2;
      if (below(middle))
        first = middle + 1;
      else
        last = middle;
    }
    return first;
  }
  bool within(const set_view& other) const {
    bool all = true;
    for_each_block([&](std::int64_t number, std::uint64_t bits) {
      if (bits == 0 || !all) return;
      std::uint64_t theirs = 0;
      if (other.o_.h().kind == kind::set_bits) {
        const std::uint64_t i =
            static_cast<std::uint64_t>(number) - static_cast<std::uint64_t>(other.base_ >> 6);
        if (i < other.o_.h().count) theirs = other.word(i);
      } else {
        const std::uint64_t i =
            lower(other.o_.h().count, [&](std::uint64_t k) { return other.block(k) < number; });
        if (i < other.o_.h().count && other.block(i) == number) theirs = other.word(i);
      }
      all = (bits & ~theirs) == 0;
    });
    return all;
  }
  template <class S>
  static bool nearest(const any& v, S& out) {
    if constexpr (std::is_same_v<S, bool>)
      return false;  // there are no sets of bools
    else
      return nearest_number(v, out);
  }
  template <class S>
  static bool nearest_number(const any& v, S& out) {
    double real = 0;
    if (const auto* b = v.get<bool>()) return out = static_cast<S>(*b), true;
    if (const auto* i = v.get<std::int64_t>()) {
      if constexpr (std::is_floating_point_v<S>)
        return out = static_cast<S>(*i), true;
      else
        return std::in_range<S>(*i) ? (out = static_cast<S>(*i), true) : false;
    }
    if (const auto* u = v.get<std::uint64_t>()) {
      if constexpr (std::is_floating_point_v<S>)
        return out = static_cast<S>(*u), true;
      else
        return std::in_range<S>(*u) ? (out = static_cast<S>(*u), true) : false;
    }
    if (const auto* f = v.get<float>())
      real = static_cast<double>(*f);
    else if (const auto* d = v.get<double>())
      real = *d;
    else if (const auto* n = v.get<decimal>())
      real = std::strtod(n->str().c_str(), nullptr);
    else
      return false;
    if constexpr (std::is_floating_point_v<S>)
      return out = static_cast<S>(real), true;
    else {
      if (!(real >= static_cast<double>(std::numeric_limits<S>::min()) &&
            real < std::exp2(std::numeric_limits<S>::digits)))
        return false;
      return out = static_cast<S>(real), true;
    }
  }

  typed::object o_;
  map_view map_;
  type element_ = type::none;
  std::int64_t base_ = 0;
  std::uint64_t size_ = 0;
};

// One member after the other.
class set_view::cursor {
 public:
  cursor() = default;
  explicit cursor(const set_view& s) : s_(s) {}
  bool next(any_view& out) {
    const auto& o = s_.o_;
    if (o.h().kind == kind::set_sorted || o.h().kind == kind::map) {
      if (i_ >= s_.size_) return false;
      out = o.h().kind == kind::map
                ? s_.map_.key(i_)
                : any_view::at_scalar(*o.doc, s_.element_, o.position + 8 + i_ * bytes_of(s_.element_));
      ++i_;
      return true;
    }
    while (bits_ == 0) {
      if (i_ >= o.h().count) return false;
      bits_ = s_.word(i_++);
    }
    const auto bit = static_cast<std::uint64_t>(std::countr_zero(bits_));
    bits_ &= bits_ - 1;
    const std::uint64_t start = o.h().kind == kind::set_bits
                                    ? static_cast<std::uint64_t>(s_.base_) + 64 * (i_ - 1)
                                    : static_cast<std::uint64_t>(s_.block(i_ - 1)) << 6;
    out = any_view::of_integer(*o.doc, static_cast<std::int64_t>(start + bit));
    return true;
  }

 private:
  set_view s_;
  std::uint64_t i_ = 0, bits_ = 0;
};

template <class F>
void set_view::for_each(F&& f) const {
  cursor c(*this);
  any_view v;
  while (c.next(v)) f(v);
}

inline result<set_view> any_view::set() const {
  if (!is_reference()) return mismatch("a set");
  const auto o = object();
  if (!o) return o.error();
  return set_view::of(*o);
}

inline status write_key(key_writer& w, const any_view& key) {
  if (w.too_long()) return {errc::too_much, "a key of at most 16 MiB"};
  const auto kind_of = key.what();
  if (!kind_of) return kind_of.error();
  const auto each = [&](const result<list_view>& list, bool tuple) -> status {
    if (!list) return list.error();
    w.begin_sequence(tuple, list->size());
    for (const any_view& v : *list)
      if (auto s = write_key(w, v); !s) return s;
    return {};
  };
  switch (*kind_of) {
    case what::null:
      w.null();
      return {};
    case what::boolean:
      w.uinteger(key.raw().payload == 1);
      return {};
    case what::integer:
      w.integer(static_cast<std::int64_t>(key.raw().payload));
      return {};
    case what::uinteger:
      w.uinteger(key.raw().payload);
      return {};
    case what::f32:
    case what::f64:
      w.real(*key.real());
      return {};
    case what::text:
    case what::bytes: {
      const auto t = *kind_of == what::text ? key.text() : key.bytes();
      if (!t) return t.error();
      if (!t->is_compressed()) {
        *kind_of == what::text ? w.text(t->stored()) : w.blob(t->stored());
        return {};
      }
      const auto s = t->str(kMaxKeyBytes);
      if (!s) return s.error();
      *kind_of == what::text ? w.text(*s) : w.blob(*s);
      return {};
    }
    case what::decimal: {
      const auto d = key.decimal();
      if (!d) return d.error();
      w.number(*d);
      return {};
    }
    case what::date: {
      const auto d = key.date();
      if (!d) return d.error();
      w.day(d->days);
      return {};
    }
    case what::instant: {
      const auto t = key.instant();
      if (!t) return t.error();
      w.when(t->when(), false);
      return {};
    }
    case what::local_time: {
      const auto t = key.local_time();
      if (!t) return t.error();
      w.when(t->when(), true);
      return {};
    }
    case what::time_of_day: {
      const auto t = key.time_of_day();
      if (!t) return t.error();
      w.time(t->ns, t->offset_s);
      return {};
    }
    case what::tuple:
      return each(key.list(), true);
    case what::list:
      return each(key.list(), false);
    case what::set: {
      const auto set = key.set();
      if (!set) return set.error();
      auto members = set->keys();
      if (!members) return members.error();
      w.set(std::move(*members));
      return {};
    }
    default:
      return {errc::wrong_type, "a key: a number, text, bytes, a time, or a tuple or set of these"};
  }
}

}  // namespace spillway::typed

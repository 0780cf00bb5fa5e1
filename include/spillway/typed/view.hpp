// view.hpp - records of described types read (and, where permitted, written) where they lie.
//
//   auto p = root<person>(b).value();              // checked: every step is measured against the blob
//   std::int64_t id = p.get<&person::id>().value();
//   auto q = root<person>(verified).value();       // proven: verify() has measured everything already
//   p.set<&person::id>(7);  p.add<&person::id>(1);  p.compare_exchange<&person::id>(expected, 9);
//
// get() answers errc::absent or errc::null_value for a field in those states; they are never mistaken for a
// value. Three words, trivially copyable, no allocation. Threads: any number of readers; set, add and
// compare_exchange are atomic.
#pragma once
#include <bit>
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
result<access_t<U, Trust>> as(const any_view& v) {
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

template <class T, class Trust>
class view {
  template <auto M>
  using member_type = typename detail::pointee<M>::type;
  template <auto M>
  using fixed_type = typename detail::unwrap<member_type<M>>::inner;
  template <std::size_t N>
  using bits_of = std::conditional_t<
      N == 1, std::uint8_t,
      std::conditional_t<N == 2, std::uint16_t, std::conditional_t<N == 4, std::uint32_t, std::uint64_t>>>;

 public:
  view() = default;
  static result<view> of(const any_view& v) {
    if (v.is_null()) return {errc::null_value, "a record"};
    const auto o = v.object();
    if (!o) return o.error();
    return of(*o);
  }
  static result<view> of(const object& o) {
    if (o.h.kind != kind::record) return {errc::wrong_type, "a record", o.position};
    return planned(*o.doc, o.position, o.h, *detail::plans_of<T>(*o.doc));
  }
  // The record at `position`, referred to from `from` by an object of depth `below`: what object_at() checks,
  // for records alone. The hot path of lists and maps, which look the plans up once.
  [[gnu::always_inline]] static result<view> at(const document& d, std::uint64_t position, std::uint64_t from,
                                                unsigned below, const plan_node& plans) {
    if constexpr (std::is_same_v<Trust, proven>) {
      const head h = head::of(load_word(d.base + position));
      if (h.kind == kind::record) [[likely]]
        return planned(d, position, h, plans);
    } else if (position % 8 == 0 && position < from && position >= kHeaderBytes && position <= d.bytes - 8)
        [[likely]] {
      const head h = head::of(load_word(d.base + position));
      if (h.kind == kind::record && h.depth < below && h.count < d.types.size() &&
          d.types[h.count].record_bytes <= d.bytes - position) [[likely]]
        return planned(d, position, h, plans);
    }
    const auto o = object_at(d, position, from, below);  // says what is wrong
    if (!o) return o.error();
    return of(*o);
  }
  explicit operator bool() const { return record_ != nullptr; }

  template <auto M>
  typed::state has() const {
    return state_of(fields_[index<M>()]);
  }

  // The field's value, read in place. Errors: absent, null_value, and those of damaged bytes.
  template <auto M>
  [[gnu::always_inline]] auto get() const -> result<access_t<member_type<M>, Trust>> {
    using U = member_type<M>;
    const field_plan& f = fields_[index<M>()];
    if constexpr (std::is_arithmetic_v<typename detail::unwrap<U>::inner>) {
      using I = typename detail::unwrap<U>::inner;
      if (static_cast<unsigned>(record_[f.has_at]) & ~static_cast<unsigned>(record_[f.null_at]) & f.fast_mask)
          [[likely]]
        return load<I>(record_ + f.offset);
    }
    return get_slow<M>(f);
  }
  // The value, or `other` when the field is absent or null; throws what else get() would answer.
  template <auto M, class X>
  auto get_or(X&& other) const {
    using A = access_t<member_type<M>, Trust>;
    const auto got = get<M>();
    if (got.code() == errc::absent || got.code() == errc::null_value)
      return static_cast<A>(std::forward<X>(other));
    return got.value();
  }

  // In place, for fields of fixed size that are set. Errors: read_only, absent, null_value, wrong_type (the
  // writer stored another width).
  template <auto M>
  status set(fixed_type<M> value) const {
    std::byte* at = nullptr;
    if (auto s = target<M>(at); !s) return s;
    const auto bits = std::bit_cast<bits_of<sizeof value>>(value);
    __atomic_store_n(reinterpret_cast<bits_of<sizeof value>*>(at), bits, __ATOMIC_SEQ_CST);
    return {};
  }
  // True when the field was `expected` and is `desired` now; otherwise `expected` becomes what it was.
  template <auto M>
  result<bool> compare_exchange(fixed_type<M>& expected, fixed_type<M> desired) const {
    std::byte* at = nullptr;
    if (auto s = target<M>(at); !s) return s.error();
    auto was = std::bit_cast<bits_of<sizeof desired>>(expected);
    const bool done = __atomic_compare_exchange_n(reinterpret_cast<bits_of<sizeof desired>*>(at), &was,
                                                  std::bit_cast<bits_of<sizeof desired>>(desired), false,
                                                  __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    expected = std::bit_cast<fixed_type<M>>(was);
    return done;
  }
  // Adds, wrapping round; the value before.
  template <auto M>
  result<fixed_type<M>> add(fixed_type<M> delta) const {
    using I = fixed_type<M>;
    std::byte* at = nullptr;
    if (auto s = target<M>(at); !s) return s.error();
    if constexpr (std::is_integral_v<I>)
      return __atomic_fetch_add(reinterpret_cast<I*>(at), delta, __ATOMIC_SEQ_CST);
    else {
      I was = load<I>(at);
      while (true) {
        const auto done = compare_exchange<M>(was, was + delta);
        if (!done) return done.error();
        if (*done) return was;
      }
    }
  }

  // Every field as get() gives it, in a native record; fields that are absent keep the default. Throws
  // `failure`.
  T clone() const;

  record_view dynamic() const { return record_view::of(object()).value(); }
  typed::object object() const {
    return {doc_, static_cast<std::uint64_t>(record_ - doc_->base), head::of(load_word(record_))};
  }

 private:
  [[gnu::always_inline]] static result<view> planned(const document& d, std::uint64_t position, head h,
                                                     const plan_node& plans) {
    const plan& p = plans.by_writer[h.count];
    if (p.problem.code != errc::ok) [[unlikely]]
      return p.problem;
    return view(d, d.base + position, p.fields.data(), h.depth);
  }
  template <class, class>
  friend class list_of;
  view(const document& d, const std::byte* record, const field_plan* fields, unsigned depth)
      : doc_(&d), record_(record), fields_(fields), depth_(depth) {}

  template <auto M>
  static constexpr std::size_t index() {
    constexpr std::size_t i = detail::index_of_member<T, M>();
    static_assert(i < member_count<T>, "a member that describe<T> does not list");
    return i;
  }
  typed::state state_of(const field_plan& f) const {
    if (!f.offset) return state::absent;
    const std::byte* has = record_ + f.has_at;
    const unsigned bit = f.index % 8;
    if (!(static_cast<unsigned>(*has) >> bit & 1)) return state::absent;
    return static_cast<unsigned>(record_[f.null_at]) >> bit & 1 ? state::null : state::set;
  }
  template <auto M>
  [[gnu::noinline]] auto get_slow(const field_plan& f) const -> result<access_t<member_type<M>, Trust>> {
    if (const auto s = state_of(f); s != state::set) return missing<M>(s);
    return as<member_type<M>, Trust>(raw(f));
  }
  template <auto M>
  error missing(typed::state s) const {
    return {s == state::absent ? errc::absent : errc::null_value, 0, 0, "a field that has a value",
            std::get<index<M>()>(describe<T>::members).name};
  }
  any_view raw(const field_plan& f) const {
    const std::uint64_t at = static_cast<std::uint64_t>(record_ - doc_->base) + f.offset;
    if (is_slot(f.written)) return any_view::at_slot(*doc_, at, depth_);
    if (is_reference(f.written)) return any_view::at_reference(*doc_, at, depth_);
    return any_view::at_scalar(*doc_, f.written, at);
  }
  template <auto M>
  status target(std::byte*& at) const {
    static_assert(std::is_arithmetic_v<fixed_type<M>> || std::is_same_v<fixed_type<M>, date>,
                  "only numbers, bools and dates are written in place");
    const field_plan& f = fields_[index<M>()];
    if (!doc_->writable()) return {errc::read_only, "a writable, unproven blob without a checksum"};
    if (const auto s = state_of(f); s != state::set) return missing<M>(s);
    if (!f.exact) return {errc::wrong_type, "a field that the writer stored in the same width"};
    at = const_cast<std::byte*>(record_) + f.offset;
    return {};
  }

  const document* doc_ = nullptr;
  const std::byte* record_ = nullptr;
  const field_plan* fields_ = nullptr;  // in the order of describe<T>
  unsigned depth_ = 256;
};

// A list whose elements are read as E.
template <class E, class Trust = checked>
class list_of {
 public:
  list_of() = default;
  static result<list_of> of(const any_view& v) {
    const auto list = v.list();
    if (!list) return list.error();
    list_of l;
    l.list_ = *list;
    if constexpr (described<Inner>) {
      l.plans_ = detail::plans_of<Inner>(*list->object().doc);
      if (list->is_whole() && list->element() == type::none) l.first_ = list->slot_position(0);
      for (std::size_t t = l.plans_->by_writer.size(); t--;)
        if (l.plans_->by_writer[t].problem.code == errc::ok)
          l.usual_ = head{kind::record, 0, 0, t}.word(), l.fields_ = l.plans_->by_writer[t].fields.data();
    }
    return l;
  }
  std::uint64_t size() const { return list_.size(); }
  bool empty() const { return list_.empty(); }
  [[gnu::always_inline]] result<access_t<E, Trust>> operator[](std::uint64_t i) const {
    if (i >= size()) [[unlikely]]
      return {errc::no_such, "an index below the size"};
    if constexpr (described<Inner>) {
      const document& d = *list_.object().doc;
      const std::uint64_t at = first_ ? first_ + 16 * i : list_.slot_position(i);
      if (at && (load_word(d.base + at) & 0xff) == static_cast<unsigned>(code::ref)) [[likely]] {
        const std::uint64_t from = at + kSlotPayload, position = from + load_word(d.base + from);
        if constexpr (std::is_same_v<Trust, proven>) {
          // Nearly always the one type that every element has: a compare, and nothing else is looked up.
          const std::uint64_t word = load_word(d.base + position);
          if ((word & ~(std::uint64_t{0xff} << 16)) == usual_) [[likely]]
            return view<Inner, Trust>(d, d.base + position, fields_,
                                      static_cast<unsigned>(word >> 16 & 0xff));
        }
        return view<Inner, Trust>::at(d, position, from, list_.object().h.depth, *plans_);
      }
    }
    return as<E, Trust>(list_[i]);
  }
  const list_view& raw() const { return list_; }

 private:
  using Inner = typename detail::unwrap<E>::inner;
  list_view list_;
  const plan_node* plans_ = nullptr;
  const field_plan* fields_ = nullptr;
  std::uint64_t first_ = 0, usual_ = 0;
};

// The root of a blob as a described type. Errors: incompatible and wrong_type, with the field's or type's
// name.
template <described T>
result<view<T, checked>> root(const blob& b) {
  const auto v = root(b);
  if (!v) return v.error();
  const auto o = v->object();
  if (!o) return o.error();
  if (o->h.kind != kind::record) return {errc::wrong_type, "a record", o->position};
  std::vector<std::pair<const void*, std::uint32_t>> seen;
  if (const error e = detail::check_deep<T>(b.doc(), static_cast<std::uint32_t>(o->h.count), seen);
      e.code != errc::ok)
    return e;
  return view<T, checked>::of(*o);
}
template <described T>
result<view<T, proven>> root(const verified_blob& b) {
  if (const auto checked_root = root<T>(static_cast<const blob&>(b)); !checked_root)
    return checked_root.error();
  return view<T, proven>::of(*root(static_cast<const blob&>(b)));
}
// The root as any other type that a field may have: std::vector<person>, std::map<std::string, person>, ...
template <class T>
requires(!described<T>) result<access_t<T, checked>> root(const blob& b) {
  const auto v = root(b);
  if (!v) return v.error();
  return as<T, checked>(*v);
}
template <class T>
requires(!described<T>) result<access_t<T, proven>> root(const verified_blob& b) {
  const auto v = root(static_cast<const blob&>(b));
  if (!v) return v.error();
  return as<T, proven>(*v);
}

}  // namespace spillway::typed

#include "spillway/typed/clone.hpp"
#include "spillway/typed/maps.hpp"

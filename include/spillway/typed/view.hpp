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
#include <algorithm>
#include <bit>

#include "spillway/typed/access.hpp"

namespace spillway::typed {

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
    if (o.h().kind != kind::record) return {errc::wrong_type, "a record", o.position};
    const plan& p = detail::plans_of<T>(*o.doc)->by_writer[o.h().count];
    if (p.problem.code != errc::ok) return p.problem;
    return view(p, o.at(), o.h().depth, p.reading);
  }
  explicit operator bool() const { return record_ != nullptr; }

  template <auto M>
  typed::state has() const {
    return state_of(plan_->fields[index<M>()]);
  }

  // The field's value, read in place. Errors: absent, null_value, and those of damaged bytes.
  template <auto M>
  [[gnu::always_inline]] auto get() const -> result<access_t<member_type<M>, Trust>> {
    using I = typename detail::unwrap<member_type<M>>::inner;
    if constexpr (std::is_arithmetic_v<I>) {
      constexpr detail::native_field f = detail::kNativeLayout<T>.fields[index<M>()];
      if (how() == reading::complete || (how() == reading::native && f.is_set(record_))) [[likely]]
        return load<I>(record_ + f.offset);
    }
    return get_slow<M>(plan_, record_, depth());
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
  // Looks at the record's header again. Throws `failure` when somebody has changed it to one that reaches too
  // far.
  typed::object object() const {
    const document& d = *plan_->doc;
    return object_at(d, static_cast<std::uint64_t>(record_ - d.base), d.bytes, depth() + 1).value();
  }

 private:
  template <class, class>
  friend class list_of;
  view(const plan& p, const std::byte* record, unsigned depth, typed::reading how)
      : plan_(&p), record_(record), known_(depth | static_cast<std::uint64_t>(how) << 32) {}

  unsigned depth() const { return static_cast<std::uint32_t>(known_); }
  typed::reading how() const { return static_cast<typed::reading>(known_ >> 32); }

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
  // Out of line, and of words: a view whose address nobody takes lives in registers. Pure: what it does to
  // memory (a plan made when first asked for) nobody can tell, so loops keep what they know of the view.
  template <auto M>
  [[gnu::noinline, gnu::pure]] static auto get_slow(const plan* p, const std::byte* record, unsigned depth)
      -> result<access_t<member_type<M>, Trust>> {
    using I = typename detail::unwrap<member_type<M>>::inner;
    const view v(*p, record, depth, reading::planned);
    const field_plan& f = p->fields[index<M>()];
    if (const auto s = v.state_of(f); s != state::set) return v.template missing<M>(s);
    if constexpr (std::is_arithmetic_v<I>)
      if (f.exact) return load<I>(record + f.offset);
    return as<member_type<M>, Trust>(v.raw(f));
  }
  template <auto M>
  error missing(typed::state s) const {
    return {s == state::absent ? errc::absent : errc::null_value, 0, 0, "a field that has a value",
            std::get<index<M>()>(describe<T>::members).name};
  }
  any_view raw(const field_plan& f) const {
    const std::uint64_t at = static_cast<std::uint64_t>(record_ - plan_->doc->base) + f.offset;
    // What it says of itself may have changed, so it is not all that counts.
    const unsigned below = std::min<unsigned>(depth(), head::of(load_word(record_)).depth);
    if (is_slot(f.written)) return any_view::at_slot(*plan_->doc, at, below);
    if (is_reference(f.written)) return any_view::at_reference(*plan_->doc, at, below);
    return any_view::at_scalar(*plan_->doc, f.written, at);
  }
  template <auto M>
  status target(std::byte*& at) const {
    static_assert(std::is_arithmetic_v<fixed_type<M>> || std::is_same_v<fixed_type<M>, date>,
                  "only numbers, bools and dates are written in place");
    const field_plan& f = plan_->fields[index<M>()];
    if (!plan_->doc->writable()) return {errc::read_only, "a writable, unproven blob without a checksum"};
    if (const auto s = state_of(f); s != state::set) return missing<M>(s);
    if (!f.exact) return {errc::wrong_type, "a field that the writer stored in the same width"};
    at = const_cast<std::byte*>(record_) + f.offset;
    return {};
  }

  const plan* plan_ = nullptr;
  const std::byte* record_ = nullptr;
  // The depth, at most, and how it is read. In one word, because views are copied: what was stored in pieces
  // is loaded as a whole only when it has been written, which waits for all cache misses before it.
  std::uint64_t known_ = 0;
};

// The root of a blob as a described type. Errors: incompatible and wrong_type, with the field's or type's
// name.
template <described T>
result<view<T, checked>> root(const blob& b) {
  const auto v = root(b);
  if (!v) return v.error();
  const auto o = v->object();
  if (!o) return o.error();
  if (o->h().kind != kind::record) return {errc::wrong_type, "a record", o->position};
  std::vector<std::pair<const void*, std::uint32_t>> seen;
  if (const error e = detail::check_deep<T>(b.doc(), static_cast<std::uint32_t>(o->h().count), seen);
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
#include "spillway/typed/list_of.hpp"
#include "spillway/typed/maps.hpp"

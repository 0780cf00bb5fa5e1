// list_of.hpp - a list whose elements are read as E. Included by view.hpp.
//
// Records are what must be quick: which type they are and how their fields lie is decided once, when the list
// is opened, by its first element. An element of that type then costs a load of its reference, one compare of
// the place it leads to and one of how the record there begins; a proven list that verify() has seen to hold
// nothing else costs the load alone. Other elements, and whatever is wrong, take the long way and are told
// apart there.
#pragma once
#include <bit>

#include "spillway/typed/view.hpp"

namespace spillway::typed {

namespace detail {

// How the records of a list begin: the header word, then the bits that say which fields are set. Compared at
// once in a vector register, because it is the integer instructions waiting for records that are in no cache
// which limit how many records are under way together: word by word, the same checks took a third longer.
struct record_start {
  std::uint64_t usual[2] = {}, slack[2] = {};  // a byte may differ from the usual one in this much

  [[gnu::always_inline]] bool is_at(const std::byte* record) const {
    using bytes [[gnu::vector_size(16)]] = unsigned char;
    using words [[gnu::vector_size(16)]] = std::uint64_t;
    bytes seen, wanted, most;
    std::memcpy(&seen, record, sizeof seen);
    std::memcpy(&wanted, usual, sizeof wanted);
    std::memcpy(&most, slack, sizeof most);
    const auto beyond = reinterpret_cast<words>((seen ^ wanted) > most);
    return !(beyond[0] | beyond[1]);
  }
};

// Whether records of T usually have all their fields, and the bits that say so are in their first 16 bytes.
template <class T>
constexpr bool usually_complete() {
  if constexpr (!described<T>)
    return false;
  else {
    bool all = member_count<T> > 0 && member_count<T> <= 32;
    for_each_member<T>([&](const auto& m, std::size_t) {
      using M = typename std::remove_cvref_t<decltype(m)>::value_type;
      all = all && !unwrap<M>::nullable && !is_ref_to<M>::value;
    });
    return all;
  }
}

}  // namespace detail

template <class E, class Trust = checked>
class list_of {
  using Inner = typename detail::unwrap<E>::inner;
  static constexpr bool kProven = std::is_same_v<Trust, proven>;
  // What is known of a record that starts as is usual.
  static constexpr reading kStartsAs =
      detail::usually_complete<Inner>() ? reading::complete : reading::native;

 public:
  list_of() = default;
  static result<list_of> of(const any_view& v) {
    const auto list = v.list();
    if (!list) return list.error();
    list_of l;
    l.list_ = *list;
    if constexpr (described<Inner>) l.expect_records();
    return l;
  }
  std::uint64_t size() const { return list_.size(); }
  bool empty() const { return list_.empty(); }
  [[gnu::always_inline]] result<access_t<E, Trust>> operator[](std::uint64_t i) const {
    if constexpr (described<Inner>) {
      if (kProven && i < usual_.direct) [[likely]] {
        const std::byte* const from = usual_.references + 16 * i;
        return view<Inner, Trust>(*usual_.plan, from + load<std::int64_t>(from), 256, reading::complete);
      }
      if (i < usual_.size) [[likely]] {
        const std::byte* const from = usual_.references + 16 * i;
        if (load<code>(from - kSlotPayload) == code::ref) [[likely]] {
          const auto at = once(reinterpret_cast<std::uintptr_t>(from) + load<std::uint64_t>(from));
          // A multiple of 8, behind the header, and far enough before the list: rotated, whatever is not
          // becomes too large.
          if (std::rotr(at - usual_.first, 3) < usual_.places) [[likely]] {
            const auto* const record = reinterpret_cast<const std::byte*>(at);
            if (usual_.start.is_at(record)) [[likely]]
              return view<Inner, Trust>(*usual_.plan, record, usual_.below, kStartsAs);
          }
        }
      }
    }
    return any_element(list_, i);
  }
  const list_view& raw() const { return list_; }

 private:
  // Out of line and by value, so that a list whose address nobody takes lives in registers.
  [[gnu::noinline, gnu::pure]] static result<access_t<E, Trust>> any_element(list_view list,
                                                                             std::uint64_t i) {
    if (i >= list.size()) return {errc::no_such, "an index below the size"};
    return as<E, Trust>(list[i]);
  }

  void expect_records() {
    if (list_.empty() || list_.element() != type::none) return;
    const auto first = list_[0].object();
    if (!first || first->h().kind != kind::record) return;
    const typed::object& o = list_.object();
    const plan& p = detail::plans_of<Inner>(*o.doc)->by_writer[first->h().count];
    const std::uint64_t record_bytes = o.doc->types[first->h().count].record_bytes;
    if (p.problem.code != errc::ok || p.reading == reading::planned ||
        o.position < kHeaderBytes + record_bytes)
      return;
    usual_.plan = &p;
    usual_.first = reinterpret_cast<std::uintptr_t>(o.doc->base + kHeaderBytes);
    usual_.references = o.at() + 8 + kSlotPayload;
    usual_.size = list_.size();
    usual_.places = (o.position - kHeaderBytes - record_bytes) / 8 + 1;
    usual_.below = o.h().depth;  // not 0, since its first element is a record
    usual_.start.usual[0] = head{kind::record, 0, 0, first->h().count}.word();
    usual_.start.slack[0] = head{kind::padding, 0, static_cast<std::uint8_t>(o.h().depth - 1), 0}.word();
    if constexpr (kStartsAs == reading::complete)
      usual_.start.usual[1] = (std::uint64_t{1} << member_count<Inner>)-1;  // all of them, and no null
    else
      usual_.start.slack[1] = UINT64_MAX;
    if (p.reading == reading::complete && o.doc->holds_only(o.position, first->h().count))
      usual_.direct = list_.size();
  }

  struct usual {  // the type of the first element, when it is a record that can be read
    const typed::plan* plan = nullptr;
    const std::byte* references = nullptr;
    std::uint64_t size = 0;    // of the list; 0: look at every element
    std::uint64_t direct = 0;  // the same, when verify() saw nothing else in it, and in no record a gap
    std::uintptr_t first = 0;
    std::uint64_t places = 0;  // multiples of 8, from `first` on, where one may start
    detail::record_start start;
    unsigned below = 0;  // the list's depth
  };
  list_view list_;
  usual usual_;
};

}  // namespace spillway::typed

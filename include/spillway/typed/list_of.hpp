// list_of.hpp - a list whose elements are read as E. Included by view.hpp.
//
// Records are what must be quick: which type they are and how its fields lie is decided once, when the list
// is opened, by its first element. An element of that type then costs a load of its reference, one compare of
// the place it leads to and one of its header word; a proven list that verify() has seen to hold nothing else
// costs the load alone. Other elements, and whatever is wrong, take the long way and are told apart there.
#pragma once
#include <algorithm>
#include <bit>

#include "spillway/typed/view.hpp"

namespace spillway::typed {

template <class E, class Trust = checked>
class list_of {
  using Inner = typename detail::unwrap<E>::inner;
  static constexpr bool kProven = std::is_same_v<Trust, proven>;

 public:
  list_of() = default;
  static result<list_of> of(const any_view& v) {
    const auto list = v.list();
    if (!list) return list.error();
    list_of l;
    l.list_ = *list;
    l.size_ = list->size();
    if constexpr (described<Inner>) l.expect_records();
    return l;
  }
  std::uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  [[gnu::always_inline]] result<access_t<E, Trust>> operator[](std::uint64_t i) const {
    if constexpr (described<Inner>) {
      // Bytes that nobody can change are loaded in the plain way, which leaves the compiler free.
      const auto word_at = [](const std::byte* p) { return kProven ? load<std::uint64_t>(p) : load_word(p); };
      if (kProven && i < usual_.direct) [[likely]] {
        const std::byte* const from = usual_.references + 16 * i;
        return view<Inner, Trust>(*usual_.plan, from + static_cast<std::int64_t>(word_at(from)), 256,
                                  reading::complete);
      }
      if (i < usual_.size) [[likely]] {
        const std::byte* const from = usual_.references + 16 * i;
        if ((word_at(from - kSlotPayload) & 0xff) == static_cast<unsigned>(code::ref)) [[likely]] {
          const std::uintptr_t at = reinterpret_cast<std::uintptr_t>(from) + word_at(from);
          // A multiple of 8, behind the header, and far enough before the list: rotated, whatever is not
          // becomes too large.
          if (std::rotr(at - usual_.first, 3) < usual_.places) [[likely]] {
            const auto* const record = reinterpret_cast<const std::byte*>(at);
            const std::uint64_t depth = std::rotr(word_at(record) ^ usual_.word, 16);
            if (depth < usual_.below) [[likely]]  // or more, if it is another type
              return view<Inner, Trust>(*usual_.plan, record, static_cast<unsigned>(depth), reading::native);
          }
        }
      }
    }
    return any_element(*this, i);
  }
  const list_view& raw() const { return list_; }

 private:
  // Out of line and by value, so that a list whose address nobody takes lives in registers.
  [[gnu::noinline, gnu::pure]] static result<access_t<E, Trust>> any_element(list_of list, std::uint64_t i) {
    if (i >= list.size_) return {errc::no_such, "an index below the size"};
    return as<E, Trust>(list.list_[i]);
  }

  void expect_records() {
    if (size_ == 0 || list_.element() != type::none) return;
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
    usual_.size = size_;
    usual_.word = head{kind::record, 0, 0, first->h().count}.word();
    usual_.places = (o.position - kHeaderBytes - record_bytes) / 8 + 1;
    usual_.below = o.h().depth;
    if (p.reading == reading::complete && o.doc->holds_only(o.position, first->h().count))
      usual_.direct = size_;
  }

  struct usual {  // the type of the first element, when it is a record that can be read
    const typed::plan* plan = nullptr;
    const std::byte* references = nullptr;
    std::uint64_t size = 0;    // of the list; 0: look at every element
    std::uint64_t direct = 0;  // the same, when verify() saw nothing else in it, and in no record a gap
    std::uint64_t word = 0;    // the header of such a record, of depth 0
    std::uintptr_t first = 0;
    std::uint64_t places = 0;  // multiples of 8, from `first` on, where one may start
    std::uint64_t below = 0;   // the list's depth
  };
  list_view list_;
  std::uint64_t size_ = 0;
  usual usual_;
};

}  // namespace spillway::typed

// list_view.hpp - lists, tuples and arrays in place: elements, slices of slices, reverse; arrays as spans
// without a copy.
#pragma once
#include <iterator>
#include <optional>
#include <span>
#include <vector>

#include "spillway/typed/any_view.hpp"

namespace spillway::typed {

// Elements start, start + step, ... of a list or an array.
class list_view {
 public:
  list_view() = default;
  static result<list_view> of(const object& o) {
    list_view v;
    v.o_ = o;
    v.size_ = o.h().count;
    if (o.h().kind == kind::array)
      v.element_ = static_cast<type>(o.h().sub & ~kTupleFlag);
    else if (o.h().kind != kind::list)
      return {errc::wrong_type, "a list", o.position};
    return v;
  }

  std::uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool is_tuple() const { return o_.h().sub & kTupleFlag; }
  type element() const { return element_; }  // none: any values
  const typed::object& object() const { return o_; }
  bool is_whole() const { return start_ == 0 && step_ == 1 && size_ == o_.h().count; }

  // Errors: no_such past the end.
  result<any_view> at(std::uint64_t i) const {
    if (i >= size_) return {errc::no_such, "an index below the size", o_.position};
    return (*this)[i];
  }
  any_view operator[](std::uint64_t i) const {
    const std::uint64_t k = index(i);
    if (element_ == type::none) return any_view::at_slot(*o_.doc, o_.position + 8 + 16 * k, o_.h().depth);
    return any_view::at_scalar(*o_.doc, element_, o_.position + 8 + bytes_of(element_) * k);
  }
  // Element start + i * step for i < count, in elements of this view; the caller has brought them into range.
  list_view slice(std::uint64_t start, std::int64_t step, std::uint64_t count) const {
    list_view v = *this;
    if (count) {
      v.start_ = index(start);
      v.step_ = step_ * step;
    }
    v.size_ = count;
    return v;
  }
  list_view reversed() const { return size_ ? slice(size_ - 1, -1, size_) : *this; }

  // The numbers themselves. Errors: wrong_type unless it is an array of exactly T, not sliced by a step.
  template <class T>
  result<std::span<const T>> span() const {
    if (element_ != type_of_arithmetic<T>() || (step_ != 1 && size_ > 1) || std::is_same_v<T, bool>)
      return {errc::wrong_type, "an array of this very type", o_.position};
    return std::span<const T>(reinterpret_cast<const T*>(o_.at() + 8) + start_, size_);
  }
  // Where element i lies in a list of any values; 0 in an array.
  std::uint64_t slot_position(std::uint64_t i) const {
    return element_ == type::none ? o_.position + 8 + 16 * index(i) : 0;
  }
  const std::byte* data() const { return o_.at() + 8 + bytes_of(element_) * start_; }
  std::int64_t step() const { return step_; }

  // Whether an element is of this type and value (as any's ==). Errors: those of damaged bytes, too_much.
  result<bool> contains(const any& wanted) const {
    for (const any_view& e : *this) {
      const auto mine = e.clone();
      if (!mine) return mine.error();
      if (*mine == wanted) return true;
    }
    return false;
  }
  // Whether both have as many elements, equal ones in the same places, in whatever encodings.
  result<bool> equals(const list_view& other) const {
    if (size() != other.size()) return false;
    for (std::uint64_t i = 0; i < size(); ++i) {
      const auto mine = (*this)[i].clone(), theirs = other[i].clone();
      if (!mine) return mine.error();
      if (!theirs) return theirs.error();
      if (!(*mine == *theirs)) return false;
    }
    return true;
  }
  // The elements where the mask is true. Errors: wrong_type unless it has a place for each.
  result<std::vector<any_view>> select(const std::vector<bool>& mask) const {
    if (mask.size() != size())
      return {errc::wrong_type, "a mask of as many places as there are elements", o_.position};
    std::vector<any_view> out;
    for (std::uint64_t i = 0; i < size(); ++i)
      if (mask[i]) out.push_back((*this)[i]);
    return out;
  }

  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = any_view;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = any_view;
    iterator() = default;
    iterator(const list_view* list, std::uint64_t i) : list_(list), i_(i) {}
    any_view operator*() const { return (*list_)[i_]; }
    iterator& operator++() { return ++i_, *this; }
    iterator operator++(int) { return {list_, i_++}; }
    bool operator==(const iterator& o) const { return i_ == o.i_; }

   private:
    const list_view* list_ = nullptr;
    std::uint64_t i_ = 0;
  };
  iterator begin() const { return {this, 0}; }
  iterator end() const { return {this, size_}; }

 private:
  std::uint64_t index(std::uint64_t i) const { return start_ + i * static_cast<std::uint64_t>(step_); }
  typed::object o_;
  type element_ = type::none;
  std::uint64_t start_ = 0, size_ = 0;
  std::int64_t step_ = 1;
};

inline result<list_view> any_view::list() const {
  if (!is_reference()) return mismatch("a list");
  const auto o = object();
  if (!o) return o.error();
  return list_view::of(*o);
}

// Numbers of an array, whatever width they are stored in, as T. Widths that T cannot hold are refused at
// of().
template <class T>
class packed_array {
 public:
  packed_array() = default;
  static result<packed_array> of(const any_view& v) {
    const auto list = v.list();
    if (!list) return list.error();
    const type e = list->element();
    if (list->empty()) return packed_array();
    if (!holds(e))
      return {errc::wrong_type, "an array of numbers that the reader's type can hold",
              list->object().position};
    packed_array a;
    a.data_ = list->data(), a.size_ = list->size(), a.element_ = e;
    return a;
  }
  std::uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  type element() const { return element_; }
  // i < size().
  T operator[](std::uint64_t i) const {
    if (element_ == type_of_arithmetic<T>()) return load<T>(data_ + i * sizeof(T));
    return with_element(element_, [&](auto like) {
      using S = decltype(like);
      return static_cast<T>(load<S>(data_ + i * sizeof(S)));
    });
  }
  result<T> at(std::uint64_t i) const {
    if (i >= size_) return {errc::no_such, "an index below the size"};
    return (*this)[i];
  }
  // Without a copy; nullopt when they are stored in another width.
  std::optional<std::span<const T>> span() const {
    if (size_ && element_ != type_of_arithmetic<T>()) return std::nullopt;
    return std::span<const T>(reinterpret_cast<const T*>(data_), size_);
  }
  std::vector<T> clone() const {
    std::vector<T> out(size_);
    for (std::uint64_t i = 0; i < size_; ++i) out[i] = (*this)[i];
    return out;
  }

  // Whether every value of the stored type is a value of T.
  static constexpr bool holds(type e) {
    constexpr type mine = type_of_arithmetic<T>();
    if (e == mine) return true;
    if (is_integer(mine) && is_integer(e)) {
      if (is_signed_integer(mine))
        return bytes_of(e) < bytes_of(mine) || (is_signed_integer(e) && bytes_of(e) == bytes_of(mine));
      return !is_signed_integer(e) && bytes_of(e) <= bytes_of(mine);
    }
    if (mine == type::f64) return e == type::f32 || (is_integer(e) && bytes_of(e) <= 4);
    return mine == type::f32 && is_integer(e) && bytes_of(e) <= 2;
  }

 private:
  const std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
  type element_ = type::none;
};

}  // namespace spillway::typed

// nd_view.hpp - n-d arrays in place: row-major data at a multiple of 64, which numpy and spans see without a
// copy.
#pragma once
#include <span>
#include <vector>

#include "spillway/typed/any_view.hpp"

namespace spillway::typed {

class nd_view {
 public:
  nd_view() = default;
  static result<nd_view> of(const object& o) {
    if (o.h().kind != kind::nd) return {errc::wrong_type, "an n-d array", o.position};
    nd_view v;
    v.o_ = o;
    v.element_ = static_cast<type>(o.h().sub);
    v.item_bytes_ = load_word(o.at() + 16);
    v.data_ = detail::nd_data_at(o.position, o.h().count);
    if (v.element_ == type::none) {
      const auto name = any_view::at_reference(*o.doc, o.position + 8, o.h().depth).text();
      if (!name) return name.error();
      const auto text = name->view();
      if (!text) return text.error();
      v.dtype_ = *text;
    } else if (!is_scalar(v.element_) || bytes_of(v.element_) != v.item_bytes_) {
      return {errc::contradiction, "items of the element's size", o.position};
    }
    // The shape is read once; its product was measured when the object was reached, and is again, now that it
    // is ours.
    unsigned __int128 bytes = v.item_bytes_;
    for (std::uint64_t i = 0; i < o.h().count; ++i) {
      v.shape_.push_back(load_word(o.at() + 24 + 8 * i));
      bytes *= v.shape_.back();
      if (bytes > o.doc->bytes) bytes = static_cast<unsigned __int128>(o.doc->bytes) + 1;
    }
    for (const std::uint64_t extent : v.shape_)
      if (extent == 0) bytes = 0;
    if (v.data_ > o.doc->bytes || bytes > o.doc->bytes - v.data_) {
      if (bytes == 0)
        v.data_ = o.position;
      else
        return {errc::out_of_range, "data inside the blob", o.position};
    }
    v.bytes_ = static_cast<std::uint64_t>(bytes);
    return v;
  }

  const std::vector<std::uint64_t>& shape() const { return shape_; }
  type element() const { return element_; }          // none: see dtype()
  std::string_view dtype() const { return dtype_; }  // JSON; empty for plain elements
  std::uint64_t item_bytes() const { return item_bytes_; }
  std::uint64_t bytes() const { return bytes_; }
  const std::byte* data() const { return o_.doc->base + data_; }
  const typed::object& object() const { return o_; }
  // Errors: wrong_type unless the elements are exactly T.
  template <class T>
  result<std::span<const T>> span() const {
    if (element_ != type_of_arithmetic<T>())
      return {errc::wrong_type, "an n-d array of this very type", o_.position};
    return std::span<const T>(reinterpret_cast<const T*>(data()), bytes_ / sizeof(T));
  }

 private:
  typed::object o_;
  type element_ = type::none;
  std::string_view dtype_;
  std::uint64_t item_bytes_ = 0, bytes_ = 0, data_ = 0;
  std::vector<std::uint64_t> shape_;
};

inline result<nd_view> any_view::nd() const {
  if (!is_reference()) return mismatch("an n-d array");
  const auto o = object();
  if (!o) return o.error();
  return nd_view::of(*o);
}

}  // namespace spillway::typed

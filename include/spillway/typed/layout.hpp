// layout.hpp - where the fields of a record lie: one rule, which writers apply to the types they register and
// readers to the types they were compiled with.
//
// Layout: header word, `has` bits, `null` bits, zeros to a multiple of 8, then the fields, larger ones first
// and equal ones in the order they were described; zeros to a multiple of 8. A blob's schema says where its
// fields are, so readers need no rule; but where the schema agrees with it, a reader's offsets are constants
// of its machine code.
#pragma once
#include <array>
#include <span>

#include "spillway/typed/describe.hpp"
#include "spillway/typed/format.hpp"

namespace spillway::typed {

constexpr std::uint32_t presence_bytes_of(std::size_t fields) {
  return (static_cast<std::uint32_t>(fields) + 7) / 8;
}

// `offset_of(i)` is where the offset of field i goes, `type_of(i)` what it is. Returns the record's bytes.
template <class TypeOf, class OffsetOf>
constexpr std::uint32_t lay_out(std::size_t fields, TypeOf&& type_of, OffsetOf&& offset_of) {
  auto at = static_cast<std::uint32_t>(8 + round_up(2 * presence_bytes_of(fields), 8));
  for (const std::uint32_t bytes : {16u, 8u, 4u, 2u, 1u})
    for (std::size_t i = 0; i < fields; ++i)
      if (bytes_of(type_of(i)) == bytes) offset_of(i) = at, at += bytes;
  return static_cast<std::uint32_t>(round_up(at, 8));
}

namespace detail {

struct native_field {
  std::uint32_t offset = 0, has_at = 0, presence_bytes = 0;
  std::uint8_t bit = 0;
  bool is_set(const std::byte* record) const {
    if (presence_bytes == 1) {  // both bits in one load
      const unsigned both = load<std::uint16_t>(record + has_at);
      return (both & (bit | unsigned{bit} << 8)) == bit;
    }
    const auto has = static_cast<unsigned>(record[has_at]);
    return has & ~static_cast<unsigned>(record[has_at + presence_bytes]) & bit;
  }
};

template <described T>
struct native_layout {
  std::array<native_field, member_count<T>> fields{};
  std::uint32_t record_bytes = 0;
};

template <described T>
constexpr native_layout<T> make_native_layout() {
  native_layout<T> l;
  std::array<type, member_count<T>> types{};
  for_each_member<T>([&](const auto& m, std::size_t i) {
    types[i] = wire_of<typename std::remove_cvref_t<decltype(m)>::value_type>().type;
    l.fields[i].has_at = static_cast<std::uint32_t>(8 + i / 8);
    l.fields[i].presence_bytes = presence_bytes_of(member_count<T>);
    l.fields[i].bit = static_cast<std::uint8_t>(1u << i % 8);
  });
  l.record_bytes = lay_out(
      member_count<T>, [&](std::size_t i) { return types[i]; },
      [&](std::size_t i) -> std::uint32_t& { return l.fields[i].offset; });
  return l;
}

template <described T>
inline constexpr native_layout<T> kNativeLayout = make_native_layout<T>();

}  // namespace detail
}  // namespace spillway::typed

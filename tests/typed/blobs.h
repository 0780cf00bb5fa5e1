// blobs.h - what the tests of typed buffers share: building into memory, opening both ways, a struct of every
// field type.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <spillway/typed.hpp>
#include <string>
#include <vector>

#include "tests/support/catch.h"

namespace spillway::test {

namespace t = spillway::typed;

struct Bytes {
  std::vector<std::byte> data;
  // What is opened stays open as long as the bytes, so that a test may keep a view of it.
  t::blob open() const {
    const t::blob b = t::blob::open(t::shared_memory(data)).value();
    kept.push_back(b);
    return b;
  }
  t::verified_blob verify() const {
    const t::verified_blob b = t::verify(t::own_memory(data)).value();
    kept.push_back(b);
    return b;
  }
  t::errc verdict(const t::verify_options& o = {}) const { return t::verify(t::own_memory(data), o).code(); }
  mutable std::vector<t::blob> kept{};
};

// Everything that `fill` adds; it returns the root.
template <class F>
Bytes build(F&& fill, t::build_options options = {}) {
  t::memory_sink out;
  t::builder b(out, std::move(options));
  const t::ref root = fill(b);
  b.finish(root);
  return {out.take()};
}
inline Bytes build_any(const t::any& value) {
  return build([&](t::builder& b) { return b.add(value); });
}
// The value after a round trip, verified on the way.
inline t::any there_and_back(const t::any& value) {
  const Bytes bytes = build_any(value);
  const t::verified_blob b = bytes.verify();
  return t::root(b).value().clone().value();
}

enum class Colour : std::uint8_t { red = 1, blue = 2 };

struct Address {
  std::string street;
  std::int32_t number = 0;
};

struct Everything {
  bool flag = false;
  std::int8_t i8 = 0;
  std::int16_t i16 = 0;
  std::int32_t i32 = 0;
  std::int64_t i64 = 0;
  std::uint8_t u8 = 0;
  std::uint16_t u16 = 0;
  std::uint32_t u32 = 0;
  std::uint64_t u64 = 0;
  float f32 = 0;
  double f64 = 0;
  std::string text;
  t::bytes raw;
  t::buffer window;
  std::optional<std::int64_t> maybe_number;
  t::maybe<std::string> three_states;
  std::vector<std::string> names;
  std::vector<std::int32_t> numbers;
  t::packed<std::int64_t> packed;
  std::set<std::int64_t> lucky;
  std::map<std::string, std::int32_t> by_name;
  std::map<std::uint32_t, std::string> by_number;
  std::map<double, std::string> by_real;
  std::tuple<std::int64_t, std::string> pair;
  Address home;
  std::unique_ptr<Everything> next;
  std::vector<Address> others;
  t::any anything;
  t::date day;
  t::instant when;
  t::local_time wall;
  t::decimal price;
};
struct Colourful {
  Colour colour = Colour::red;
  t::time_of_day alarm;
  t::nd_array grid;
};

}  // namespace spillway::test

SPILLWAY_TYPED(spillway::test::Address, "test.address", street, number);
SPILLWAY_TYPED(spillway::test::Colourful, "test.colourful", colour, alarm, grid);
SPILLWAY_TYPED(spillway::test::Everything, "test.everything", flag, i8, i16, i32, i64, u8, u16, u32, u64, f32,
               f64, text, raw, window, maybe_number, three_states, names, numbers, packed, lucky, by_name,
               by_number, by_real, pair, home, next, others, anything, day, when, wall, price);

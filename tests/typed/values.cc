// values.cc - any, numbers, sets, maps, times, decimals, n-d arrays.
#include <cmath>
#include <limits>
#include <random>

#include "tests/typed/blobs.h"

using namespace spillway::test;
namespace typed = spillway::typed;
using typed::any;
using typed::errc;

TEST_CASE("an any gives back the same type and value") {
  const typed::decimal price = typed::decimal::parse("1.50").value();
  for (const any& v :
       std::vector<any>{nullptr,
                        true,
                        false,
                        0,
                        1,
                        -1,
                        INT64_MIN,
                        INT64_MAX,
                        std::uint64_t{5},
                        UINT64_MAX,
                        1.0f,
                        1.0,
                        -0.0,
                        INFINITY,
                        "",
                        "text",
                        "a text of more than eight",
                        typed::bytes{"raw"},
                        typed::bytes{"raw bytes, more than eight"},
                        typed::buffer{""},
                        typed::buffer{"window"},
                        typed::date::civil(2024, 2, 29),
                        typed::instant{1, typed::unit::s},
                        typed::instant{-1, typed::unit::ns, 19800},
                        typed::instant{7, typed::unit::us, 0, "UTC"},
                        typed::local_time{5, typed::unit::ms},
                        typed::time_of_day{1},
                        typed::time_of_day{5, -3600},
                        price,
                        typed::any_list{},
                        typed::any_tuple{},
                        typed::any_set{},
                        typed::any_map{},
                        typed::any_list{{1, 2.5, "x", nullptr, true}},
                        typed::any_list{{1, 2, 3}},
                        typed::any_tuple{{1, 2, 3}},
                        typed::any_tuple{{1, "a"}},
                        typed::any_list{{true, false}},
                        typed::any_list{{0.5, 1.0}},
                        typed::any_set{{1, 2, 3}},
                        typed::any_set{{"a", 1, nullptr}},
                        typed::any_set{{0.5, 2.0}},
                        typed::any_map{{{1, "one"}, {"two", 2}, {nullptr, typed::any_list{{1}}}}},
                        typed::nd_array{typed::type::f64, "", 8, {2}, std::string(16, '\1')}}) {
    const any back = there_and_back(v);
    CHECK(back.value.index() == v.value.index());
    CHECK(back == v);
  }
  CHECK(there_and_back(any(true)) != any(1));
  CHECK_FALSE(any(1) == any(1.0));
}

TEST_CASE("integer lists pick the narrowest width that holds every element") {
  const auto element = [](std::vector<any> items) {
    return typed::root(build_any(typed::any_list{std::move(items)}).open())->list()->element();
  };
  CHECK(element({0, 255}) == typed::type::u8);
  CHECK(element({-1, 127}) == typed::type::i8);
  CHECK(element({-1, 128}) == typed::type::i16);
  CHECK(element({0, 256}) == typed::type::u16);
  CHECK(element({-32769, 0}) == typed::type::i32);
  CHECK(element({70000}) == typed::type::u32);
  CHECK(element({-1, 5000000000}) == typed::type::i64);
  CHECK(element({1.5, 2.5}) == typed::type::f64);
  CHECK(element({true, false}) == typed::type::boolean);
  CHECK(element({1, true}) == typed::type::none);
  CHECK(element({1, nullptr, "x"}) == typed::type::none);
}

TEST_CASE("a list of more than 2^24 items works") {
  constexpr std::uint64_t kItems = (1 << 24) + 3;
  const Bytes bytes = build([](typed::builder& b) {
    typed::array_builder<std::uint8_t> a(b);
    for (std::uint64_t i = 0; i < kItems; ++i) a.add(static_cast<std::uint8_t>(i * 7));
    return a.finish();
  });
  const auto blob = bytes.verify();
  const auto list = *typed::root(blob)->list();
  CHECK(list.size() == kItems);
  for (const std::uint64_t i : {std::uint64_t{0}, std::uint64_t{1} << 24, kItems - 1})
    CHECK(*list[i].integer() == static_cast<std::uint8_t>(i * 7));
  CHECK(list.at(kItems).code() == errc::no_such);
  CHECK((list.data() - bytes.data.data()) % 64 == 0);
}

TEST_CASE("slices of slices, reversed, behave as a native sequence's") {
  std::vector<any> items;
  for (int i = 0; i < 20; ++i) items.push_back(i % 2 ? any(i) : any("s" + std::to_string(i)));
  for (const bool packed : {false, true}) {
    std::vector<any> source = items;
    if (packed)
      for (int i = 0; i < 20; ++i) source[static_cast<std::size_t>(i)] = i;
    const Bytes bytes = build_any(typed::any_list{source});
    const auto list = *typed::root(bytes.open())->list();
    const auto cut = list.slice(18, -3, 6).slice(1, 2, 2).reversed();  // 18 15 12 9 6 3 -> 15 9 -> 9 15
    REQUIRE(cut.size() == 2);
    CHECK(*cut[0].clone() == source[9]);
    CHECK(*cut[1].clone() == source[15]);
    CHECK(list.slice(5, 1, 0).reversed().size() == 0);
    std::size_t i = 20;
    for (const auto& v : list.reversed()) CHECK(*v.clone() == source[--i]);
  }
}

TEST_CASE("comparison, membership and masks of lists and slices behave as the native sequence's") {
  const Bytes bytes =
      build_any(typed::any_list{{typed::any_list{{1, 2, 3, 2, 1}}, typed::any_list{{1, 2, any(nullptr)}},
                                 typed::any_list{{1, 2, 300}}, typed::any_list{{1.0, 2.0}}}});
  const auto all = *typed::root(bytes.open())->list();
  const auto numbers = *all[0].list(), mixed = *all[1].list(), wide = *all[2].list(), reals = *all[3].list();
  CHECK(numbers.element() == typed::type::u8);
  CHECK(wide.element() == typed::type::u16);
  CHECK(*numbers.equals(numbers.reversed()));
  CHECK(*numbers.slice(0, 1, 2).equals(mixed.slice(0, 1, 2)));
  CHECK(*numbers.slice(0, 1, 2).equals(wide.slice(0, 1, 2)));
  CHECK_FALSE(*numbers.equals(numbers.slice(0, 1, 4)));
  CHECK_FALSE(*numbers.slice(0, 1, 3).equals(wide));
  CHECK_FALSE(*numbers.slice(0, 1, 2).equals(reals));  // another type, as any's ==
  CHECK(*numbers.contains(3));
  CHECK_FALSE(*numbers.slice(0, 1, 2).contains(3));
  CHECK_FALSE(*numbers.contains(nullptr));
  CHECK(*mixed.contains(nullptr));
  CHECK_FALSE(*mixed.contains(true));
  const auto chosen = numbers.reversed().select({true, false, true, false, true}).value();
  REQUIRE(chosen.size() == 3);
  CHECK(*chosen[1].integer() == 3);
  CHECK(numbers.slice(0, 1, 0).select({}).value().empty());
  CHECK(numbers.select({true}).code() == errc::wrong_type);
}

TEST_CASE(
    "integer sets are bitmaps or blocks when that is smaller, and agree with native sets across encodings") {
  std::mt19937 random(7);
  const auto set_of = [](const std::set<std::int64_t>& s) {
    return build([&](typed::builder& b) { return b.integer_set({s.begin(), s.end()}); });
  };
  std::vector<std::set<std::int64_t>> natives = {
      {}, {0}, {-1}, {63, 64}, {INT64_MIN, INT64_MAX}, {-64, -65, 0, 1}};
  std::set<std::int64_t> dense, clustered, sparse;
  for (int i = 0; i < 500; ++i) dense.insert(random() % 1000);
  for (int i = 0; i < 2000; ++i)
    clustered.insert(static_cast<std::int64_t>(random() % 20) * 100000000 + random() % 200);
  for (int i = 0; i < 300; ++i) sparse.insert(static_cast<std::int32_t>(random()));
  natives.insert(natives.end(), {dense, clustered, sparse});
  std::vector<Bytes> stored;
  for (const auto& n : natives) stored.push_back(set_of(n));
  const auto kind_of = [&](std::size_t i) { return typed::root(stored[i].open())->set()->object().h().kind; };
  CHECK(kind_of(6) == typed::kind::set_bits);
  CHECK(kind_of(7) == typed::kind::set_blocks);
  CHECK(kind_of(8) == typed::kind::set_sorted);
  CHECK(stored[6].data.size() < 500);

  for (std::size_t i = 0; i < natives.size(); ++i) {
    const auto blob = stored[i].verify();
    const auto set = *typed::root(blob)->set();
    std::set<std::int64_t> back;
    set.for_each([&](const typed::any_view& v) { back.insert(*v.integer()); });
    CHECK(back == natives[i]);
    CHECK(set.size() == natives[i].size());
    for (const std::int64_t probe : {INT64_MIN, std::int64_t{-65}, std::int64_t{-1}, std::int64_t{0},
                                     std::int64_t{63}, std::int64_t{999}, INT64_MAX})
      CHECK(set.contains(probe) == (natives[i].count(probe) == 1));
    CHECK_FALSE(set.contains(any(0.5)));
    CHECK_FALSE(set.contains(any("0")));
    CHECK(set.contains(any(0.0)) == (natives[i].count(0) == 1));
    for (std::size_t k = 0; k < natives.size(); ++k) {
      const auto other_blob = stored[k].open();
      const auto other = *typed::root(other_blob)->set();
      CHECK(*set.equals(other) == (natives[i] == natives[k]));
      CHECK(*set.subset_of(other) ==
            std::includes(natives[k].begin(), natives[k].end(), natives[i].begin(), natives[i].end()));
    }
  }
  // Algebra, also with sets of values of other types.
  std::vector<Bytes> other_kinds;
  other_kinds.push_back(build_any(typed::any_set{{1, 2.0, "x", nullptr}}));
  other_kinds.push_back(build_any(typed::any_set{{0.0, 0.5, 64.0}}));
  other_kinds.push_back(build([](typed::builder& b) { return b.unsigned_set({0, 63, UINT64_MAX}); }));
  std::vector<typed::blob> blobs;
  std::vector<typed::set_view> sets;
  for (const auto* group : {&stored, &other_kinds})
    for (const Bytes& bytes : *group) {
      blobs.push_back(bytes.open());
      sets.push_back(*typed::root(blobs.back())->set());
    }
  const auto keys_of = [](const std::vector<typed::any_view>& members) {
    std::set<std::string> keys;
    for (const auto& v : members) {
      typed::key_writer w;
      REQUIRE(typed::write_key(w, v));
      CHECK(keys.insert(w.bytes()).second);  // none twice
    }
    return keys;
  };
  for (const auto& a : sets)
    for (const auto& b : sets) {
      const auto x = *a.keys(), y = *b.keys();
      const auto check = [&](const typed::result<std::vector<typed::any_view>>& got, auto algorithm) {
        std::set<std::string> expected;
        algorithm(x.begin(), x.end(), y.begin(), y.end(), std::inserter(expected, expected.end()));
        CHECK(keys_of(*got) == expected);
        return expected.size();
      };
      const auto common = check(typed::intersection_of(a, b), [](auto... r) { std::set_intersection(r...); });
      check(typed::union_of(a, b), [](auto... r) { std::set_union(r...); });
      check(typed::difference_of(a, b), [](auto... r) { std::set_difference(r...); });
      check(typed::symmetric_difference_of(a, b), [](auto... r) { std::set_symmetric_difference(r...); });
      CHECK(*typed::disjoint(a, b) == (common == 0));
    }
  const auto both = *typed::intersection_of(sets[5], sets[1]);  // {-65, -64, 0, 1} and {0}
  REQUIRE(both.size() == 1);
  CHECK(*both[0].integer() == 0);
  // The same members in a set of any values.
  const Bytes mixed = build_any(typed::any_set{{1, 2.0, "x"}}), plain = build_any(typed::any_set{{1, 2}});
  const auto a = *typed::root(plain.open())->set();
  const auto mixed_blob = mixed.open();
  CHECK(*a.subset_of(*typed::root(mixed_blob)->set()));
  CHECK(typed::root(mixed_blob)->set()->contains(any(2)));
}

TEST_CASE("maps take keys of every type, and equal numbers are one key") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<std::pair<any, any>> items;
  const std::vector<any> keys = {"text",
                                 7,
                                 -7,
                                 0.5,
                                 INFINITY,
                                 -INFINITY,
                                 nan,
                                 nullptr,
                                 typed::any_tuple{{1, "a", nullptr}},
                                 typed::any_set{{1, "b"}},
                                 typed::bytes{"text"},
                                 UINT64_MAX,
                                 typed::date{5},
                                 typed::decimal::parse("0.1").value(),
                                 typed::instant{5, typed::unit::s}};
  for (std::size_t i = 0; i < keys.size(); ++i) items.emplace_back(keys[i], any(i));
  const Bytes bytes = build_any(typed::any_map{items});
  const auto blob = bytes.verify();
  const auto m = *typed::root(blob)->map();
  CHECK(m.size() == keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto at = *m.find(keys[i]);
    REQUIRE(at != typed::map_view::npos);
    CHECK(*m.value(at).uinteger() == i);
  }
  CHECK(m.contains(any(7.0)));
  CHECK(m.contains(any(typed::decimal::parse("7.00").value())));
  CHECK(m.contains(any(typed::decimal::parse("0.50").value())));
  CHECK_FALSE(m.contains(any(0.1)));  // the decimal 0.1 is no double
  CHECK(m.contains(any(18446744073709551615ull)));
  CHECK(m.contains(any(typed::any_tuple{{1.0, "a", nullptr}})));
  CHECK(m.contains(any(typed::any_set{{"b", true}})));
  CHECK(m.contains(any(typed::instant{5000, typed::unit::ms, 3600})));
  CHECK_FALSE(m.contains(any(8)));
  CHECK_FALSE(m.contains(any(typed::any_list{{1, "a", nullptr}})));
  CHECK_THROWS_AS(m.find(any(typed::any_map{})), typed::failure);
  // Keys as a program writes them are the same ones.
  CHECK(*m.find("text") == *m.find(any("text")));
  CHECK(*m.find(std::string("text")) == *m.find(any("text")));
  CHECK(*m.find(-7) == *m.find(any(-7)));
  CHECK(*m.find(-7) != typed::map_view::npos);
  CHECK(*m.find(7) == *m.find(any(7)));
  CHECK(*m.find(nullptr) == *m.find(any(nullptr)));
  CHECK(*m.find(-1) == typed::map_view::npos);

  // true, 1, 1.0 and 1.00 come down to one entry, the last one.
  const Bytes ones = build_any(typed::any_map{{{true, "a"},
                                               {1, "b"},
                                               {1.0, "c"},
                                               {typed::decimal::parse("1.00").value(), "d"},
                                               {0.0, "z"},
                                               {-0.0, "y"}}});
  const auto one = *typed::root(ones.open())->map();
  CHECK(one.size() == 2);
  CHECK(*one.value(*one.find(any(1))).text()->view() == "d");
}

TEST_CASE("instants keep their unit and zone; local times are a type of their own; dates have no zone") {
  for (const int year : {1, 1900, 1969, 1970, 2060, 9999}) {
    const typed::date d = typed::date::civil(year, 12, 31);
    CHECK(d.ymd() == std::array<int, 3>{year, 12, 31});
    CHECK(there_and_back(d) == any(d));
  }
  const typed::instant berlin{-2208988800000, typed::unit::ms, 3600, "Europe/Berlin"};  // 1900
  const any back = there_and_back(berlin);
  const auto* t = back.get<typed::instant>();
  REQUIRE(t);
  CHECK(t->ticks == berlin.ticks);
  CHECK(t->unit == typed::unit::ms);
  CHECK(t->offset_s == 3600);
  CHECK(t->zone == "Europe/Berlin");
  CHECK(typed::to_text(*t) == "1900-01-01T01:00:00.000+01:00[Europe/Berlin]");
  CHECK(there_and_back(typed::local_time{5}).get<typed::instant>() == nullptr);
  for (const auto unit : {typed::unit::s, typed::unit::ms, typed::unit::us, typed::unit::ns})
    for (const std::int32_t offset : {typed::kNoOffset, 0, 1172, -34200, 50400})
      for (const char* zone : {"", "UTC", "Asia/Kathmandu"})
        for (const std::int64_t ticks : {std::int64_t{-1}, std::int64_t{0}, std::int64_t{1729990800}}) {
          const typed::instant at{ticks, unit, offset, zone};
          for (const any& v : {there_and_back(at),
                               there_and_back(typed::any_list{{"x", at}}).get<typed::any_list>()->items[1]}) {
            const auto* got = v.get<typed::instant>();
            REQUIRE(got);
            CHECK((got->ticks == ticks && got->unit == unit && got->offset_s == offset && got->zone == zone));
          }
        }
  CHECK_THROWS_WITH(build_any(typed::date{2932897}), Catch::Contains("9999"));
  CHECK_THROWS_WITH(build_any(typed::instant{INT64_MAX, typed::unit::s}), Catch::Contains("9999"));
  CHECK_THROWS_WITH(build_any(typed::time_of_day{86400000000000}), Catch::Contains("24 hours"));
}

TEST_CASE("decimals keep their text: sign, scale, NaN, infinity") {
  for (const char* s :
       {"0", "-0", "1", "1.0", "1.00", "-12.5", "0.001", "1E+3", "1.5E-10", "NaN", "-NaN", "sNaN", "NaN123",
        "Infinity", "-Infinity", "123456789012345678901234567890.123456789", "0.000001", "1E-7", "0E+5"}) {
    const auto d = typed::decimal::parse(s);
    REQUIRE(d);
    CHECK(d->str() == s);
    const any back = there_and_back(*d);
    CHECK(back.get<typed::decimal>()->str() == s);
  }
  for (const char* s :
       {"", "-", ".", "1e", "e5", "1.2.3", "12x", "nanx", "infinit", "1e99999999999999999999", " 1"})
    CHECK_FALSE(typed::decimal::parse(s));
}

TEST_CASE("n-d arrays are empty, flat, square or structured, and aligned to 64 bytes") {
  const auto check = [](const typed::nd_array& a) {
    const Bytes bytes = build_any(typed::any_list{{"before", a}});
    const auto blob = bytes.verify();
    const auto list = *typed::root(blob)->list();
    const auto n = *list[1].nd();
    CHECK(n.shape() == a.shape);
    CHECK(std::string_view(reinterpret_cast<const char*>(n.data()), n.bytes()) == a.data);
    if (n.bytes()) CHECK((n.data() - bytes.data.data()) % 64 == 0);
    CHECK(*list[1].clone() == any(a));
  };
  check({typed::type::f64, "", 8, {0}, ""});
  check({typed::type::f64, "", 8, {3, 0, 2}, ""});
  check({typed::type::i32, "", 4, {}, std::string(4, '\5')});
  check({typed::type::u8, "", 1, {3}, "abc"});
  check({typed::type::i16, "", 2, {2, 3}, std::string(12, 'x')});
  check({typed::type::none, "[[\"a\", \"<i4\"], [\"b\", \"<f8\"]]", 12, {2}, std::string(24, 'y')});
  CHECK_THROWS_AS(build_any(typed::nd_array{typed::type::f64, "", 8, {2}, "short"}), typed::failure);

  // Elements that do not lie row by row are stored row by row.
  const std::vector<std::int16_t> columns = {1, 4, 2, 5, 3, 6};  // columns of {1, 2, 3}, {4, 5, 6}
  const auto strided = [&](std::vector<std::uint64_t> shape, const std::vector<std::int64_t>& strides,
                           std::size_t first) {
    const auto a = typed::nd_array::strided(typed::type::i16, std::move(shape), strides, &columns[first]);
    check(a);
    std::vector<std::int16_t> rows(a.data.size() / 2);
    if (!rows.empty()) std::memcpy(rows.data(), a.data.data(), a.data.size());
    return rows;
  };
  using Rows = std::vector<std::int16_t>;
  CHECK(strided({2, 3}, {2, 4}, 0) == Rows{1, 2, 3, 4, 5, 6});
  CHECK(strided({2, 2}, {2, 8}, 0) == Rows{1, 3, 4, 6});                    // every second column
  CHECK(strided({3, 2}, {-4, -2}, 5) == Rows{6, 3, 5, 2, 4, 1});            // backwards
  CHECK(strided({2, 2, 2}, {0, 2, 4}, 0) == Rows{1, 2, 4, 5, 1, 2, 4, 5});  // one plane twice
  CHECK(strided({2, 0}, {2, 4}, 0).empty());
  CHECK(strided({}, {}, 3) == Rows{5});
  CHECK_THROWS_WITH(strided({2, 3}, {2}, 0), Catch::Contains("a stride for each extent"));
}

TEST_CASE("binary search over ten element types finds the leftmost position and the insertion point") {
  const auto check = [](auto like) {
    using T = decltype(like);
    std::vector<T> v;
    for (const int x : {1, 3, 3, 3, 7, 9, 100}) v.push_back(static_cast<T>(x));
    const std::span<const T> s(v);
    CHECK(typed::search_left(s, T(3)) == 1);
    CHECK(typed::search_left(s, T(0)) == 0);
    CHECK(typed::search_left(s, T(8)) == 5);
    CHECK(typed::search_left(s, T(101)) == 7);
    CHECK(typed::search_left(s, 3.5) == 4);
    CHECK(typed::search_left(s, -1) == 0);
    CHECK(typed::search_left(s, UINT64_MAX) == 7);
    CHECK(typed::search_contains(s, 9));
    CHECK_FALSE(typed::search_contains(s, 9.5));
    CHECK(typed::search_left(std::span<const T>(), T(1)) == 0);
    for (std::size_t hint = 0; hint <= v.size() + 2; ++hint)
      for (int x = -1; x < 103; ++x) CHECK(typed::search_near(s, x, hint) == typed::search_left(s, x));
    CHECK(typed::search_near(std::span<const T>(), T(1), 5) == 0);
  };
  check(std::int8_t{}), check(std::uint8_t{}), check(std::int16_t{}), check(std::uint16_t{}),
      check(std::int32_t{});
  check(std::uint32_t{}), check(std::int64_t{}), check(std::uint64_t{}), check(float{}), check(double{});
}

TEST_CASE("the hash of bytes is the hash of their words, the last one filled with zeros") {
  std::string bytes;
  for (int i = 0; i < 40; ++i) bytes += static_cast<char>(i * 37 + 200);
  for (std::size_t n = 0; n <= bytes.size(); ++n) {
    std::uint64_t state = typed::hash_begin(7, n);
    for (std::size_t at = 0; at < n; at += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, std::min<std::size_t>(8, n - at));
      state = typed::hash_step(state, word);
    }
    // In memory of its own, so that a sanitizer sees what is read beside it.
    const std::vector<char> exact(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
    CHECK(typed::hash64(exact.data(), n, 7) == typed::hash_end(state));
  }
}

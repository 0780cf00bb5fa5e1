// records.cc - records: field states, every field type, schemas that changed, inheritance.
#include "tests/typed/blobs.h"

using namespace spillway::test;
namespace typed = spillway::typed;
using typed::errc;

namespace {

Everything sample() {
  Everything e;
  e.flag = true, e.i8 = -8, e.i16 = -1600, e.i32 = -320000, e.i64 = INT64_MIN;
  e.u8 = 255, e.u16 = 65535, e.u32 = 4000000000, e.u64 = UINT64_MAX, e.f32 = 1.5f, e.f64 = 0.1;
  e.text = "größer als acht Zeichen", e.raw = {std::string("\0\xff", 2)}, e.window = {"window on the blob"};
  e.maybe_number = 7;
  e.names = {"", "Ann", "a longer name than a slot holds"};
  e.numbers = {1, -2, 3}, e.packed = {1, 2, 300};
  e.lucky = {3, 7, 1000000};
  e.by_name = {{"one", 1}, {"two", 2}}, e.by_number = {{1, "one"}, {4000000000, "many"}},
  e.by_real = {{0.5, "half"}, {2, "two"}};
  e.pair = {5, "five"};
  e.home = {"Spillway Road", 12};
  e.next = std::make_unique<Everything>();
  e.next->text = "the next one";
  e.others = {{"A", 1}, {"B", 2}};
  e.anything = typed::any_list{{typed::any(1), typed::any("two"), typed::any(nullptr)}};
  e.day = typed::date::civil(1900, 2, 28);
  e.when = {-5, typed::unit::ms, 3600, "Europe/Berlin"};
  e.wall = {123456789, typed::unit::us, 1};
  e.price = typed::decimal::parse("-12.50").value();
  return e;
}

template <class View>
void check_sample(const View& v) {
  CHECK(*v.template get<&Everything::flag>());
  CHECK(*v.template get<&Everything::i8>() == -8);
  CHECK(*v.template get<&Everything::i16>() == -1600);
  CHECK(*v.template get<&Everything::i32>() == -320000);
  CHECK(*v.template get<&Everything::i64>() == INT64_MIN);
  CHECK(*v.template get<&Everything::u8>() == 255);
  CHECK(*v.template get<&Everything::u64>() == UINT64_MAX);
  CHECK(*v.template get<&Everything::f32>() == 1.5f);
  CHECK(*v.template get<&Everything::f64>() == 0.1);
  CHECK(*v.template get<&Everything::text>()->str() == "größer als acht Zeichen");
  CHECK(*v.template get<&Everything::raw>()->view() == std::string_view("\0\xff", 2));
  CHECK(*v.template get<&Everything::window>()->view() == "window on the blob");
  CHECK(*v.template get<&Everything::maybe_number>() == 7);
  CHECK(v.template has<&Everything::three_states>() == typed::state::absent);
  const auto names = *v.template get<&Everything::names>();
  CHECK(names.size() == 3);
  CHECK(*names[0]->view() == "");
  CHECK(*names[2]->view() == "a longer name than a slot holds");
  CHECK(names[3].code() == errc::no_such);
  CHECK(v.template get<&Everything::numbers>()->clone() == std::vector<std::int32_t>{1, -2, 3});
  CHECK(v.template get<&Everything::numbers>()->span()->size() == 3);
  CHECK(v.template get<&Everything::packed>()->element() == typed::type::u16);
  CHECK((*v.template get<&Everything::packed>())[2] == 300);
  CHECK(v.template get<&Everything::lucky>()->contains(1000000));
  CHECK_FALSE(v.template get<&Everything::lucky>()->contains(4));
  CHECK(*v.template get<&Everything::by_name>()->find("two") == 2);
  CHECK(v.template get<&Everything::by_name>()->find("three").code() == errc::no_such);
  CHECK(*v.template get<&Everything::by_number>()->find(4000000000)->view() == "many");
  CHECK(*v.template get<&Everything::by_real>()->find(typed::any(2))->view() == "two");
  CHECK(v.template get<&Everything::pair>()->is_tuple());
  const auto home = *v.template get<&Everything::home>();
  CHECK(*home.template get<&Address::number>() == 12);
  CHECK(*v.template get<&Everything::next>()->template get<&Everything::text>()->view() == "the next one");
  CHECK(*(*v.template get<&Everything::others>())[1]->template get<&Address::street>()->view() == "B");
  CHECK(*v.template get<&Everything::anything>()->clone() == sample().anything);
  CHECK(*v.template get<&Everything::day>() == sample().day);
  CHECK(v.template get<&Everything::when>()->zone == "Europe/Berlin");
  CHECK(v.template get<&Everything::when>()->unit == typed::unit::ms);
  CHECK(v.template get<&Everything::wall>()->fold == 1);
  CHECK(v.template get<&Everything::price>()->str() == "-12.50");
}

}  // namespace

TEST_CASE("a record of every field type reads back in checked and in proven views") {
  const Bytes bytes = build([](typed::builder& b) { return b.add(sample()); });
  const auto checked = bytes.open();
  check_sample(*typed::root<Everything>(checked));
  const auto proven = bytes.verify();
  check_sample(*typed::root<Everything>(proven));
}

TEST_CASE("a clone of a record packs again to equal bytes") {
  const Bytes bytes = build([](typed::builder& b) { return b.add(sample()); });
  const auto blob = bytes.verify();
  const Everything clone = typed::root<Everything>(blob)->clone();
  const Bytes again = build([&](typed::builder& b) { return b.add(clone); });
  CHECK(bytes.data == again.data);
}

TEST_CASE("a view packed again, without a clone, is an equal record") {
  const Bytes bytes = build([](typed::builder& b) { return b.add(sample()); });
  const auto blob = bytes.verify();
  const Bytes again = build([&](typed::builder& b) {
    typed::copier copier(blob.doc(), b);
    const typed::item copied = copier.copy(*typed::root(blob));
    return typed::ref{copied.s.payload, copied.depth, typed::kind::record};
  });
  check_sample(*typed::root<Everything>(again.verify()));
}

TEST_CASE("enums, times of day and n-d arrays are fields") {
  Colourful c;
  c.colour = Colour::blue;
  c.alarm = {3600000000000, -7200};
  c.grid = {typed::type::i16, "", 2, {2, 2}, std::string("\1\0\2\0\3\0\4\0", 8)};
  const Bytes bytes = build([&](typed::builder& b) { return b.add(c); });
  const auto blob = bytes.verify();
  const auto v = *typed::root<Colourful>(blob);
  CHECK(*v.get<&Colourful::colour>() == Colour::blue);
  CHECK(*v.get<&Colourful::alarm>() == c.alarm);
  CHECK((*v.get<&Colourful::grid>()->span<std::int16_t>())[3] == 4);
  CHECK(v.clone().grid == c.grid);
}

TEST_CASE("records of 7 to 200 integer fields return every field, also with some absent or null") {
  for (const unsigned n : {7u, 8u, 9u, 15u, 16u, 17u, 31u, 32u, 33u, 63u, 64u, 65u, 200u}) {
    for (const unsigned step : {1u, 2u, 3u, 7u}) {
      const Bytes bytes = build([&](typed::builder& b) {
        const auto index = b.registry().reserve("wide");
        std::vector<typed::field_info> fields;
        for (unsigned i = 0; i < n; ++i)
          fields.push_back(
              {"f" + std::to_string(i), i + 1, 0, static_cast<typed::type>(2 + i % 8), {}, typed::kNoType});
        b.registry().define(index, fields);
        typed::builder::record_draft d(b, index);
        for (unsigned i = 0; i < n; ++i) {
          if (i % step == 1) continue;
          if (i % step == 2)
            d.set_null(i);
          else
            d.bytes().put(d.field(i).offset, static_cast<std::uint8_t>(i % 100)), d.mark_set(i);
        }
        return d.place();
      });
      const auto blob = bytes.verify();
      const auto r = typed::root(blob)->record().value();
      REQUIRE(r.size() == n);
      for (unsigned i = 0; i < n; ++i) {
        const auto field = r.field("f" + std::to_string(i));
        if (i % step == 1)
          CHECK(field.code() == errc::absent);
        else if (i % step == 2)
          CHECK(field->is_null());
        else
          CHECK(*field->integer() == i % 100);
      }
      CHECK(r.field("g").code() == errc::no_such);
    }
  }
}

TEST_CASE("absent, null and set are three states, and reading says which") {
  for (int which = 0; which < 3; ++which) {
    Everything e;
    if (which == 1) e.three_states = nullptr;
    if (which == 2) e.three_states = std::string("set");
    const Bytes bytes = build([&](typed::builder& b) { return b.add(e); });
    const auto blob = bytes.verify();
    const auto v = *typed::root<Everything>(blob);
    CHECK(v.has<&Everything::three_states>() == static_cast<typed::state>(which));
    const auto got = v.get<&Everything::three_states>();
    CHECK(got.code() == (which == 0 ? errc::absent : which == 1 ? errc::null_value : errc::ok));
    if (which < 2) CHECK_THAT(got.error().message(), Catch::Contains("three_states"));
    CHECK(v.clone().three_states.is_absent() == (which == 0));
    CHECK(v.clone().three_states.is_null() == (which == 1));
  }
}

TEST_CASE("texts may be empty, hold NULs and any character, and be very long") {
  std::string random(256000, '\0');
  std::uint32_t state = 1;
  for (char& c : random) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  const std::string compressible(100000, 'x');
  for (const std::string& s :
       {std::string(), std::string("\0", 1), std::string("a\0b", 3), std::string("12345678"),
        std::string("123456789"), std::string("\u00e9\u6f22\U0001f600"), compressible})
    CHECK(there_and_back(typed::any(s)) == typed::any(s));
  CHECK(there_and_back(typed::bytes{random}) == typed::any(typed::bytes{random}));
  CHECK_THROWS_WITH(build_any(typed::any(random)), Catch::Contains("UTF-8"));

  CHECK(build_any(typed::any(compressible)).data.size() < 2000);       // a third is saved
  CHECK(build_any(typed::bytes{random}).data.size() > 256000);         // nothing would be
  CHECK(build_any(typed::buffer{compressible}).data.size() > 100000);  // buffers are windows
  const Bytes bytes = build_any(typed::any(compressible));
  const auto text = typed::root(bytes.open())->text();
  CHECK(text->is_compressed());
  CHECK(*text->size() == 100000);
  CHECK(text->view().code() == errc::unsupported);
  CHECK(text->str(99999).code() == errc::too_much);
}

TEST_CASE(
    "a record in a field, in any, in a list and in a map stays readable, by name where its type is unknown") {
  const Address a{"Main Street", 5};
  Everything e;
  e.home = a;
  e.anything = typed::any_of(a);
  const Bytes bytes = build([&](typed::builder& b) {
    return b.add(
        typed::any(typed::any_map{{{typed::any("list"), typed::any_list{{typed::any_of(a)}}},
                                   {typed::any("map"), typed::any_map{{{typed::any(1), typed::any_of(a)}}}},
                                   {typed::any("record"), typed::any_of(std::move(a))}}}));
  });
  const auto blob = bytes.verify();
  const auto m = *typed::root(blob)->map();
  const auto value = [&](const char* key) { return m.value(*m.find(typed::any(key))); };
  const auto by_name = value("record").record().value();
  CHECK(by_name.type().name == "test.address");
  CHECK(*by_name.field("number")->integer() == 5);
  CHECK(*typed::as<Address>(value("list").list()->at(0).value())->get<&Address::street>()->view() ==
        "Main Street");
  const auto inner = *value("map").map();
  CHECK(*typed::as<Address>(inner.value(*inner.find(typed::any(1))))->get<&Address::number>() == 5);

  const Bytes in_fields = build([&](typed::builder& b) { return b.add(e); });
  const auto v = *typed::root<Everything>(in_fields.verify());
  CHECK(*typed::as<Address>(*v.get<&Everything::anything>())->get<&Address::number>() == 5);
}

// --- schemas that changed
// -----------------------------------------------------------------------------------------------
namespace {
struct V1 {
  std::int32_t a = 1;
  std::string b = "b";
  float c = 2.5f;
  std::vector<std::int16_t> d{1, 2};
};
struct V2 {  // a widened, b renamed, c widened, d to a wider array, e added, order changed
  double c = 0;
  std::string renamed;
  std::int64_t a = 0;
  std::optional<std::int64_t> e;
  std::vector<std::int64_t> d;
};
struct V3 {  // a became text
  std::string a;
};
struct Holder {
  V1 inner;
};
struct Holder3 {
  V3 inner;
};
struct Base {
  std::int64_t id = 0;
};
struct Derived : Base {
  std::string extra;
};
struct Hiding : Base {
  std::int64_t own = 0;
};
}  // namespace
template <>
struct spillway::typed::describe<V1> {
  static constexpr const char* name = "v";
  static constexpr auto members =
      fields(field<1>("a", &V1::a), field<2>("b", &V1::b), field<3>("c", &V1::c), field<4>("d", &V1::d));
};
template <>
struct spillway::typed::describe<V2> {
  static constexpr const char* name = "v";
  static constexpr auto members = fields(field<3>("c", &V2::c), field<2>("renamed", &V2::renamed),
                                         field<1>("a", &V2::a), field<5>("e", &V2::e), field<4>("d", &V2::d));
};
struct V4 {  // a, c and d removed
  std::string b;
};
template <>
struct spillway::typed::describe<V4> {
  static constexpr const char* name = "v";
  static constexpr auto members = fields(field<2>("b", &V4::b));
};
SPILLWAY_TYPED(V3, "v", a);
SPILLWAY_TYPED(Holder, "holder", inner);
SPILLWAY_TYPED(Holder3, "holder", inner);
SPILLWAY_TYPED(Base, "base", id);
template <>
struct spillway::typed::describe<Derived> {
  static constexpr const char* name = "derived";
  static constexpr auto members = fields(base<Base>(), field<2>("extra", &Derived::extra));
};

template <>
struct spillway::typed::describe<Hiding> {
  static constexpr const char* name = "hiding";
  static constexpr auto members = fields(base<Base>(), field<2>("id", &Hiding::own));
};

TEST_CASE("added, removed, reordered, renamed and widened fields are read across versions") {
  const Bytes old = build([](typed::builder& b) {
    b.set_user_data(typed::any("made by version 1"));
    return b.add(V1{-7, "text", 0.5f, {3, -4}});
  });
  const auto blob = old.verify();
  const auto v = *typed::root<V2>(blob);
  CHECK(*v.get<&V2::a>() == -7);
  CHECK(*v.get<&V2::renamed>()->view() == "text");
  CHECK(*v.get<&V2::c>() == 0.5);
  CHECK(v.get<&V2::d>()->clone() == std::vector<std::int64_t>{3, -4});
  CHECK(v.get<&V2::e>().code() == errc::absent);
  CHECK(*typed::user_data(blob)->text()->view() == "made by version 1");

  CHECK(*typed::root<V4>(blob)->get<&V4::b>()->view() == "text");

  // A newer writer's record in an older reader: what it does not know is skipped, what cannot be narrowed is
  // an error.
  const Bytes newer = build([](typed::builder& b) { return b.add(V2{}); });
  const auto narrowed = typed::root<V1>(newer.verify());
  CHECK(narrowed.code() == errc::incompatible);
}

TEST_CASE("an incompatible change is an error at open, with the field's name, also in nested records") {
  const Bytes old = build([](typed::builder& b) { return b.add(V1{}); });
  const auto v = typed::root<V3>(old.verify());
  CHECK(v.code() == errc::incompatible);
  CHECK_THAT(v.error().message(), Catch::Contains("a:"));
  const Bytes nested = build([](typed::builder& b) { return b.add(Holder{}); });
  CHECK(typed::root<Holder3>(nested.open()).code() == errc::incompatible);
  CHECK(typed::root<Base>(nested.open()).code() == errc::wrong_type);
}

TEST_CASE("base fields are part of the derived record, which is readable as its base") {
  Derived d;
  d.id = 9, d.extra = "more";
  const Bytes bytes = build([&](typed::builder& b) { return b.add(d); });
  const auto blob = bytes.verify();
  const auto derived = *typed::root<Derived>(blob);
  CHECK(*derived.get<&Base::id>() == 9);
  CHECK(*derived.get<&Derived::extra>()->view() == "more");
  const auto base = *typed::root<Base>(blob);
  CHECK(*base.get<&Base::id>() == 9);
  CHECK(blob.types().size() == 1);
  // What no reader would open is not written.
  CHECK_THROWS_WITH(build([](typed::builder& builder) { return builder.add(Hiding{}); }),
                    Catch::Contains("hiding.id"));
}

// record_lists.cc - lists of records give the right elements by every way of finding them: proven and alike,
// proven and mixed, checked, of an older writer, damaged.
#include "tests/typed/blobs.h"

using namespace spillway::test;
namespace typed = spillway::typed;
using typed::any;
using typed::errc;

namespace {

struct Point {
  std::int32_t x = 0;
  std::optional<std::int64_t> weight;
};
struct OldPoint {  // as an earlier program wrote it
  std::int16_t x = 0;
};
struct Other {
  std::int64_t y = 0;
};

Point point(std::size_t i, bool with_gaps) {
  Point p{static_cast<std::int32_t>(i), {}};
  if (!with_gaps || i % 3) p.weight = static_cast<std::int64_t>(i) * 5;
  return p;
}
Bytes points(std::size_t n, bool with_gaps) {
  return build([&](typed::builder& b) {
    typed::list_builder list(b);
    for (std::size_t i = 0; i < n; ++i) list.add(point(i, with_gaps));
    return list.finish();
  });
}
template <class List>
bool all_right(const List& list, std::size_t n, bool with_gaps) {
  bool right = list.size() == n;
  for (std::size_t i = 0; i < n; ++i) {
    const auto p = *list[i];
    const auto weight = p.template get<&Point::weight>();
    right = right && *p.template get<&Point::x>() == static_cast<std::int32_t>(i);
    if (with_gaps && i % 3 == 0)
      right = right && weight.code() == errc::null_value;
    else
      right = right && weight && *weight == static_cast<std::int64_t>(i) * 5;
  }
  return right && list[n].code() == errc::no_such && list[UINT64_MAX].code() == errc::no_such;
}

}  // namespace

SPILLWAY_TYPED(Point, "test.point", x, weight);
SPILLWAY_TYPED(Other, "test.other", y);
template <>
struct spillway::typed::describe<OldPoint> {
  static constexpr const char* name = "test.point";
  static constexpr auto members = fields(field<1>("x", &OldPoint::x));
};

TEST_CASE("lists of records of every length give each field, checked and proven, with and without gaps") {
  for (const std::size_t n : {0u, 1u, 15u, 16u, 17u, 1000u})
    for (const bool with_gaps : {false, true}) {
      const Bytes bytes = points(n, with_gaps);
      CAPTURE(n, with_gaps);
      CHECK(all_right(typed::root<std::vector<Point>>(bytes.open()).value(), n, with_gaps));
      CHECK(all_right(typed::root<std::vector<Point>>(bytes.verify()).value(), n, with_gaps));
    }
}

TEST_CASE("lists that hold other things among records say so for those, and give the records") {
  const Bytes bytes = build([](typed::builder& b) {
    typed::list_builder list(b);
    for (std::size_t i = 0; i < 40; ++i) {
      if (i % 10 == 7)
        list.add(any(nullptr));
      else if (i % 10 == 8)
        list.add(any(-64));
      else if (i % 10 == 9)
        list.add(Other{5});
      else
        list.add(point(i, false));
    }
    return list.finish();
  });
  const auto look = [](const auto& list) {
    for (std::size_t i = 0; i < 40; ++i) {
      const auto p = list[i];
      if (i % 10 == 7)
        CHECK(p.code() == errc::null_value);
      else if (i % 10 > 7)
        CHECK(p.code() == errc::wrong_type);
      else
        CHECK(*p->template get<&Point::x>() == static_cast<std::int32_t>(i));
    }
  };
  look(typed::root<std::vector<Point>>(bytes.open()).value());
  look(typed::root<std::vector<Point>>(bytes.verify()).value());
}

TEST_CASE("a list that an older writer stored is read through the plan of its fields") {
  const Bytes bytes = build([](typed::builder& b) {
    typed::list_builder list(b);
    for (std::int16_t i = 0; i < 20; ++i) list.add(OldPoint{i});
    return list.finish();
  });
  const auto proven = typed::root<std::vector<Point>>(bytes.verify()).value();
  const auto checked = typed::root<std::vector<Point>>(bytes.open()).value();
  for (std::size_t i = 0; i < 20; ++i) {
    CHECK(*proven[i]->get<&Point::x>() == static_cast<int>(i));
    CHECK(*checked[i]->get<&Point::x>() == static_cast<int>(i));
    CHECK(proven[i]->get<&Point::weight>().code() == errc::absent);
  }
}

TEST_CASE("references of a list that are damaged after it was opened are refused one by one") {
  Bytes bytes = points(20, false);
  const typed::blob blob = bytes.open();
  const auto list = typed::root<std::vector<Point>>(blob).value();
  const std::uint64_t from = list.raw().slot_position(3) + typed::kSlotPayload;
  std::int64_t good;
  std::memcpy(&good, bytes.data.data() + from, 8);
  const auto refused = [&](std::int64_t offset) {
    std::memcpy(bytes.data.data() + from, &offset, 8);
    const auto p = list[3];
    std::memcpy(bytes.data.data() + from, &good, 8);
    return !p;
  };
  const auto at = static_cast<std::int64_t>(from);
  CHECK_FALSE(refused(good));
  for (const std::int64_t offset :
       {std::int64_t{0}, std::int64_t{8}, std::int64_t{-8}, good + 1, good + 4, good + 8, -at, -at + 8,
        -at - 8, static_cast<std::int64_t>(bytes.data.size()) - at, INT64_MAX, INT64_MIN,
        static_cast<std::int64_t>((std::uint64_t{1} << 63) + 8 - from)}) {
    CAPTURE(offset);
    CHECK(refused(offset));
  }
}

TEST_CASE(
    "a record that is damaged after its list was opened is read as it is alone, whatever became of it") {
  const auto damage = [](Bytes bytes, auto like, auto member) {
    using Record = decltype(like);
    constexpr auto kMember = decltype(member)::value;
    const typed::blob blob = bytes.open();
    const auto list = typed::root<std::vector<Record>>(blob).value();
    std::byte* const start = bytes.data.data() + list.raw()[3].object()->position;
    for (unsigned at = 0; at < 16; ++at)
      for (unsigned value = 0; value < 256; ++value) {
        const std::byte was = start[at];
        start[at] = static_cast<std::byte>(value);
        const auto listed = list[3];
        const auto alone = typed::as<Record>(list.raw()[3]);
        CAPTURE(at, value);
        REQUIRE(listed.code() == alone.code());
        if (listed) {
          const auto field = listed->template get<kMember>(), same = alone->template get<kMember>();
          REQUIRE(field.code() == same.code());
          if (field) REQUIRE(*field == *same);
        }
        start[at] = was;
      }
  };
  damage(points(20, false), Point(), std::integral_constant<decltype(&Point::weight), &Point::weight>());
  const Bytes others = build([](typed::builder& b) {
    typed::list_builder list(b);
    for (int i = 0; i < 20; ++i) list.add(Other{i});
    return list.finish();
  });
  damage(others, Other(), std::integral_constant<decltype(&Other::y), &Other::y>());
}

TEST_CASE("a record that is changed under a view is looked at again before it is given out as an object") {
  Bytes bytes = points(20, false);
  const typed::blob blob = bytes.open();
  const auto list = typed::root<std::vector<Point>>(blob).value();
  const auto point = list[3].value();
  CHECK(point.dynamic().type_index() == point.object().h().count);
  std::byte* const start = bytes.data.data() + point.object().position;
  unsigned refused = 0;
  for (unsigned at = 0; at < 8; ++at)
    for (unsigned value = 0; value < 256; ++value) {
      const std::byte was = start[at];
      start[at] = static_cast<std::byte>(value);
      try {
        (void)point.dynamic();
      } catch (const typed::failure&) {
        ++refused;
      }
      start[at] = was;
    }
  CHECK(refused > 1000);
  CHECK(point.dynamic().type_index() == point.object().h().count);
}

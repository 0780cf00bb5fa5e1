// slices.cc - every slice of short lists and arrays, every slice of those, and their reverse, beside a
// vector's.
#include "tests/typed/blobs.h"

using namespace spillway::test;
namespace typed = spillway::typed;
using typed::any;

namespace {

struct Cut {
  std::uint64_t start, count;
  std::int64_t step;
};
// All that stay inside a sequence of n elements.
std::vector<Cut> cuts_of(std::uint64_t n) {
  std::vector<Cut> cuts = {{0, 0, 1}, {n, 0, -2}};
  for (std::uint64_t start = 0; start < n; ++start)
    for (const std::int64_t step : {-3, -2, -1, 1, 2, 3})
      for (std::uint64_t count = 1; count <= n; ++count) {
        const auto last = static_cast<std::int64_t>(start) + step * static_cast<std::int64_t>(count - 1);
        if (last >= 0 && last < static_cast<std::int64_t>(n)) cuts.push_back({start, count, step});
      }
  return cuts;
}
std::vector<any> cut(const std::vector<any>& from, const Cut& c) {
  std::vector<any> out;
  for (std::uint64_t i = 0; i < c.count; ++i)
    out.push_back(from[static_cast<std::size_t>(static_cast<std::int64_t>(c.start) +
                                                static_cast<std::int64_t>(i) * c.step)]);
  return out;
}
bool same(const typed::list_view& view, const std::vector<any>& native) {
  if (view.size() != native.size() || view.at(native.size()).code() != typed::errc::no_such) return false;
  std::size_t i = 0;
  for (const auto& v : view)
    if (*v.clone() != native[i] || *view[i].clone() != native[i] || !*view.contains(native[i++]))
      return false;
  const auto back = view.reversed();
  for (const any& v : native)
    if (*back[--i].clone() != v) return false;
  return back.size() == native.size();
}

}  // namespace

TEST_CASE("every slice, and every slice of it, has the elements of a native sequence's") {
  for (const bool numbers : {false, true})
    for (int n = 0; n <= 6; ++n) {
      std::vector<any> native;
      for (int i = 0; i < n; ++i)
        native.push_back(numbers || i % 2 ? any(i * 100) : any("s" + std::to_string(i)));
      const Bytes bytes = build_any(typed::any_list{native});
      const auto list = *typed::root(bytes.open())->list();
      REQUIRE(same(list, native));
      for (const Cut& a : cuts_of(native.size())) {
        const auto once = list.slice(a.start, a.step, a.count);
        const auto expected = cut(native, a);
        CAPTURE(numbers, n, a.start, a.step, a.count);
        REQUIRE(same(once, expected));
        for (const Cut& b : cuts_of(expected.size())) {
          CAPTURE(b.start, b.step, b.count);
          REQUIRE(same(once.slice(b.start, b.step, b.count), cut(expected, b)));
        }
      }
    }
}

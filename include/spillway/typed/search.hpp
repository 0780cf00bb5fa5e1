// search.hpp - binary search in sorted numbers, and searches that start from a guess. Comparisons are of
// values: a uint64 and a negative int64, or an integer and a double, compare as numbers.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

namespace spillway::typed {

namespace detail {

// Exactly a < b, whatever the types.
template <class A, class B>
constexpr bool number_less(A a, B b) {
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B>)
    return std::cmp_less(a, b);
  else if constexpr (std::is_floating_point_v<A> && std::is_floating_point_v<B>)
    return a < b;
  else if constexpr (std::is_integral_v<A>) {
    // Whole numbers below 2^64 against a double: compared with its floor, which is exact.
    if (std::isnan(b)) return false;
    if (b >= 18446744073709551616.0) return true;
    if (b <= -9223372036854775808.0) return false;
    const double floor = std::floor(b);
    if (floor < 0)
      return std::cmp_less(a, static_cast<std::int64_t>(floor)) ||
             (floor != b && std::cmp_equal(a, static_cast<std::int64_t>(floor)));
    return std::cmp_less(a, static_cast<std::uint64_t>(floor)) ||
           (floor != b && std::cmp_equal(a, static_cast<std::uint64_t>(floor)));
  } else {
    if (std::isnan(a)) return false;
    if (a >= 18446744073709551616.0) return false;
    if (a < -9223372036854775808.0) return true;
    const double ceiling = std::ceil(a);
    if (ceiling >= 18446744073709551616.0) return false;
    if (ceiling < 0 || a < 0)
      return std::cmp_less(static_cast<std::int64_t>(ceiling), b) ||
             (ceiling != a && std::cmp_equal(static_cast<std::int64_t>(ceiling), b));
    return std::cmp_less(static_cast<std::uint64_t>(ceiling), b) ||
           (ceiling != a && std::cmp_equal(static_cast<std::uint64_t>(ceiling), b));
  }
}

}  // namespace detail

// The leftmost position whose value is not below `wanted`: where it is, or where it would be inserted. 0 for
// nothing.
template <class T, class V>
std::size_t search_left(std::span<const T> sorted, V wanted) {
  return static_cast<std::size_t>(std::lower_bound(sorted.begin(), sorted.end(), wanted,
                                                   [](T a, V b) { return detail::number_less(a, b); }) -
                                  sorted.begin());
}

// The same, fast when the answer is near `hint`: steps of 1, 2, 4, ... from there.
template <class T, class V>
std::size_t search_near(std::span<const T> sorted, V wanted, std::size_t hint) {
  if (sorted.empty()) return 0;
  hint = std::min(hint, sorted.size() - 1);
  std::size_t low = 0, high = sorted.size();
  if (detail::number_less(sorted[hint], wanted)) {
    low = hint + 1;
    for (std::size_t step = 1; low < high; step *= 2) {
      const std::size_t at = std::min(hint + step, sorted.size() - 1);
      if (!detail::number_less(sorted[at], wanted)) {
        high = at;
        break;
      }
      low = at + 1;
      if (at == sorted.size() - 1) break;
    }
  } else {
    high = hint;
    for (std::size_t step = 1; high > 0; step *= 2) {
      const std::size_t at = hint > step ? hint - step : 0;
      if (detail::number_less(sorted[at], wanted)) {
        low = at + 1;
        break;
      }
      high = at;
      if (at == 0) break;
    }
  }
  return low >= high ? low : low + search_left(sorted.subspan(low, high - low), wanted);
}

// Whether it is there.
template <class T, class V>
bool search_contains(std::span<const T> sorted, V wanted) {
  const std::size_t i = search_left(sorted, wanted);
  return i < sorted.size() && !detail::number_less(wanted, sorted[i]);
}

}  // namespace spillway::typed

// describe.hpp - how a C++ struct says what its members are called and numbered, and which native types
// fields may have.
//
//   struct person { std::int64_t id = 0; std::string name; std::optional<double> weight; };
//   template <> struct spillway::typed::describe<person> {
//     static constexpr const char* name = "acme.person";
//     static constexpr auto members = fields(field<1>("id", &person::id), field<2>("name", &person::name),
//                                            field<3>("weight", &person::weight));
//   };
// or, with the numbers 1, 2, 3 in this order: SPILLWAY_TYPED(person, "acme.person", id, name, weight).
//
// A number stands for its field for ever: names and order may change, numbers may not be used again.
// base<B>() puts the members of a base class, itself described, into the derived record; base and derived
// numbers must differ.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "spillway/typed/each.hpp"
#include "spillway/typed/values.hpp"

namespace spillway::typed {

template <class T>
struct describe;  // specialised by the user

template <class C, class M>
struct member {
  using owner = C;
  using value_type = M;
  std::uint32_t number;
  const char* name;
  M C::*pointer;
};

template <std::uint32_t Number, class C, class M>
constexpr auto field(const char* name, M C::*pointer) {
  static_assert(Number > 0, "field numbers start at 1");
  return std::tuple(member<C, M>{Number, name, pointer});
}
template <class B>
constexpr auto base() {
  return describe<B>::members;
}
template <class... Members>
constexpr auto fields(Members... members) {
  return std::tuple_cat(members...);
}

template <class T, class = void>
struct is_described : std::false_type {};
template <class T>
struct is_described<T, std::void_t<decltype(describe<T>::members)>> : std::true_type {};
template <class T>
concept described = is_described<T>::value;

template <class T>
inline constexpr std::size_t member_count =
    std::tuple_size_v<std::remove_cvref_t<decltype(describe<T>::members)>>;

// Calls f(member, index) for each member, in the order they were described.
template <class T, class F>
constexpr void for_each_member(F&& f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) { (f(std::get<I>(describe<T>::members), I), ...); }
  (std::make_index_sequence<member_count<T>>());
}

namespace detail {

template <class A, class B>
constexpr bool same_member(A a, B b) {
  if constexpr (std::is_same_v<A, B>)
    return a == b;
  else
    return false;
}

// The index of the member that a pointer to member names; member_count when it was not described.
template <class T, auto Pointer>
constexpr std::size_t index_of_member() {
  std::size_t found = member_count<T>;
  for_each_member<T>([&](const auto& m, std::size_t i) {
    if (same_member(m.pointer, Pointer)) found = i;
  });
  return found;
}

template <class T>
constexpr bool numbers_differ() {
  std::uint32_t numbers[member_count<T> + 1] = {};
  bool differ = true;
  for_each_member<T>([&](const auto& m, std::size_t i) {
    for (std::size_t k = 0; k < i; ++k) differ = differ && numbers[k] != m.number;
    numbers[i] = m.number;
  });
  return differ;
}

template <class T>
struct unwrap {  // what a nullable member holds
  using inner = T;
  static constexpr bool nullable = false;
};
template <class T>
struct unwrap<std::optional<T>> : unwrap<T> {
  static constexpr bool nullable = true;
};
template <class T>
struct unwrap<maybe<T>> : unwrap<T> {
  static constexpr bool nullable = true;
};
template <class T>
struct unwrap<std::unique_ptr<T>> : unwrap<T> {
  static constexpr bool nullable = true;
};
template <class T>
struct unwrap<std::shared_ptr<T>> : unwrap<T> {
  static constexpr bool nullable = true;
};

template <class T>
struct is_vector : std::false_type {};
template <class T, class A>
struct is_vector<std::vector<T, A>> : std::true_type {};
template <class T>
struct is_packed : std::false_type {};
template <class T>
struct is_packed<packed<T>> : std::true_type {};
template <class T>
struct is_set : std::false_type {};
template <class T, class... R>
struct is_set<std::set<T, R...>> : std::true_type {};
template <class T, class... R>
struct is_set<std::unordered_set<T, R...>> : std::true_type {};
template <class T>
struct is_map : std::false_type {};
template <class K, class V, class... R>
struct is_map<std::map<K, V, R...>> : std::true_type {};
template <class K, class V, class... R>
struct is_map<std::unordered_map<K, V, R...>> : std::true_type {};
template <class T>
struct is_tuple : std::false_type {};
template <class... T>
struct is_tuple<std::tuple<T...>> : std::true_type {};
template <class T>
struct is_ref_to : std::false_type {};
template <class T>
struct is_ref_to<ref_to<T>> : std::true_type {
  using target = T;
};

}  // namespace detail

// What a native type is stored as.
struct wire {
  typed::type type = typed::type::none, element = typed::type::none;
};

template <class T>
constexpr wire wire_of() {
  using namespace detail;
  using U = typename unwrap<T>::inner;
  if constexpr (std::is_arithmetic_v<U>)
    return {type_of_arithmetic<U>()};
  else if constexpr (std::is_enum_v<U>)
    return wire_of<std::underlying_type_t<U>>();
  else if constexpr (std::is_same_v<U, date>)
    return {type::date};
  else if constexpr (std::is_same_v<U, std::string>)
    return {type::text};
  else if constexpr (std::is_same_v<U, bytes>)
    return {type::bytes};
  else if constexpr (std::is_same_v<U, buffer>)
    return {type::buffer};
  else if constexpr (std::is_same_v<U, decimal>)
    return {type::decimal};
  else if constexpr (std::is_same_v<U, nd_array>)
    return {type::nd};
  else if constexpr (std::is_same_v<U, any>)
    return {type::any};
  else if constexpr (std::is_same_v<U, instant>)
    return {type::instant};
  else if constexpr (std::is_same_v<U, local_time>)
    return {type::local_time};
  else if constexpr (std::is_same_v<U, time_of_day>)
    return {type::time_of_day};
  else if constexpr (is_ref_to<U>::value || described<U>)
    return {type::record};
  else if constexpr (is_packed<U>::value || std::is_same_v<U, any_list>)
    return {type::list};
  else if constexpr (is_tuple<U>::value || std::is_same_v<U, any_tuple>)
    return {type::tuple};
  else if constexpr (is_set<U>::value || std::is_same_v<U, any_set>)
    return {type::set};
  else if constexpr (is_map<U>::value || std::is_same_v<U, any_map>)
    return {type::map};
  else if constexpr (is_vector<U>::value) {
    using E = typename U::value_type;
    if constexpr (std::is_arithmetic_v<E> && !std::is_same_v<E, bool>)
      return {type::array, type_of_arithmetic<E>()};
    else
      return {type::list};
  } else
    return {};
}

namespace detail {

// The described type that a field of type T refers to (itself, or as the element of a list), or void.
template <class T>
constexpr auto record_of() {
  using U = typename unwrap<T>::inner;
  if constexpr (described<U>)
    return std::type_identity<U>();
  else if constexpr (is_ref_to<U>::value)
    return std::type_identity<typename is_ref_to<U>::target>();
  else if constexpr (is_vector<U>::value)
    return record_of<typename U::value_type>();
  else
    return std::type_identity<void>();
}

template <class T>
inline constexpr char type_key = 0;  // its address stands for T

}  // namespace detail
}  // namespace spillway::typed

// SPILLWAY_TYPED(type, "name", member...): at namespace scope, outside any namespace; up to 32 members.
#define SPILLWAY_TYPED(Type, Name, ...)                                                  \
  template <>                                                                            \
  struct spillway::typed::describe<Type> {                                               \
    using described_type = Type;                                                         \
    static constexpr const char* name = Name;                                            \
    static constexpr auto members =                                                      \
        ::spillway::typed::fields(SPILLWAY_TYPED_EACH(SPILLWAY_TYPED_ONE, __VA_ARGS__)); \
  }
#define SPILLWAY_TYPED_ONE(n, m) ::spillway::typed::field<n>(#m, &described_type::m)

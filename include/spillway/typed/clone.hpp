// clone.hpp - native copies of what described types hold. Included by view.hpp.
#pragma once
#include "spillway/typed/view.hpp"

namespace spillway::typed {

// A stored value as a native U. Throws `failure`: wrong_type, value_range, and those of damaged bytes.
template <class U>
U to_native(const any_view& v) {
  using namespace detail;
  if constexpr (unwrap<U>::nullable) {
    using I = std::remove_cvref_t<decltype(*std::declval<const U&>())>;
    if constexpr (std::is_same_v<U, std::optional<I>>) {
      if (v.is_null()) return std::nullopt;
      return U(to_native<I>(v));
    } else if constexpr (std::is_same_v<U, maybe<I>>) {
      if (v.is_null()) return nullptr;
      return U(to_native<I>(v));
    } else {
      if (v.is_null()) return nullptr;
      return U(new I(to_native<I>(v)));
    }
  } else if constexpr (std::is_same_v<U, std::string>)
    return v.text().value().str().value();
  else if constexpr (std::is_same_v<U, bytes>)
    return {v.bytes().value().str().value()};
  else if constexpr (std::is_same_v<U, buffer>)
    return {v.buffer().value().str().value()};
  else if constexpr (std::is_same_v<U, any> || std::is_same_v<U, any_list> || std::is_same_v<U, any_tuple> ||
                     std::is_same_v<U, any_set> || std::is_same_v<U, any_map> ||
                     std::is_same_v<U, nd_array>) {
    any copy = v.clone().value();
    if constexpr (std::is_same_v<U, any>)
      return copy;
    else if (const U* held = copy.get<U>())
      return *held;
    else
      fail(errc::wrong_type, "a copy: the value is of another type");
  } else if constexpr (described<U>)
    return view<U>::of(v).value().clone();
  else if constexpr (is_packed<U>::value || (is_vector<U>::value && requires { access_t<U>().clone(); })) {
    const auto values = access_t<U>::of(v).value().clone();
    return U(values.begin(), values.end());
  } else if constexpr (is_vector<U>::value) {
    U out;
    for (const any_view& e : v.list().value()) out.push_back(to_native<typename U::value_type>(e));
    return out;
  } else if constexpr (is_tuple<U>::value) {
    const list_view list = v.list().value();
    if (list.size() != std::tuple_size_v<U>) fail(errc::wrong_type, "a copy: a tuple of another length");
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return U(to_native<std::tuple_element_t<I, U>>(list[I])...);
    }
    (std::make_index_sequence<std::tuple_size_v<U>>());
  } else if constexpr (is_set<U>::value) {
    U out;
    v.set().value().for_each([&](const any_view& e) { out.insert(to_native<typename U::value_type>(e)); });
    return out;
  } else if constexpr (is_map<U>::value) {
    U out;
    const map_view m = v.map().value();
    for (std::uint64_t i = 0; i < m.entries(); ++i)
      out.emplace(to_native<typename U::key_type>(m.key(i)), to_native<typename U::mapped_type>(m.value(i)));
    return out;
  } else {
    return as<U>(v).value();
  }
}

template <class T, class Trust>
T view<T, Trust>::clone() const {
  T out{};
  for_each_member<T>([&](const auto& m, std::size_t i) {
    using U = std::remove_cvref_t<decltype(out.*m.pointer)>;
    if constexpr (!detail::is_ref_to<U>::value) {
      const field_plan& f = plan_->fields[i];
      const auto s = state_of(f);
      if (s == state::absent) return;
      if (s == state::null && !detail::unwrap<U>::nullable)
        fail(errc::null_value, std::string(m.name) + ": null");
      out.*m.pointer = to_native<U>(s == state::null ? any_view() : raw(f));
    }
  });
  return out;
}

}  // namespace spillway::typed

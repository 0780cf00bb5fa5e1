// registry.hpp - the record types of a blob under construction: which there are, and where their fields lie.
//
// Readers take offsets from the schema, but every writer follows the rule of layout.hpp, so that the same
// type gives the same bytes.
#pragma once
#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "spillway/typed/blob.hpp"
#include "spillway/typed/describe.hpp"
#include "spillway/typed/layout.hpp"

namespace spillway::typed {

class registry {
 public:
  const std::vector<type_info>& types() const { return types_; }

  // The index of a described type; it and the types it mentions are entered when they are new.
  template <described T>
  std::uint32_t index_of() {
    const void* key = &detail::type_key<T>;
    if (key == last_key_) return last_index_;
    const auto index = enter<T>(key);
    last_key_ = key, last_index_ = index;
    return index;
  }

 private:
  template <described T>
  std::uint32_t enter(const void* key) {
    if (const auto found = by_key_.find(key); found != by_key_.end()) return found->second;
    static_assert(detail::numbers_differ<T>(), "two members of a described type have the same number");
    const auto index = reserve(describe<T>::name);
    by_key_[key] = index;  // before its fields: a type may mention itself
    std::vector<field_info> fields;
    for_each_member<T>([&](const auto& m, std::size_t) {
      using M = typename std::remove_cvref_t<decltype(m)>::value_type;
      static_assert(wire_of<M>().type != type::none, "a member of a type that cannot be stored");
      using R = typename decltype(detail::record_of<M>())::type;
      field_info f{m.name, m.number, 0, wire_of<M>().type, wire_of<M>().element, kNoType};
      if constexpr (!std::is_void_v<R>) f.record_type = index_of<R>();
      fields.push_back(std::move(f));
    });
    define(index, std::move(fields));
    return index;
  }

 public:
  // For types that are known only at run time: reserve a place, then say what is there.
  std::uint32_t reserve(const std::string& name) {
    types_.push_back({name, 8, {}});
    return static_cast<std::uint32_t>(types_.size() - 1);
  }
  void define(std::uint32_t index, std::vector<field_info> fields) {
    type_info& t = types_[index];
    t.fields = std::move(fields);
    if (t.fields.size() > 65535) fail(errc::value_range, t.name + ": at most 65535 fields");
    // Readers refuse such a schema, so it must not be written: a base's member is easily forgotten.
    std::unordered_set<std::string> names;
    for (const field_info& f : t.fields)
      if (!names.insert(f.name).second)
        fail(errc::duplicate,
             t.name + "." + f.name + ": expected field names that differ, also from a base's");
    t.record_bytes = lay_out(
        t.fields.size(), [&](std::size_t i) { return t.fields[i].type; },
        [&](std::size_t i) -> std::uint32_t& { return t.fields[i].offset; });
  }
  // The types of another registry, which this one must then begin with.
  void adopt(const registry& other) { types_ = other.types_, by_key_ = other.by_key_, last_key_ = nullptr; }
  bool begins_with(const registry& other) const {
    if (other.types_.size() > types_.size()) return false;
    for (std::size_t i = 0; i < other.types_.size(); ++i) {
      const type_info &a = types_[i], &b = other.types_[i];
      if (a.name != b.name || a.fields.size() != b.fields.size()) return false;
      for (std::size_t k = 0; k < a.fields.size(); ++k)
        if (a.fields[k].number != b.fields[k].number || a.fields[k].name != b.fields[k].name ||
            a.fields[k].type != b.fields[k].type || a.fields[k].element != b.fields[k].element ||
            a.fields[k].record_type != b.fields[k].record_type)
          return false;
    }
    return true;
  }

 private:
  std::vector<type_info> types_;
  std::unordered_map<const void*, std::uint32_t> by_key_;
  const void* last_key_ = nullptr;  // records come in runs of one type
  std::uint32_t last_index_ = 0;
};

}  // namespace spillway::typed

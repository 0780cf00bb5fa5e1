// evolution.hpp - how a reader's type reads what a writer's type stored: fields are matched by number, and a
// plan says where each one lies and whether it must be widened.
//
// Rules: a field that the writer did not have is absent; one that the reader does not know is skipped; names
// and order do not matter; numbers widen (int32 to int64, uint16 to int32, float32 to float64, integers up to
// 32 bits to float64), an array to a list or to a wider array, anything to any; everything else is
// incompatible. A record of another name may be read when it has every field of the reader's type under the
// same number and name: that is how a derived record is read as its base. Plans are made once per reader's
// type and document, and never change. Threads: any.
#pragma once
#include <memory>
#include <vector>

#include "spillway/typed/blob.hpp"
#include "spillway/typed/describe.hpp"
#include "spillway/typed/layout.hpp"
#include "spillway/typed/list_view.hpp"

namespace spillway::typed {

struct field_plan {
  std::uint32_t offset = 0;  // 0: the writer had no such field
  std::uint32_t index = 0;   // among the writer's
  type written = type::none;
  bool exact = false;
  std::uint32_t has_at = 8, null_at = 8;
};

// How the fields of a record are found, from the quickest way to the most general.
enum class reading : std::uint8_t {
  complete,  // as native, and every field is set: verify() saw that of all these records, or a list of this
             // one
  native,    // the writer's fields are the reader's, and lie where layout.hpp puts them
  planned,   // as the plan says
};

struct plan {
  const document* doc = nullptr;
  error problem;  // ok, or why the reader's type cannot read this writer's
  typed::reading reading = reading::planned;
  std::uint32_t presence_bytes = 0;
  std::vector<field_plan> fields;  // in the reader's order
};

struct plan_node {
  const void* reader = nullptr;
  std::vector<plan> by_writer;
  const plan_node* next = nullptr;
};

inline plan_chain::~plan_chain() {
  for (const plan_node* n = first.load(); n;) {
    const plan_node* next = n->next;
    delete n;
    n = next;
  }
}

namespace detail {

constexpr bool widens(type from, type to) {
  if (from == to) return true;
  if (from == type::date || to == type::date || from == type::boolean || to == type::boolean) return false;
  return is_scalar(to) && is_scalar(from) && with_element(to, [&](auto like) {
           using T = decltype(like);
           if constexpr (std::is_same_v<T, bool>)
             return false;
           else
             return packed_array<T>::holds(from);
         });
}

constexpr bool readable(wire reader, const field_info& f) {
  if (reader.type == type::any || reader.type == f.type) {
    return reader.type != type::array || widens(f.element, reader.element);
  }
  if (is_scalar(reader.type)) return widens(f.type, reader.type);
  if (reader.type == type::list) return f.type == type::array || f.type == type::tuple;
  return reader.type == type::array && f.type == type::list;  // seen when it is read
}

template <described T>
plan make_plan(const document& d, const type_info& writer) {
  plan p;
  p.doc = &d;
  p.presence_bytes = writer.presence_bytes();
  const bool same_name = writer.name == describe<T>::name;
  for_each_member<T>([&](const auto& m, std::size_t) {
    using M = typename std::remove_cvref_t<decltype(m)>::value_type;
    field_plan fp;
    const field_info* found = nullptr;
    for (const field_info& f : writer.fields)
      if (f.number == m.number) found = &f;
    if (!same_name && (!found || found->name != m.name)) {
      p.problem = {errc::wrong_type, 0, 0, "a record of the reader's type, or one derived from it",
                   describe<T>::name};
    } else if (found) {
      constexpr wire w = wire_of<M>();
      if (!readable(w, *found) && p.problem.code == errc::ok)
        p.problem = {errc::incompatible, 0, 0, "a field type that the writer's can be read as", m.name};
      fp = {found->offset, static_cast<std::uint32_t>(writer.index_of(*found)), found->type,
            found->type == w.type};
      fp.has_at = 8 + fp.index / 8, fp.null_at = fp.has_at + p.presence_bytes;
    }
    p.fields.push_back(fp);
  });
  const auto& mine = kNativeLayout<T>;
  bool native = writer.fields.size() == member_count<T> && writer.record_bytes == mine.record_bytes;
  for (std::size_t i = 0; native && i < p.fields.size(); ++i)
    native = p.fields[i].exact && p.fields[i].index == i && p.fields[i].offset == mine.fields[i].offset;
  if (native) {
    const auto t = static_cast<std::size_t>(&writer - d.types.data());
    p.reading = d.proven && d.complete[t] ? reading::complete : reading::native;
  }
  return p;
}

template <described T>
const plan_node* plans_of(const document& d) {
  for (const plan_node* n = d.plans.first.load(std::memory_order_acquire); n; n = n->next)
    if (n->reader == &type_key<T>) return n;
  auto made = std::make_unique<plan_node>();
  made->reader = &type_key<T>;
  for (const type_info& t : d.types) made->by_writer.push_back(make_plan<T>(d, t));
  // Two threads may make the same plans; both stay, either serves.
  made->next = d.plans.first.load(std::memory_order_relaxed);
  const plan_node* node = made.release();
  while (!d.plans.first.compare_exchange_weak(const_cast<plan_node*>(node)->next, node,
                                              std::memory_order_release)) {
  }
  return node;
}

// The first thing that T, or a type it mentions, cannot read of the writer's type.
template <described T>
error check_deep(const document& d, std::uint32_t writer,
                 std::vector<std::pair<const void*, std::uint32_t>>& seen) {
  for (const auto& s : seen)
    if (s.first == &type_key<T> && s.second == writer) return {};
  seen.emplace_back(&type_key<T>, writer);
  const plan& p = plans_of<T>(d)->by_writer[writer];
  if (p.problem.code != errc::ok) return p.problem;
  error bad;
  for_each_member<T>([&](const auto& m, std::size_t i) {
    using R = typename decltype(record_of<typename std::remove_cvref_t<decltype(m)>::value_type>())::type;
    if constexpr (!std::is_void_v<R>) {
      if (bad.code != errc::ok || !p.fields[i].offset) return;
      const std::uint32_t theirs = d.types[writer].fields[p.fields[i].index].record_type;
      if (theirs != kNoType) bad = check_deep<R>(d, theirs, seen);
    }
  });
  return bad;
}

}  // namespace detail
}  // namespace spillway::typed

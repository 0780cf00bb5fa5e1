// record_view.hpp - a record read by the names in the blob's own schema, for programs that do not know its
// type; and the native copies of values (clone), which need every kind of view.
#pragma once
#include "spillway/typed/list_view.hpp"
#include "spillway/typed/map_view.hpp"
#include "spillway/typed/nd_view.hpp"

namespace spillway::typed {

class record_view {
 public:
  record_view() = default;
  static result<record_view> of(const object& o) {
    if (o.h().kind != kind::record) return {errc::wrong_type, "a record", o.position};
    record_view v;
    v.o_ = o;
    v.type_ = &o.doc->types[o.h().count];
    return v;
  }
  const type_info& type() const { return *type_; }
  std::uint64_t type_index() const { return o_.h().count; }
  const typed::object& object() const { return o_; }
  std::size_t size() const { return type_->fields.size(); }

  // i < size()
  typed::state state(std::size_t i) const {
    const std::byte* has = o_.at() + 8;
    const auto bit = [&](const std::byte* from) { return static_cast<unsigned>(from[i / 8]) >> i % 8 & 1; };
    return !bit(has) ? state::absent : bit(has + type_->presence_bytes()) ? state::null : state::set;
  }
  // The field's value; null when it is null or absent.
  any_view operator[](std::size_t i) const {
    const field_info& f = type_->fields[i];
    if (state(i) != state::set) return {};
    const std::uint64_t at = o_.position + f.offset;
    if (is_slot(f.type)) return any_view::at_slot(*o_.doc, at, o_.h().depth);
    if (is_reference(f.type)) return any_view::at_reference(*o_.doc, at, o_.h().depth);
    return any_view::at_scalar(*o_.doc, f.type, at);
  }
  // Errors: no_such, absent.
  result<any_view> field(std::string_view name) const {
    const field_info* f = type_->find(name);
    if (!f) return {errc::no_such, "a field of this record", o_.position};
    const std::size_t i = type_->index_of(*f);
    if (state(i) == state::absent) return {errc::absent, "a field that was set", o_.position};
    return (*this)[i];
  }

 private:
  typed::object o_;
  const type_info* type_ = nullptr;
};

inline result<record_view> any_view::record() const {
  if (!is_reference()) return mismatch("a record");
  const auto o = object();
  if (!o) return o.error();
  return record_view::of(*o);
}

namespace detail {

// Clones spend from one budget, so that shared objects cannot make a small blob a huge copy. Recursion is
// bounded by the depth in the objects, which falls at every step.
inline any clone_of(const any_view& v, std::uint64_t& left) {
  const auto spend = [&](std::uint64_t n) {
    if (n > left) fail(errc::too_much, "a copy: larger than the budget");
    left -= n;
  };
  spend(1);
  switch (v.what().value()) {
    case what::null:
      return nullptr;
    case what::boolean:
      return v.boolean().value();
    case what::integer:
      return v.integer().value();
    case what::uinteger:
      return v.uinteger().value();
    case what::f32:
      return static_cast<float>(v.real().value());
    case what::f64:
      return v.real().value();
    case what::text: {
      std::string s = v.text().value().str((left + 1) * 64).value();
      spend(s.size() / 64);
      return s;
    }
    case what::bytes: {
      std::string s = v.bytes().value().str((left + 1) * 64).value();
      spend(s.size() / 64);
      return bytes{std::move(s)};
    }
    case what::buffer: {
      std::string s = v.buffer().value().str((left + 1) * 64).value();
      spend(s.size() / 64);
      return buffer{std::move(s)};
    }
    case what::date:
      return v.date().value();
    case what::instant:
      return v.instant().value();
    case what::local_time:
      return v.local_time().value();
    case what::time_of_day:
      return v.time_of_day().value();
    case what::decimal: {
      typed::decimal d = v.decimal().value();
      spend(d.digits.size() / 64);
      return d;
    }
    case what::list:
    case what::tuple: {
      const list_view list = v.list().value();
      std::vector<any> items;
      for (const any_view& e : list) items.push_back(clone_of(e, left));
      if (list.is_tuple()) return any_tuple{std::move(items)};
      return any_list{std::move(items)};
    }
    case what::set: {
      any_set s;
      v.set().value().for_each([&](const any_view& e) { s.items.push_back(clone_of(e, left)); });
      return s;
    }
    case what::map: {
      const map_view m = v.map().value();
      any_map copy;
      for (std::uint64_t i = 0; i < m.entries(); ++i) {
        any key = clone_of(m.key(i), left);
        copy.items.emplace_back(std::move(key), clone_of(m.value(i), left));
      }
      return copy;
    }
    case what::record: {  // its type may be unknown here, its field names are not
      const record_view r = v.record().value();
      any_map copy;
      for (std::size_t i = 0; i < r.size(); ++i)
        if (r.state(i) != state::absent) {
          spend(r.type().fields[i].name.size());
          copy.items.emplace_back(any(r.type().fields[i].name), clone_of(r[i], left));
        }
      return copy;
    }
    case what::nd: {
      const nd_view n = v.nd().value();
      spend(n.bytes() / 64);
      return nd_array{n.element(), std::string(n.dtype()), n.item_bytes(), n.shape(),
                      std::string(reinterpret_cast<const char*>(n.data()), n.bytes())};
    }
  }
  fail(errc::bad_tag, "a copy: unknown value");
}

}  // namespace detail

inline result<any> any_view::clone(std::uint64_t most) const {
  try {
    most = std::min(most, std::uint64_t{1} << 48);
    return detail::clone_of(*this, most);
  } catch (const failure& f) {
    return f.code() == errc::ok ? error{errc::bad_value, 0, from_, "", nullptr}
                                : error{f.code(), 0, f.cause().position, f.cause().what, nullptr};
  }
}

// What a blob holds; a lone number comes out of its box. Errors: absent when there is no root.
inline result<any_view> root(const blob& b) {
  const document& d = b.doc();
  if (!d.root) return {errc::absent, "a blob with a root"};
  const auto o = object_at(d, d.root, d.bytes, 256);
  if (!o) return o.error();
  if (o->h().kind == kind::box) return any_view::at_slot(d, d.root + 8, o->h().depth);
  return any_view::of_object(d, d.root);
}

inline result<any_view> user_data(const blob& b) {
  const document& d = b.doc();
  if (!d.user_data) return {errc::absent, "a blob with user data"};
  const auto o = object_at(d, d.user_data, d.bytes, 256);
  if (!o) return o.error();
  if (o->h().kind == kind::box) return any_view::at_slot(d, d.user_data + 8, o->h().depth);
  return any_view::of_object(d, d.user_data);
}

}  // namespace spillway::typed

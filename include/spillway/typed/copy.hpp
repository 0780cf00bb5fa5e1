// copy.hpp - values of one blob into another under construction: what packing a view again, and merging maps,
// come down to.
//
// Record types travel with their records: one of the same name and fields is used, another is added. Shared
// objects are copied once, so a small blob cannot become a huge one.
#pragma once
#include <span>
#include <unordered_map>

#include "spillway/typed/builder.hpp"
#include "spillway/typed/record_view.hpp"

namespace spillway::typed {

// Copies out of one document into one builder. Both must outlive it. Throws `failure`.
class copier {
 public:
  copier(const document& from, builder& to) : from_(from), to_(to) {}

  item copy(const any_view& v) {
    if (!v.is_reference()) {
      (void)v.what().value();  // an unknown code is refused, not passed on
      return {v.raw(), 0};
    }
    const object o = v.object().value();
    if (const auto had = done_.find(o.position); had != done_.end()) return had->second;
    const item made = ref_item(body(v, o));
    // Under a rolled-back savepoint positions die; whoever rolls back throws the copier away.
    done_.emplace(o.position, made);
    return made;
  }

 private:
  ref body(const any_view& v, const object& o) {
    const std::string_view raw(reinterpret_cast<const char*>(o.at() + 8),
                               o.h().kind <= kind::buffer ? o.h().count : 0);
    switch (o.h().kind) {
      case kind::text:
        return to_.text(v.text().value().str().value());
      case kind::bytes:
        return to_.bytes(v.bytes().value().str().value());
      case kind::buffer:
        return to_.buffer(raw);
      case kind::array: {
        const list_view list = v.list().value();
        return to_.array(list.element(), list.data(), list.size(), list.is_tuple());
      }
      case kind::list: {
        const list_view list = v.list().value();
        std::vector<item> items;
        for (const any_view& e : list) items.push_back(copy(e));
        return to_.list(items, list.is_tuple());
      }
      case kind::set_sorted:
      case kind::set_bits:
      case kind::set_blocks: {
        draft_stack::lease d(to_.drafts());
        const std::uint64_t bytes =
            detail::object_bytes(from_, o.position, o.h(), from_.bytes - o.position).value();
        d->raw(o.at(), bytes);
        return to_.writer().place(*d, o.h());
      }
      case kind::map: {
        const map_view m = map_view::of(o).value();
        map_builder out(to_, m.flavour(), m.is_multi() ? duplicates::keep_all : duplicates::first,
                        m.hash_bits());
        put_all(m, out);
        return out.finish();
      }
      case kind::record: {
        const record_view r = v.record().value();
        const std::uint32_t index = type_of(static_cast<std::uint32_t>(r.type_index()));
        builder::record_draft d(to_, index);
        for (std::size_t i = 0; i < r.size(); ++i) {
          if (r.state(i) == state::absent) continue;
          if (r.state(i) == state::null) {
            d.set_null(i);
            continue;
          }
          const field_info& theirs = r.type().fields[i];
          const std::uint64_t at = d.field(i).offset;
          if (is_scalar(theirs.type))
            std::memcpy(d.bytes().bytes.data() + at, o.at() + theirs.offset, bytes_of(theirs.type));
          else {
            const item value = copy(r[i]);
            if (is_slot(theirs.type))
              d.bytes().put(at, value);
            else
              d.bytes().put(at, ref{value.s.payload, value.depth, kind::padding});
          }
          d.mark_set(i);
        }
        return d.place();
      }
      case kind::nd: {
        const nd_view n = v.nd().value();
        return to_.nd(n.element(), n.dtype(), n.item_bytes(), n.shape(),
                      {reinterpret_cast<const char*>(n.data()), n.bytes()});
      }
      case kind::decimal:
        return to_.decimal(v.decimal().value());
      case kind::zoned:
        return to_.zoned(v.instant().value());
      default:
        fail(errc::bad_tag, "a copy: unknown kind of object");
    }
  }

 public:
  // Every entry of a map of the same flavour.
  void put_all(const map_view& m, map_builder& out) {
    for (std::uint64_t i = 0; i < m.entries(); ++i) {
      const item value = m.flavour() == flavour::set ? item{} : copy(m.value(i));
      switch (m.flavour()) {
        case flavour::text:
          out.put_item(std::string_view(m.key(i).text().value().view().value()), value);
          break;
        case flavour::uint:
          out.put_item(m.hash(i), value);
          break;
        case flavour::approx:
          out.put_hash(m.hash(i), value);
          break;
        default:
          out.put_item(copy(m.key(i)), m.hash(i), value);
      }
    }
  }
  // The builder's index of a type of the other blob.
  std::uint32_t type_of(std::uint32_t theirs) {
    if (const auto had = types_.find(theirs); had != types_.end()) return had->second;
    const type_info& t = from_.types[theirs];
    registry& r = to_.registry();
    for (std::uint32_t i = 0; i < r.types().size(); ++i) {
      const type_info& mine = r.types()[i];
      if (mine.name != t.name || mine.fields.size() != t.fields.size()) continue;
      bool same = true;
      for (std::size_t k = 0; same && k < t.fields.size(); ++k)
        same = mine.fields[k].number == t.fields[k].number && mine.fields[k].name == t.fields[k].name &&
               mine.fields[k].type == t.fields[k].type && mine.fields[k].element == t.fields[k].element;
      if (same) return types_[theirs] = i;
    }
    const std::uint32_t index = types_[theirs] = r.reserve(t.name);
    std::vector<field_info> fields = t.fields;
    for (field_info& f : fields)
      if (f.record_type != kNoType) f.record_type = type_of(f.record_type);
    r.define(index, std::move(fields));
    return index;
  }

 private:
  const document& from_;
  builder& to_;
  std::unordered_map<std::uint64_t, item> done_;
  std::unordered_map<std::uint32_t, std::uint32_t> types_;
};

// Any number of maps of one flavour as one map: none gives an empty map. Equal keys are treated as `policy`
// says, in the order of the maps. Throws `failure`: wrong_type for maps of different flavours, duplicate, io.
inline ref merge(std::span<const map_view> maps, builder& to, duplicates policy,
                 flavour empty = flavour::text) {
  const flavour f = maps.empty() ? empty : maps[0].flavour();
  map_builder out(to, f, policy, maps.empty() ? 64 : maps[0].hash_bits());
  std::unordered_map<const document*, copier> copiers;
  for (const map_view& m : maps) {
    if (m.flavour() != f || (f == flavour::approx && m.hash_bits() != maps[0].hash_bits()))
      fail(errc::wrong_type, "a merge: expected maps of one kind");
    copiers.try_emplace(m.object().doc, *m.object().doc, to).first->second.put_all(m, out);
  }
  return out.finish();
}

}  // namespace spillway::typed

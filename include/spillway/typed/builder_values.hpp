// builder_values.hpp - how each native type becomes bytes; included by builder.hpp.
#pragma once
#include "spillway/typed/builder.hpp"
#include "spillway/typed/stream.hpp"

namespace spillway::typed {

inline ref builder::integer_set(std::vector<std::int64_t> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  if (values.empty()) return elements(kind::set_sorted, type::u8, nullptr, 0, 0);
  // Bits of 64 values each; the arithmetic shift rounds down.
  std::uint64_t blocks = 1;
  for (std::size_t i = 1; i < values.size(); ++i) blocks += values[i] >> 6 != values[i - 1] >> 6;
  const std::int64_t first = values.front() >> 6;
  const std::uint64_t words =
      static_cast<std::uint64_t>(values.back() >> 6) - static_cast<std::uint64_t>(first) + 1;
  const type width = narrowest(std::min<std::int64_t>(values.front(), 0), values.back());
  const std::uint64_t as_list = 8 + round_up(values.size() * bytes_of(width), 8);
  const std::uint64_t as_bits = words > kMaxCount ? UINT64_MAX : 24 + 8 * words, as_blocks = 16 + 16 * blocks;
  if (as_list <= as_bits && as_list <= as_blocks)
    return with_element(width, [&](auto like) {
      std::vector<std::conditional_t<std::is_same_v<decltype(like), bool>, char, decltype(like)>> narrow(
          values.begin(), values.end());
      return elements(kind::set_sorted, width, narrow.data(), narrow.size(), 0);
    });
  draft_stack::lease d(drafts_);
  d->word(0);
  if (as_bits <= as_blocks) {
    d->word(static_cast<std::uint64_t>(first) * 64);
    d->word(values.size());
    std::vector<std::uint64_t> bits(words);
    for (const std::int64_t v : values)
      bits[static_cast<std::uint64_t>(v >> 6) - static_cast<std::uint64_t>(first)] |= std::uint64_t{1}
                                                                                      << (v & 63);
    d->raw(bits.data(), bits.size() * 8);
    return writer_.place(*d, {kind::set_bits, 0, 0, words});
  }
  d->word(values.size());
  std::vector<std::uint64_t> bits;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i == 0 || values[i] >> 6 != values[i - 1] >> 6)
      bits.push_back(0), d->word(static_cast<std::uint64_t>(values[i] >> 6));
    bits.back() |= std::uint64_t{1} << (values[i] & 63);
  }
  d->raw(bits.data(), bits.size() * 8);
  return writer_.place(*d, {kind::set_blocks, 0, 0, blocks});
}

inline ref builder::decimal(const typed::decimal& v) {
  for (const char c : v.digits)
    if (c < '0' || c > '9') fail(errc::bad_value, "a decimal: expected digits");
  if (v.what == typed::decimal::form::finite && v.digits.empty())
    fail(errc::bad_value, "a decimal: expected a digit");
  draft_stack::lease d(drafts_);
  d->word(0);
  d->word(static_cast<std::uint64_t>(v.exponent));
  for (std::size_t i = 0; i < v.digits.size(); i += 2) {
    const unsigned high = static_cast<unsigned>(v.digits[i] - '0');
    const unsigned low = i + 1 < v.digits.size() ? static_cast<unsigned>(v.digits[i + 1] - '0') : 0;
    const unsigned char both = static_cast<unsigned char>(high << 4 | low);
    d->raw(&both, 1);
  }
  const auto sub = static_cast<std::uint8_t>(static_cast<unsigned>(v.what) | (v.negative ? 1 : 0));
  return writer_.place(*d, {kind::decimal, sub, 0, v.digits.size()});
}

inline ref builder::nd(type element, std::string_view dtype, std::uint64_t item_bytes,
                       std::span<const std::uint64_t> shape, std::string_view data) {
  unsigned __int128 bytes = item_bytes;
  for (const std::uint64_t extent : shape) {
    bytes *= extent;
    if (bytes > std::uint64_t{1} << 62) fail(errc::value_range, "an n-d array: larger than 2^62 bytes");
  }
  if (shape.size() > 64) fail(errc::value_range, "an n-d array: at most 64 dimensions");
  if (item_bytes == 0 || item_bytes > UINT32_MAX || (dtype.empty() && item_bytes != bytes_of(element)) ||
      (dtype.empty() != is_scalar(element)) || bytes != data.size())
    fail(errc::bad_value, "an n-d array: expected data of shape times item size");
  const ref name = dtype.empty() ? ref{} : text(dtype, true);
  draft_stack::lease d(drafts_);
  d->word(0);
  d->add(name);
  d->word(item_bytes);
  for (const std::uint64_t extent : shape) d->word(extent);
  const std::uint64_t head_bytes = d->bytes.size();
  d->raw(data.data(), data.size());
  return writer_.place(
      *d, {kind::nd, static_cast<std::uint8_t>(dtype.empty() ? element : type::none), 0, shape.size()},
      head_bytes);
}

inline ref builder::zoned(const instant& v) {
  const ref name = text(v.zone, true);
  draft_stack::lease d(drafts_);
  d->word(0);
  d->word(static_cast<std::uint64_t>(v.ticks));
  d->word(static_cast<std::uint32_t>(v.offset_s));
  d->add(name);
  return writer_.place(*d, {kind::zoned, static_cast<std::uint8_t>(v.unit), 0, 0});
}

template <class T>
ref builder::object_of(const T& value) {
  using namespace detail;
  if constexpr (std::is_same_v<T, std::string>)
    return text(value);
  else if constexpr (std::is_same_v<T, typed::bytes>)
    return bytes(value.data);
  else if constexpr (std::is_same_v<T, typed::buffer>)
    return buffer(value.data);
  else if constexpr (std::is_same_v<T, typed::decimal>)
    return decimal(value);
  else if constexpr (std::is_same_v<T, nd_array>)
    return nd(value.element, value.dtype, value.item_bytes, value.shape, value.data);
  else if constexpr (std::is_base_of_v<ref, T>)
    return value;
  else if constexpr (described<T>)
    return record(value);
  else if constexpr (is_packed<T>::value)
    return integers(std::span<const typename T::value_type>(value));
  else if constexpr (std::is_same_v<T, any_list> || std::is_same_v<T, any_tuple> ||
                     std::is_same_v<T, any_set> || std::is_same_v<T, any_map>) {
    const item i = encode(any(value));
    return {i.s.payload, i.depth, kind::padding};
  } else if constexpr (is_vector<T>::value) {
    using E = typename T::value_type;
    if constexpr (std::is_arithmetic_v<E> && !std::is_same_v<E, bool>)
      return array(std::span<const E>(value));
    else {
      std::vector<item> items;
      items.reserve(value.size());
      for (const auto& e : value) items.push_back(encode(static_cast<const E&>(e)));
      return list(items);
    }
  } else if constexpr (is_tuple<T>::value) {
    std::vector<item> items;
    std::apply([&](const auto&... e) { (items.push_back(encode(e)), ...); }, value);
    return list(items, true);
  } else if constexpr (is_set<T>::value) {
    using E = typename T::value_type;
    if constexpr (std::is_integral_v<E> && !std::is_same_v<E, bool> && (std::is_signed_v<E> || sizeof(E) < 8))
      return integer_set(std::vector<std::int64_t>(value.begin(), value.end()));
    else if constexpr (std::is_floating_point_v<E>)
      return number_set(std::vector<double>(value.begin(), value.end()));
    else if constexpr (std::is_same_v<E, std::uint64_t>)
      return unsigned_set({value.begin(), value.end()});
    else {
      map_builder members(*this, flavour::set, duplicates::first);
      for (const auto& e : value) members.put_item(encode(e), {});
      return members.finish();
    }
  } else if constexpr (is_map<T>::value) {
    using K = typename T::key_type;
    constexpr flavour f = std::is_same_v<K, std::string>                      ? flavour::text
                          : std::is_unsigned_v<K> && !std::is_same_v<K, bool> ? flavour::uint
                                                                              : flavour::object;
    map_builder entries(*this, f, duplicates::error);
    for (const auto& [k, v] : value) {
      if constexpr (f == flavour::text)
        entries.put_item(std::string_view(k), encode(v));
      else if constexpr (f == flavour::uint)
        entries.put_item(static_cast<std::uint64_t>(k), encode(v));
      else
        entries.put_item(encode(k), encode(v));
    }
    return entries.finish();
  } else {
    static_assert(std::is_void_v<T>, "a type that cannot be stored");
  }
}

template <class T>
item builder::encode(const T& value) {
  using namespace detail;
  if constexpr (std::is_same_v<T, bool>)
    return scalar_item(code::boolean, value);
  else if constexpr (std::is_enum_v<T>)
    return encode(static_cast<std::underlying_type_t<T>>(value));
  else if constexpr (std::is_same_v<T, float>)
    return scalar_item(code::f32, std::bit_cast<std::uint32_t>(value));
  else if constexpr (std::is_same_v<T, double>)
    return scalar_item(code::f64, std::bit_cast<std::uint64_t>(value));
  else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>)
    return scalar_item(code::integer, static_cast<std::uint64_t>(std::int64_t{value}));
  else if constexpr (std::is_integral_v<T>)
    return scalar_item(code::uinteger, value);
  else if constexpr (std::is_same_v<T, std::string>)
    return encode_text(value);
  else if constexpr (std::is_same_v<T, typed::bytes>)
    return encode_bytes(value.data);
  else if constexpr (std::is_same_v<T, date>)
    return encode_date(value);
  else if constexpr (std::is_same_v<T, instant>)
    return encode_instant(value);
  else if constexpr (std::is_same_v<T, local_time>)
    return encode_local(value);
  else if constexpr (std::is_same_v<T, time_of_day>)
    return encode_time(value);
  else if constexpr (std::is_same_v<T, any>)
    return encode(value, 0u);
  else if constexpr (std::is_same_v<T, item>)
    return value;
  else if constexpr (unwrap<T>::nullable) {
    if constexpr (requires { value.has_value(); })
      return value.has_value() ? encode(*value) : null_item();
    else
      return value ? encode(*value) : null_item();
  } else
    return ref_item(object_of(value));
}

template <class T>
void builder::put(record_draft& d, std::size_t i, const T& value) {
  using namespace detail;
  if constexpr (requires { value.is_absent(); }) {
    if (value.is_absent()) return;
    if (value.is_null()) return d.set_null(i);
    put(d, i, *value);
  } else if constexpr (unwrap<T>::nullable) {
    if (!value) return d.set_null(i);
    put(d, i, *value);
  } else {
    const std::uint64_t at = d.field(i).offset;
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      std::memcpy(d.bytes().bytes.data() + at, &value, sizeof value);
    } else if constexpr (std::is_same_v<T, date>) {
      (void)encode_date(value);
      d.bytes().put(at, value.days);
    } else if constexpr (is_slot(wire_of<T>().type)) {
      d.bytes().put(at, encode(value));
    } else {
      const ref r = object_of(value);
      if (!r) return d.set_null(i);
      d.bytes().put(at, r);
    }
    d.mark_set(i);
  }
}

inline item builder::encode(const any& value, unsigned level) {
  if (level > kMaxDepth) fail(errc::too_deep, "a value: nested deeper than 255 levels");
  const auto encode_all = [&](const std::vector<any>& values) {
    std::vector<item> items;
    items.reserve(values.size());
    for (const any& v : values) items.push_back(encode(v, level + 1));
    return items;
  };
  return std::visit(
      [&](const auto& v) -> item {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::monostate>)
          return null_item();
        else if constexpr (std::is_same_v<T, any_list> || std::is_same_v<T, any_tuple>) {
          constexpr bool tuple = std::is_same_v<T, any_tuple>;
          if (const auto packed_ref = pack_numbers(*this, v.items, tuple)) return ref_item(packed_ref);
          return ref_item(list(encode_all(v.items), tuple));
        } else if constexpr (std::is_same_v<T, any_set>) {
          if (const auto packed_ref = pack_number_set(*this, v.items)) return ref_item(packed_ref);
          map_builder members(*this, flavour::set, duplicates::first);
          for (const any& member : v.items) {
            const std::uint64_t h = hash_of(member);
            members.put_item(encode(member, level + 1), h, {});
          }
          return ref_item(members.finish());
        } else if constexpr (std::is_same_v<T, any_map>) {
          map_builder entries(*this, flavour::object, duplicates::last);
          for (const auto& [k, mapped] : v.items) {
            const std::uint64_t h = hash_of(k);
            const item key = encode(k, level + 1);
            entries.put_item(key, h, encode(mapped, level + 1));
          }
          return ref_item(entries.finish());
        } else if constexpr (std::is_same_v<T, std::shared_ptr<const any_record>>)
          return ref_item(v ? v->add_to(*this) : ref{});
        else if constexpr (std::is_same_v<T, ref>)
          return ref_item(v);
        else
          return encode(v);
      },
      value.value);
}

// An `any` that holds a record of a described type.
template <described T>
any any_of(T value) {
  struct held final : any_record {
    T record;
    explicit held(T r) : record(std::move(r)) {}
    ref add_to(builder& b) const override { return b.add(record); }
  };
  return any(std::shared_ptr<const any_record>(std::make_shared<held>(std::move(value))));
}

inline std::uint64_t builder::finish(const ref& root) {
  if (finished_) fail(errc::read_only, "finish: this blob is finished");
  // Of another builder, or of what was rolled back: nobody could open it.
  if (root) {
    std::uint64_t word = 0;
    if (root.position % 8 == 0 && root.position >= kHeaderBytes &&
        root.position + sizeof word <= writer_.out().position())
      writer_.out().read(root.position, &word, sizeof word);
    const head found = head::of(word);
    if (found.kind == kind::padding || (root.kind != kind::padding && found.kind != root.kind) ||
        found.depth != root.depth)
      fail(errc::no_such, "finish: expected a reference that this builder gave, to what is still there");
  }
  // 1. The schema, after all names it refers to.
  ref schema;
  if (!registry_.types().empty()) {
    std::vector<ref> names;
    std::uint64_t fields = 0;
    for (const type_info& t : registry_.types()) {
      names.push_back(text(t.name, true));
      for (const field_info& f : t.fields) names.push_back(text(f.name, true));
      fields += t.fields.size();
    }
    draft_stack::lease d(drafts_);
    d->word(0);
    d->word(fields);
    std::size_t name = 0;
    for (const type_info& t : registry_.types()) {
      d->add(names[name]);
      d->word(t.fields.size() | std::uint64_t{t.record_bytes} << 32);
      d->word(0);
      name += 1 + t.fields.size();
    }
    name = 0;
    for (const type_info& t : registry_.types()) {
      ++name;
      for (const field_info& f : t.fields) {
        d->add(names[name++]);
        d->word(f.number | std::uint64_t{f.offset} << 32);
        d->word(static_cast<std::uint64_t>(f.type) | static_cast<std::uint64_t>(f.element) << 8 |
                std::uint64_t{f.record_type} << 32);
      }
    }
    schema = writer_.place(*d, {kind::schema, 0, 0, registry_.types().size()});
  }
  // 2. The header, last of all: before it there is no magic, so a build that stops here is no blob.
  file_header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.endian = kEndianMark, h.version = kVersion, h.min_reader = kMinReader;
  h.total_bytes = writer_.out().position();
  h.root = root.position, h.schema = schema.position, h.user_data = user_data_.position;
  if (options_.checksum) {
    h.flags |= kFlagChecksum;
    const std::uint64_t body = h.total_bytes - kHeaderBytes;
    std::uint64_t state = hash_begin(kSeedChecksum, body);
    std::vector<std::uint64_t> chunk(1 << 17);
    for (std::uint64_t at = 0; at < body; at += chunk.size() * 8) {
      const std::uint64_t n = std::min<std::uint64_t>(chunk.size() * 8, body - at);
      writer_.out().read(kHeaderBytes + at, chunk.data(), n);
      for (std::uint64_t i = 0; i < n / 8; ++i) state = hash_step(state, chunk[i]);
    }
    h.checksum = hash_end(state);
  }
  writer_.out().patch(0, &h, sizeof h);
  writer_.out().commit();
  finished_ = true;
  return h.total_bytes;
}

}  // namespace spillway::typed

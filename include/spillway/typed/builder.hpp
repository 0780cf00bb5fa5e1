// builder.hpp - native values into a typed blob, streaming: what was added is already on its way to the sink.
//
//   memory_sink out;                         // or file_sink("people.spw"), or span_sink(pool_object)
//   builder b(out);
//   auto boss = b.add(person{1, "Ann"});     // a typed handle; may be referred to any number of times
//   b.finish(boss);                          // index of types, header; then the file appears under its name
//
// Containers that never fit in memory at once: stream.hpp. Errors are thrown as `failure` (no_space, io,
// value_range, too_deep, duplicate, wrong_type); a failed add leaves nothing behind. Until finish() there is
// no readable blob. Threads: one per builder.
#pragma once
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spillway/typed/describe.hpp"
#include "spillway/typed/key.hpp"
#include "spillway/typed/lz4.hpp"
#include "spillway/typed/registry.hpp"
#include "spillway/typed/utf8.hpp"
#include "spillway/typed/writer.hpp"

namespace spillway::typed {

class map_builder;

class builder {
 public:
  explicit builder(sink& out, build_options options = {})
      : options_(std::move(options)), writer_(out, options_) {
    out.pad(kHeaderBytes);
  }
  builder(const builder&) = delete;
  builder& operator=(const builder&) = delete;

  // --- single objects
  // ---------------------------------------------------------------------------------------------- Text must
  // be UTF-8 (bad_utf8). `key`: never compressed, so that an index can compare it where it lies.
  ref text(std::string_view s, bool key = false) {
    if (!is_utf8(s)) fail(errc::bad_utf8, "a text: expected UTF-8; store other bytes as bytes");
    return characters(kind::text, s, options_.compress && !key);
  }
  ref bytes(std::string_view s) { return characters(kind::bytes, s, options_.compress); }
  ref buffer(std::string_view s) { return characters(kind::buffer, s, false); }

  // Numbers as they are, `count` of `element`.
  ref array(type element, const void* data, std::uint64_t count, bool tuple = false) {
    return elements(kind::array, element, data, count, tuple ? kTupleFlag : 0);
  }
  template <class T>
  requires(std::is_arithmetic_v<T>) ref array(std::span<const T> values, bool tuple = false) {
    return array(type_of_arithmetic<T>(), values.data(), values.size(), tuple);
  }
  // Integers in the narrowest width that holds them all.
  template <class T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) ref
      integers(std::span<const T> values, bool tuple = false) {
    T low = 0, high = 0;
    for (const T v : values) low = std::min(low, v), high = std::max(high, v);
    return with_element(narrowest(low, high), [&](auto like) {
      using N = decltype(like);
      if constexpr (std::is_same_v<N, T>) return array(values, tuple);
      std::vector<std::conditional_t<std::is_same_v<N, bool>, char, N>> narrow(values.begin(), values.end());
      return array(type_of_arithmetic<N>(), narrow.data(), narrow.size(), tuple);
    });
  }
  ref list(std::span<const item> items, bool tuple = false) {
    draft_stack::lease d(drafts_);
    d->word(0);
    for (const item& i : items) d->add(i);
    return writer_.place(*d, {kind::list, tuple ? kTupleFlag : std::uint8_t{0}, 0, items.size()},
                         align_elements(16 * items.size()));
  }
  // A set of integers in its smallest form; values in any order.
  ref integer_set(std::vector<std::int64_t> values);
  ref number_set(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return elements(kind::set_sorted, type::f64, values.data(), values.size(), 0);
  }
  ref unsigned_set(std::vector<std::uint64_t> values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return elements(kind::set_sorted, type::u64, values.data(), values.size(), 0);
  }
  ref decimal(const typed::decimal& v);
  // Row-major data; aligned to 64 bytes.
  ref nd(type element, std::string_view dtype, std::uint64_t item_bytes, std::span<const std::uint64_t> shape,
         std::string_view data);
  ref zoned(const instant& v);

  // --- values
  // ------------------------------------------------------------------------------------------------------ A
  // value of a native type as an item of a list, a map, an `any`.
  template <class T>
  item encode(const T& value);
  item encode(const any& value, unsigned level = 0);
  item encode_text(std::string_view s) {
    if (s.size() > 8) return ref_item(text(s));
    if (!is_utf8(s)) fail(errc::bad_utf8, "a text: expected UTF-8; store other bytes as bytes");
    return short_item(code::short_text, s);
  }
  item encode_bytes(std::string_view s) {
    return s.size() > 8 ? ref_item(bytes(s)) : short_item(code::short_bytes, s);
  }
  item encode_date(date v) {
    if (!v.valid()) fail(errc::value_range, "a date: expected a year from 1 to 9999");
    return scalar_item(code::date, static_cast<std::uint64_t>(std::int64_t{v.days}));
  }
  item encode_instant(const instant& v) {
    check_time(v.when(), v.offset_s);
    if (!v.zone.empty()) return ref_item(zoned(v));
    return scalar_item(code::instant, static_cast<std::uint64_t>(v.ticks), v.offset_s,
                       static_cast<std::uint8_t>(v.unit));
  }
  item encode_local(const local_time& v) {
    check_time(v.when(), kNoOffset);
    return scalar_item(code::local_time, static_cast<std::uint64_t>(v.ticks), v.fold,
                       static_cast<std::uint8_t>(v.unit));
  }
  item encode_time(const time_of_day& v) {
    if (v.ns < 0 || v.ns >= 86400000000000)
      fail(errc::value_range, "a time of day: expected less than 24 hours");
    check_time({}, v.offset_s);
    return scalar_item(code::time_of_day, static_cast<std::uint64_t>(v.ns), v.offset_s);
  }

  // --- records
  // -----------------------------------------------------------------------------------------------------
  template <described T>
  ref_to<T> add(const T& value) {
    object_writer::savepoint save(writer_);
    const ref made = record(value);
    save.release();
    ref_to<T> typed_ref;
    static_cast<ref&>(typed_ref) = made;
    return typed_ref;
  }
  // Any value as an object (a lone number in a box).
  ref add(const any& value) {
    object_writer::savepoint save(writer_);
    const ref made = boxed(encode(value));
    save.release();
    return made;
  }
  ref boxed(const item& i) {
    if (i.is_ref()) return {i.s.payload, i.depth, kind::padding};
    draft_stack::lease d(drafts_);
    d->word(0);
    d->add(i);
    return writer_.place(*d, {kind::box, 0, 0, 0});
  }

  // A record whose type is known at run time; fields not set are absent.
  class record_draft {
   public:
    record_draft(builder& b, std::uint32_t type_index) : b_(b), index_(type_index), lease_(b.drafts_) {
      const type_info& t = type();
      lease_->resize(t.record_bytes);
      std::memset(lease_->bytes.data(), 0, lease_->bytes.size());
    }
    draft& bytes() { return *lease_; }
    const type_info& type() const { return b_.registry_.types()[index_]; }
    const field_info& field(std::size_t i) const { return type().fields[i]; }
    void mark_set(std::size_t i) { bit(8, i); }
    void set_null(std::size_t i) { bit(8, i), bit(8 + type().presence_bytes(), i); }
    ref place() { return b_.writer_.place(*lease_, {kind::record, 0, 0, index_}); }

   private:
    void bit(std::size_t from, std::size_t i) { lease_->bytes[from + i / 8] |= std::byte(1u << i % 8); }
    builder& b_;
    std::uint32_t index_;
    draft_stack::lease lease_;
  };

  // --- the whole
  // ---------------------------------------------------------------------------------------------------
  void set_user_data(const any& value) { user_data_ = add(value); }

  // Writes the schema and the header and commits the sink. Returns the blob's size in bytes. Errors: no_such
  // for a root of another builder, or one that was rolled back.
  std::uint64_t finish(const ref& root);
  std::uint64_t finish(const any& root) { return finish(add(root)); }

  object_writer::savepoint savepoint() { return object_writer::savepoint(writer_); }
  class registry& registry() {
    return registry_;
  }
  object_writer& writer() { return writer_; }
  draft_stack& drafts() { return drafts_; }
  const build_options& options() const { return options_; }
  // What was written so far, to be read by this builder only; valid until the next object.
  void peek(document& d) {
    d.base = writer_.out().window();
    d.bytes = writer_.out().position();
    d.proven = true;
    d.types = registry_.types();
  }

 private:
  friend class map_builder;

  template <class T>
  static type narrowest(T low, T high) {
    if (low >= 0) {
      const auto top = static_cast<std::uint64_t>(high);
      return top <= UINT8_MAX    ? type::u8
             : top <= UINT16_MAX ? type::u16
             : top <= UINT32_MAX ? type::u32
                                 : type::u64;
    }
    const auto a = static_cast<std::int64_t>(low), b = static_cast<std::int64_t>(high);
    return a >= INT8_MIN && b <= INT8_MAX     ? type::i8
           : a >= INT16_MIN && b <= INT16_MAX ? type::i16
           : a >= INT32_MIN && b <= INT32_MAX ? type::i32
                                              : type::i64;
  }
  static item short_item(code c, std::string_view s) {
    std::uint64_t payload = 0;
    std::memcpy(&payload, s.data(), s.size());
    return scalar_item(c, payload, static_cast<std::int32_t>(s.size()));
  }
  static void check_time(moment m, std::int32_t offset_s) {
    if (!m.valid()) fail(errc::value_range, "a time: expected a year from 1 to 9999");
    if (offset_s != kNoOffset && (offset_s <= -86400 || offset_s >= 86400))
      fail(errc::value_range, "a time: expected an offset of less than 24 hours");
  }
  ref characters(kind k, std::string_view s, bool compress) {
    draft_stack::lease d(drafts_);
    d->word(0);
    std::string small;
    if (compress) small = detail::compressed(s);
    const std::string_view stored = small.empty() ? s : std::string_view(small);
    d->raw(stored.data(), stored.size());
    return writer_.place(*d, {k, small.empty() ? kCodecNone : kCodecLz4, 0, stored.size()});
  }
  ref elements(kind k, type element, const void* data, std::uint64_t count, std::uint8_t flags) {
    draft_stack::lease d(drafts_);
    d->word(0);
    const std::uint64_t bytes = count * bytes_of(element);
    d->raw(data, bytes);
    return writer_.place(*d,
                         {k, static_cast<std::uint8_t>(static_cast<std::uint8_t>(element) | flags), 0, count},
                         bytes >= 256 ? 8 : 0);
  }
  template <described T>
  ref record(const T& value) {
    struct level {
      unsigned& n;
      explicit level(unsigned& count) : n(count) { ++n; }
      ~level() { --n; }
    } here(level_);
    if (level_ > kMaxDepth + 1) fail(errc::too_deep, "a record: nested deeper than 255 levels");
    record_draft d(*this, registry_.index_of<T>());
    for_each_member<T>([&](const auto& m, std::size_t i) { put(d, i, value.*m.pointer); });
    return d.place();
  }
  template <class T>
  void put(record_draft& d, std::size_t i, const T& value);
  template <class T>
  ref object_of(const T& value);

  build_options options_;
  object_writer writer_;
  draft_stack drafts_;
  class registry registry_;
  ref user_data_;
  unsigned level_ = 0;
  bool finished_ = false;
};

}  // namespace spillway::typed

#include "spillway/typed/builder_values.hpp"

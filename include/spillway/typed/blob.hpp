// blob.hpp - typed bytes opened for reading: the header and the schema are checked and copied, everything
// else stays put.
//
// Why the schema is copied: it decides how far every record reaches, and the memory may belong to somebody
// who is still writing. What lies behind the schema is not looked at here (opening takes the same time for
// any size); it is checked at each step, unless verify() has proven it. Views hold a plain pointer to the
// document: keep the blob. Threads: any number of readers.
#pragma once
#include <algorithm>
#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "spillway/typed/format.hpp"
#include "spillway/typed/hash.hpp"
#include "spillway/typed/result.hpp"
#include "spillway/typed/utf8.hpp"

namespace spillway::typed {

inline constexpr std::uint32_t kNoType = 0xffffffff;

struct field_info {
  std::string name;
  std::uint32_t number = 0;
  std::uint32_t offset = 0;  // from the record's header word
  typed::type type = type::none;
  typed::type element = type::none;     // of an array; none: any
  std::uint32_t record_type = kNoType;  // of a record, or of a list's records
};

struct type_info {
  std::string name;
  std::uint32_t record_bytes = 0;
  std::vector<field_info> fields;

  std::uint32_t presence_bytes() const { return (static_cast<std::uint32_t>(fields.size()) + 7) / 8; }
  const field_info* find(std::string_view field) const {
    for (const field_info& f : fields)
      if (f.name == field) return &f;
    return nullptr;
  }
  std::size_t index_of(const field_info& f) const { return static_cast<std::size_t>(&f - fields.data()); }
};

// Who else can change the memory. Only what nobody else can change may be proven.
enum class sharing : std::uint8_t {
  shared,     // others may write: a mapped file, shared memory. The safe assumption
  exclusive,  // this program's own memory, or memory sealed against writing
};

// Bytes and what is known about them.
struct region {
  std::byte* base = nullptr;
  std::uint64_t bytes = 0;
  sharing access = sharing::shared;
  bool writable = false;                // in-place set() is allowed
  std::shared_ptr<const void> owner{};  // keeps the memory alive; may be empty
};

// This program's own memory, which nobody else writes while it is read. Borrowed: it must outlive the blob.
inline region own_memory(std::span<const std::byte> s) {
  return {const_cast<std::byte*>(s.data()), s.size(), sharing::exclusive, false, {}};
}
inline region shared_memory(std::span<const std::byte> s) {
  return {const_cast<std::byte*>(s.data()), s.size(), sharing::shared, false, {}};
}
inline region writable_memory(std::span<std::byte> s) {
  return {s.data(), s.size(), sharing::shared, true, {}};
}

struct plan_node;  // evolution.hpp: how a C++ type reads each of the writer's types
struct plan_chain {
  std::atomic<const plan_node*> first{nullptr};
  ~plan_chain();
};

// What an opened blob is to its views.
struct document {
  region memory;
  const std::byte* base = nullptr;
  std::uint64_t bytes = 0;  // of the blob; the memory may be larger
  bool proven = false;
  bool checksummed = false;
  std::uint16_t version = 0;
  std::uint64_t root = 0, schema = 0, user_data = 0;
  std::vector<type_info> types;
  mutable plan_chain plans;
  // What verify() saw on its way: lists of 16 elements and more that are all records of one type, by
  // position.
  struct record_list {
    std::uint64_t position;
    std::uint32_t type;
  };
  std::vector<record_list> record_lists;
  std::vector<bool> complete;

  bool holds_only(std::uint64_t list, std::uint64_t type) const {
    const auto found =
        std::lower_bound(record_lists.begin(), record_lists.end(), list,
                         [](const record_list& l, std::uint64_t at) { return l.position < at; });
    return found != record_lists.end() && found->position == list && found->type == type;
  }
  bool writable() const { return memory.writable && !proven && !checksummed; }
};

// An object whose extent lies inside the blob (checked, or proven).
struct object {
  const document* doc = nullptr;
  std::uint64_t position = 0;
  std::uint64_t word = 0;  // the header as it is stored: taken apart, it could not be copied quickly
  head h() const { return head::of(word); }
  const std::byte* at() const { return doc->base + position; }
};

namespace detail {

// The row-major data of an n-d array starts at the next multiple of 64.
constexpr std::uint64_t nd_data_at(std::uint64_t position, std::uint64_t dimensions) {
  return round_up(position + 24 + 8 * dimensions, 64);
}

// Bytes from the header word to the last; `available` counts from the header word too. The result is at most
// available.
inline result<std::uint64_t> object_bytes(const document& d, std::uint64_t position, head h,
                                          std::uint64_t available) {
  const std::byte* at = d.base + position;
  const std::uint64_t n = h.count;  // below 2^40, so products with small constants cannot overflow
  const error over{errc::out_of_range, 0, position, "an object that ends inside the blob", nullptr};
  const auto element = static_cast<type>(h.sub & ~kTupleFlag);
  std::uint64_t size = 0;
  switch (h.kind) {
    case kind::text:
    case kind::bytes:
    case kind::buffer:
      size = 8 + n;
      break;
    case kind::array:
    case kind::set_sorted:
      if (!is_scalar(element)) return {errc::bad_tag, "an element type of arrays", position};
      size = 8 + n * bytes_of(element);
      break;
    case kind::list:
      size = 8 + 16 * n;
      break;
    case kind::set_bits:
      size = 24 + 8 * n;
      break;
    case kind::set_blocks:
      size = 16 + 16 * n;
      break;
    case kind::map: {
      if (available < kMapHeadBytes) return over;
      const auto f = static_cast<flavour>(h.sub & ~kMultiFlag);
      if (f < flavour::text || f > flavour::approx) return {errc::bad_tag, "a kind of map", position};
      const std::uint64_t buckets = load_word(at + 32);
      if (buckets > available) return {errc::out_of_range, "a directory inside the blob", position};
      size = kMapHeadBytes + n * entry_bytes(f) + (buckets + 1) * (n < UINT32_MAX ? 4 : 8);
      break;
    }
    case kind::record:
      if (n >= d.types.size()) return {errc::out_of_range, "a record type of the schema", position};
      size = d.types[n].record_bytes;
      break;
    case kind::nd: {
      if (n > 64) return {errc::out_of_range, "at most 64 dimensions", position};
      if (available < 24 + 8 * n) return over;
      unsigned __int128 product = load_word(at + 16);
      if (product == 0 || product > UINT32_MAX)
        return {errc::bad_value, "items of 1 byte to 4 GiB", position};
      bool empty = false;
      for (std::uint64_t i = 0; i < n; ++i) {
        const std::uint64_t extent = load_word(at + 24 + 8 * i);
        empty |= extent == 0;
        product *= extent ? extent : 1;
        if (product > d.bytes) product = static_cast<unsigned __int128>(d.bytes) + 1;
      }
      size = detail::nd_data_at(position, n) - position + (empty ? 0 : static_cast<std::uint64_t>(product));
      break;
    }
    case kind::decimal:
      size = 16 + (n + 1) / 2;
      break;
    case kind::zoned:
      size = 32;
      break;
    case kind::box:
      size = 24;
      break;
    case kind::schema: {
      if (available < 16) return over;
      const std::uint64_t fields = load_word(at + 8);
      if (fields > kMaxCount) return over;
      size = 16 + 24 * n + 24 * fields;
      break;
    }
    default:
      return {errc::bad_tag, "a kind of object", position};
  }
  if (size > available) return over;
  return size;
}

}  // namespace detail

// The object at `position`, which was referred to from `from` by an object of depth `below` (256: by the
// header).
inline result<object> unproven_object_at(const document& d, std::uint64_t position, std::uint64_t from,
                                         unsigned below) {
  if (position % 8) return {errc::misaligned, "a reference to a multiple of 8", from};
  if (position >= from) return {errc::forward, "a reference that points backward", from};
  if (position < kHeaderBytes || position > d.bytes - 8)
    return {errc::out_of_range, "a reference into the blob", from};
  const std::uint64_t word = load_word(d.base + position);
  const head h = head::of(word);
  if (h.depth >= below)
    return {errc::too_deep, "an object less deep than the one that refers to it", position};
  const auto size = detail::object_bytes(d, position, h, d.bytes - position);
  if (!size) return size.error();
  return object{&d, position, word};
}
[[gnu::always_inline]] inline result<object> object_at(const document& d, std::uint64_t position,
                                                       std::uint64_t from, unsigned below) {
  if (d.proven) return object{&d, position, load_word(d.base + position)};
  return unproven_object_at(d, position, from, below);
}

// The object that the self-relative offset at `from` leads to. Errors: null_value when it is 0.
inline result<object> follow(const document& d, std::uint64_t from, unsigned below) {
  const std::uint64_t offset = load_word(d.base + from);
  if (offset == 0) return {errc::null_value, "", from};
  return object_at(d, from + offset, from, below);
}

namespace detail {

// A name in the schema: short, uncompressed UTF-8.
inline result<std::string> schema_name(const document& d, std::uint64_t from) {
  const auto o = follow(d, from, 256);
  if (!o) return o.error();
  if (o->h().kind != kind::text || o->h().sub != kCodecNone || o->h().count > 65535)
    return {errc::bad_tag, "a name of at most 65535 bytes", from};
  std::string name(reinterpret_cast<const char*>(o->at() + 8), o->h().count);
  if (!is_utf8(name)) return {errc::bad_utf8, "a name in UTF-8", from};
  return name;
}

inline status read_schema(document& d) {
  const auto o = object_at(d, d.schema, d.bytes, 256);
  if (!o) return o.error();
  if (o->h().kind != kind::schema) return {errc::bad_tag, "a schema", d.schema};
  const std::uint64_t at = d.schema, count = o->h().count, total = load_word(o->at() + 8);
  // Counts were measured against the bytes they take, so this memory is at most a few times the blob's.
  if (16 + 24 * count + 24 * total > d.bytes - at)
    return {errc::out_of_range, "a schema inside the blob", at};
  std::uint64_t used = 0, name_bytes = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t entry = at + 16 + 24 * i;
    const auto name = schema_name(d, entry);
    if (!name) return name.error();
    type_info t{*name, load<std::uint32_t>(d.base + entry + 12), {}};
    const std::uint64_t fields = load<std::uint32_t>(d.base + entry + 8);
    if (fields > total - used) return {errc::out_of_range, "fields of the schema", entry};
    const std::uint64_t presence = round_up(2 * ((fields + 7) / 8), 8);
    if (t.record_bytes % 8 || t.record_bytes < 8 + presence || t.record_bytes > 16 + presence + 16 * fields)
      return {errc::bad_value, "the size of a record", entry};
    std::vector<bool> taken(t.record_bytes);
    std::unordered_set<std::uint32_t> numbers;
    std::unordered_set<std::string> names;
    for (std::uint64_t k = 0; k < fields; ++k) {
      const std::uint64_t f = at + 16 + 24 * count + 24 * (used + k);
      const auto field_name = schema_name(d, f);
      if (!field_name) return field_name.error();
      name_bytes += field_name->size();
      if (name_bytes > d.bytes + (1 << 20)) return {errc::too_much, "names that fit the blob", f};
      field_info info{*field_name,
                      load<std::uint32_t>(d.base + f + 8),
                      load<std::uint32_t>(d.base + f + 12),
                      load<type>(d.base + f + 16),
                      load<type>(d.base + f + 17),
                      load<std::uint32_t>(d.base + f + 20)};
      const std::uint32_t bytes = bytes_of(info.type);
      if (!is_known(info.type) || (info.element != type::none && !is_known(info.element)))
        return {errc::bad_tag, "a known field type", f};
      if (info.record_type != kNoType && info.record_type >= count)
        return {errc::out_of_range, "a record type", f};
      if (info.offset < 8 + presence || info.offset > t.record_bytes - bytes ||
          info.offset % (bytes > 8 ? 8 : bytes))
        return {errc::out_of_range, "a field inside its record", f};
      for (std::uint32_t b = 0; b < bytes; ++b) {
        if (taken[info.offset + b]) return {errc::contradiction, "fields that do not overlap", f};
        taken[info.offset + b] = true;
      }
      if (!numbers.insert(info.number).second || !names.insert(info.name).second)
        return {errc::duplicate, "field numbers and names that differ", f};
      t.fields.push_back(std::move(info));
    }
    used += fields;
    d.types.push_back(std::move(t));
  }
  return used == total ? status() : status{errc::contradiction, "every field to belong to a type", at};
}

}  // namespace detail

// An opened blob. Copies share it; it must outlive its views.
class blob {
 public:
  blob() = default;

  // Errors: truncated, bad_magic, foreign_endian, newer_version, misaligned, and what may be wrong with a
  // schema.
  static result<blob> open(region r) {
    file_header h;
    if (r.bytes < sizeof h) return {errc::truncated, "a header of 64 bytes"};
    if (reinterpret_cast<std::uintptr_t>(r.base) % 8) return {errc::misaligned, "memory at a multiple of 8"};
    std::memcpy(&h, r.base, sizeof h);
    if (std::memcmp(h.magic, kMagic, sizeof kMagic) != 0)
      return {errc::bad_magic, "a typed blob whose build has finished"};
    if (h.endian != kEndianMark) return {errc::foreign_endian, "a little-endian blob"};
    if (h.min_reader > kVersion) return {errc::newer_version, "a blob for readers of version 1"};
    if (h.total_bytes > r.bytes) return {errc::truncated, "as many bytes as the header announces"};
    if (h.total_bytes < sizeof h || h.total_bytes % 8)
      return {errc::out_of_range, "a total that is a multiple of 8"};
    if ((h.flags & ~kFlagChecksum) || h.reserved) return {errc::bad_tag, "flags of this version"};

    auto d = std::make_shared<document>();
    d->memory = std::move(r);
    d->base = d->memory.base;
    d->bytes = h.total_bytes;
    d->version = h.version;
    d->checksummed = h.flags & kFlagChecksum;
    d->root = h.root, d->schema = h.schema, d->user_data = h.user_data;
    for (const std::uint64_t position : {h.root, h.schema, h.user_data})
      if (position && (position < kHeaderBytes || position % 8 || position > h.total_bytes - 8))
        return {errc::out_of_range, "positions inside the blob", position};
    if (d->schema)
      if (auto s = detail::read_schema(*d); !s) return s.error();
    blob b;
    b.document_ = std::move(d);
    return b;
  }

  explicit operator bool() const { return document_ != nullptr; }
  const document& doc() const { return *document_; }
  std::uint64_t bytes() const { return document_->bytes; }
  const std::vector<type_info>& types() const { return document_->types; }
  std::shared_ptr<const document> share() const { return document_; }

 protected:
  std::shared_ptr<document> document_;
};

}  // namespace spillway::typed

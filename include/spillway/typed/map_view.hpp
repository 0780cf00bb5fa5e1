// map_view.hpp - indexes in place: look-up by text, number or any key; every value of a key; entries in index
// order.
//
// Entries are sorted by h (the key, or its hash); a directory holds the first entry of each range of 2^shift
// values of h. A look-up reads one directory pair and the two or so entries between. In bytes nobody has
// proven, whatever the directory says stays within the entries.
#pragma once
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spillway/typed/any_view.hpp"
#include "spillway/typed/key.hpp"
#include "spillway/typed/list_view.hpp"

namespace spillway::typed {

// The canonical bytes of a stored value, as of a native one. Errors: wrong_type for what is no key, too_much.
status write_key(key_writer& w, const any_view& key);

class map_view {
 public:
  static constexpr std::uint64_t npos = UINT64_MAX;

  map_view() = default;
  static result<map_view> of(const object& o) {
    if (o.h().kind != kind::map) return {errc::wrong_type, "a map", o.position};
    map_view m;
    m.o_ = o;
    m.flavour_ = static_cast<typed::flavour>(o.h().sub & ~kMultiFlag);
    m.keys_ = load_word(o.at() + 8);
    m.low_ = load_word(o.at() + 16);
    const std::uint64_t form = load_word(o.at() + 24);
    m.buckets_ = load_word(o.at() + 32);
    m.shift_ = static_cast<unsigned>(form & 0xff), m.hash_bits_ = static_cast<unsigned>(form >> 8 & 0xff);
    m.entry_ = entry_bytes(m.flavour_);
    // buckets was measured against the blob, but may have changed since: measured again.
    const std::uint64_t room = o.doc->bytes - o.position - kMapHeadBytes, n = o.h().count,
                        width = n < UINT32_MAX ? 4 : 8;
    if (m.shift_ > 63 || m.hash_bits_ < 1 || m.hash_bits_ > 64 || m.keys_ > n || n * m.entry_ > room ||
        m.buckets_ >= (room - n * m.entry_) / width || (n && m.buckets_ == 0))
      return {errc::out_of_range, "an index inside the blob", o.position};
    m.entries_ = o.at() + kMapHeadBytes;
    m.directory_ = m.entries_ + n * m.entry_;
    if (m.flavour_ == typed::flavour::text && width == 4 && n > kCounted) m.counted_ = n - kCounted;
    return m;
  }

  std::uint64_t size() const { return keys_; }            // distinct keys
  std::uint64_t entries() const { return o_.h().count; }  // values
  bool empty() const { return o_.h().count == 0; }
  bool is_multi() const { return o_.h().sub & kMultiFlag; }
  typed::flavour flavour() const { return flavour_; }
  unsigned hash_bits() const { return hash_bits_; }
  const typed::object& object() const { return o_; }
  std::uint64_t buckets() const { return buckets_; }
  unsigned shift() const { return shift_; }
  std::uint64_t low() const { return low_; }
  // Bytes of everything but the values.
  std::uint64_t index_bytes() const {
    return kMapHeadBytes + entries() * (entry_ - (flavour_ == typed::flavour::set ? 0 : 16)) +
           (buckets_ + 1) * (entries() < UINT32_MAX ? 4 : 8);
  }
  // The probability that a key which is not in an approximate map is answered with values nevertheless.
  double false_rate() const {
    return hash_bits_ >= 64 && flavour_ != typed::flavour::approx
               ? 0
               : static_cast<double>(keys_) / std::exp2(hash_bits_);
  }

  // i < entries().
  std::uint64_t hash(std::uint64_t i) const { return load_word(entry(i)); }
  any_view key(std::uint64_t i) const {
    const std::uint64_t at = o_.position + kMapHeadBytes + i * entry_ + 8;
    switch (flavour_) {
      case typed::flavour::text:
        return any_view::at_reference(*o_.doc, at, o_.h().depth);
      case typed::flavour::object:
      case typed::flavour::set:
        return any_view::at_slot(*o_.doc, at, o_.h().depth);
      default:
        return any_view::at_scalar(*o_.doc, type::u64, at - 8);
    }
  }
  any_view value(std::uint64_t i) const {
    if (flavour_ == typed::flavour::set) return {};
    return any_view::at_slot(*o_.doc, o_.position + kMapHeadBytes + (i + 1) * entry_ - 16, o_.h().depth);
  }

  // The first entry of a key, npos when there is none; next() gives the following ones. Errors: those of
  // damaged keys.
  result<std::uint64_t> find(std::string_view key) const {
    if (flavour_ == typed::flavour::text) {
      const std::uint64_t h = hash_text(key), i = find_usual(h, key);
      return i != npos ? i : scan_text(lower(h), h, key);
    }
    if (flavour_ == typed::flavour::approx) return find_hash(hash_text(key));
    if (flavour_ == typed::flavour::uint) return npos;
    return find(any(key));
  }
  result<std::uint64_t> find(std::uint64_t key) const {
    if (flavour_ == typed::flavour::uint) {
      const std::uint64_t i = lower(key);
      return i < entries() && hash(i) == key ? i : npos;
    }
    if (flavour_ == typed::flavour::text || flavour_ == typed::flavour::approx) return npos;
    return find(any(key));
  }
  // The same keys as a program writes them: without these, -1 would be 2^64 - 1, and "text" nobody's.
  template <std::signed_integral I>
  result<std::uint64_t> find(I key) const {
    return key < 0 ? find(any(std::int64_t{key})) : find(static_cast<std::uint64_t>(key));
  }
  result<std::uint64_t> find(const std::string& key) const { return find(std::string_view(key)); }
  result<std::uint64_t> find(const char* key) const { return find(std::string_view(key)); }
  result<std::uint64_t> find(std::nullptr_t) const { return find(any(nullptr)); }
  result<std::uint64_t> find_hash(std::uint64_t h) const {  // approximate maps
    if (hash_bits_ < 64) h = h >> (64 - hash_bits_) << (64 - hash_bits_);
    const std::uint64_t i = lower(h);
    return i < entries() && hash(i) == h ? i : npos;
  }
  // Any key, in any kind of map. Throws wrong_type for what can be no key.
  result<std::uint64_t> find(const any& key) const {
    if (const auto* s = key.get<std::string>();
        s && flavour_ != typed::flavour::object && flavour_ != typed::flavour::set)
      return find(std::string_view(*s));
    if (flavour_ == typed::flavour::text || flavour_ == typed::flavour::approx) return npos;
    return find_canonical(key_of(key));
  }
  result<std::uint64_t> find_canonical(const std::string& key) const {
    if (flavour_ == typed::flavour::uint) {  // tag, sign, magnitude
      if (key.size() != 10 || key[0] != kKeyInteger || key[1] != '+') return npos;
      std::uint64_t v;
      std::memcpy(&v, key.data() + 2, 8);
      return find(v);
    }
    if (flavour_ == typed::flavour::text) {
      if (key.size() < 9 || key[0] != kKeyText) return npos;
      return find(std::string_view(key).substr(9));
    }
    const std::uint64_t h = hash64(key.data(), key.size(), 0);
    return scan(lower(h), h, key);
  }
  // The next entry with the key of entry i.
  result<std::uint64_t> next(std::uint64_t i) const {
    if (i + 1 >= entries() || !is_multi()) return npos;
    const std::uint64_t h = hash(i);
    if (hash(i + 1) != h) return npos;
    if (flavour_ == typed::flavour::uint || flavour_ == typed::flavour::approx) return i + 1;
    key_writer w;
    if (auto s = write_key(w, key(i)); !s) return s.error();
    return scan(i + 1, h, w.bytes());
  }
  bool contains(const any& key) const {
    const auto i = find(key);
    return i && *i != npos;
  }

  // The first entry whose h is not below the given one.
  std::uint64_t lower(std::uint64_t h) const {
    const std::uint64_t n = entries();
    if (n == 0 || h < low_) return 0;
    const std::uint64_t bucket = (h - low_) >> shift_;
    if (bucket >= buckets_) return n;
    std::uint64_t first = directory(bucket), last = directory(bucket + 1);
    if (last > n) last = n;
    if (first > last) first = last;
    while (last - first > 8) {
      const std::uint64_t middle = first + (last - first) / 2;
      if (hash(middle) < h)
        first = middle + 1;
      else
        last = middle;
    }
    while (first < last && hash(first) < h) ++first;
    return first;
  }
  // i <= buckets()
  std::uint64_t directory(std::uint64_t i) const {
    return entries() < UINT32_MAX ? once(load<std::uint32_t>(directory_ + 4 * i))
                                  : load_word(directory_ + 8 * i);
  }
  // For batches: brings the directory entry of a key, then its first index entry, into the cache.
  void prefetch_directory(std::uint64_t h) const {
    if (h >= low_ && (h - low_) >> shift_ < buckets_)
      __builtin_prefetch(directory_ + 4 * ((h - low_) >> shift_));
  }
  void prefetch_entry(std::uint64_t h) const {
    if (h < low_ || (h - low_) >> shift_ >= buckets_) return;
    const std::uint64_t i = directory((h - low_) >> shift_);
    if (i < entries()) __builtin_prefetch(entry(i));
  }

  // The entry of a text key, whose hash is h, as nearly every look-up finds it: within the first few entries
  // of its range, referring to a plain text. npos says nothing.
  //
  // Which of the few it is nobody can guess, and a branch that was guessed wrong waits for the entry to come
  // from memory. So they are counted, and with so few instructions the waits of several look-ups overlap.
  [[gnu::always_inline]] std::uint64_t find_usual(std::uint64_t h, std::string_view key) const {
    const std::uint64_t bucket = (h - low_) >> shift_;
    if (bucket >= buckets_) return npos;
    std::uint64_t i = once(load<std::uint32_t>(directory_ + 4 * bucket));
    if (i >= counted_) return npos;
    constexpr std::uint64_t kEntry = entry_bytes(typed::flavour::text);
    const std::byte* const first = entries_ + i * kEntry;
    std::uint64_t below = 0;
#pragma GCC unroll 4
    for (std::uint64_t n = 0; n < kCounted; ++n) below += load_word(first + n * kEntry) < h;
    i += below;
    const std::byte* const from = entries_ + i * kEntry + 8;
    // What is referred to lies before, and behind the header.
    const std::uint64_t back = -load_word(from),
                        room = o_.position + kMapHeadBytes + i * kEntry + 8 - kHeaderBytes;
    if (load_word(from - 8) != h || back % 8 || back > room || back < 8 + key.size()) return npos;
    const std::byte* const text = from - back;
    if (load_word(text) != head{kind::text, kCodecNone, 0, key.size()}.word()) return npos;
    return same_bytes(text + 8, key.data(), key.size()) ? i : npos;
  }
  // The text an entry refers to; any i.
  void prefetch_key(std::uint64_t i) const {
    if (i >= entries()) return;
    const std::byte* const from = entry(i) + 8;
    __builtin_prefetch(
        reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(from) + load_word(from)));
  }
  // The entry of `key`, whose hash is h, from entry i = lower(h) on; npos when there is none.
  result<std::uint64_t> scan_text(std::uint64_t i, std::uint64_t h, std::string_view key) const {
    for (; i < entries() && hash(i) == h; ++i) {
      const auto o = follow(*o_.doc, o_.position + kMapHeadBytes + i * entry_ + 8, o_.h().depth);
      if (!o) return o.error();
      if (o->h().kind != kind::text || o->h().sub != kCodecNone)
        return {errc::wrong_type, "a key that is text", o->position};
      if (std::string_view(reinterpret_cast<const char*>(o->at() + 8), o->h().count) == key) return i;
    }
    return npos;
  }

 private:
  const std::byte* entry(std::uint64_t i) const { return entries_ + i * entry_; }

  result<std::uint64_t> scan(std::uint64_t i, std::uint64_t h, const std::string& canonical) const {
    for (; i < entries() && hash(i) == h; ++i) {
      key_writer w;
      if (auto s = write_key(w, key(i)); !s) return s.error();
      if (w.bytes() == canonical) return i;
    }
    return npos;
  }

  static constexpr std::uint64_t kCounted = 4;

  typed::object o_;
  const std::byte *entries_ = nullptr, *directory_ = nullptr;
  std::uint64_t counted_ = 0;  // ranges that begin before this entry have kCounted entries behind their first
  typed::flavour flavour_ = typed::flavour::uint;
  std::uint64_t keys_ = 0, low_ = 0, buckets_ = 0, entry_ = 24;
  unsigned shift_ = 0, hash_bits_ = 64;
};

inline result<map_view> any_view::map() const {
  if (!is_reference()) return mismatch("a map");
  const auto o = object();
  if (!o) return o.error();
  if (o->h().kind == kind::map && (o->h().sub & ~kMultiFlag) == static_cast<unsigned>(typed::flavour::set))
    return {errc::wrong_type, "a map, not a set", o->position};
  return map_view::of(*o);
}

}  // namespace spillway::typed

#include "spillway/typed/set_view.hpp"

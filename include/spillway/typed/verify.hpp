// verify.hpp - proves a blob whole: every object inside it, every reference backward to an object of smaller
// depth, every text UTF-8, every index in order, every tag, count, bitmap and checksum consistent.
//
// One pass from the first byte to the last, no recursion: references only point backward, so what an object
// refers to was looked at before it. Memory: a bit per word of the blob and four bytes per object, and
// nothing a count in the blob could enlarge. Only memory that nobody else can write is proven; see
// region::access.
#pragma once
#include <cmath>
#include <limits>
#include <vector>

#include "spillway/typed/view.hpp"

namespace spillway::typed {

struct verify_options {
  unsigned max_depth = kMaxDepth;  // of nesting
  double max_visits =
      1 << 26;  // values met when everything is expanded as a tree (or 64 per object, if more)
  std::uint64_t max_expanded_bytes = std::uint64_t{4} << 30;  // of all compressed texts together
  bool checksum = true;                                       // when the blob has one
  bool hashes = true;                                         // the hash of every key in an index
};

namespace detail {

class verifier {
 public:
  verifier(const blob& b, const verify_options& options) : d_(b.doc()), o_(options) {}

  status run() {
    if (d_.checksummed && o_.checksum)
      if (auto s = check_sum(); !s) return s;
    const std::uint64_t words = d_.bytes / 8;
    starts_.assign(words / 64 + 1, 0);
    rank_.reserve(starts_.size());
    // Visits count what a reader that follows every reference would do.
    std::uint64_t at = kHeaderBytes;
    while (at < d_.bytes) {
      while (rank_.size() <= at / 512) rank_.push_back(static_cast<std::uint32_t>(visits_.size()));
      const std::uint64_t w = load_word(d_.base + at);
      if (w == 0) {
        at += 8;
        continue;
      }
      const head h = head::of(w);
      const auto bytes = object_bytes(d_, at, h, d_.bytes - at);
      if (!bytes) return bytes.error();
      if (visits_.size() == UINT32_MAX) return {errc::too_much, "fewer than 2^32 objects", at};
      here_ = {&d_, at, h};
      visits_now_ = 1;
      if (h.depth > o_.max_depth) return {errc::too_deep, "a value less deep", at};
      if (auto s = object(); !s) return s;
      starts_[at / 512] |= std::uint64_t{1} << at / 8 % 64;
      visits_.push_back(visits_now_);
      const std::uint64_t end = at + *bytes;
      for (std::uint64_t i = end; i < round_up(end, 8); ++i)
        if (d_.base[i] != std::byte{0}) return {errc::contradiction, "zeros behind an object", i};
      at = round_up(end, 8);
    }
    // What the header refers to.
    float total = 0;
    for (const std::uint64_t position : {d_.root, d_.user_data, d_.schema}) {
      if (!position) continue;
      if (!is_start(position)) return {errc::out_of_range, "a position of an object", position};
      total += visits_[ordinal(position)];
    }
    for (const std::uint64_t position : {d_.root, d_.user_data})
      if (position && head::of(load_word(d_.base + position)).kind == kind::schema)
        return {errc::bad_tag, "a value", position};
    const double most = std::max(o_.max_visits, 64.0 * static_cast<double>(visits_.size()));
    if (total > most) return {errc::too_much, "fewer values when shared ones are expanded"};
    return {};
  }

 private:
  bool is_start(std::uint64_t position) const {
    return position % 8 == 0 && position >= kHeaderBytes && position < d_.bytes &&
           (starts_[position / 512] >> position / 8 % 64 & 1);
  }
  std::uint64_t ordinal(std::uint64_t position) const {
    const std::uint64_t below = starts_[position / 512] & ((std::uint64_t{1} << position / 8 % 64) - 1);
    return rank_[position / 512] + static_cast<std::uint64_t>(std::popcount(below));
  }

  // The reference at `from`: null is for the caller to permit.
  result<head> refers(std::uint64_t from) {
    const std::uint64_t target = from + load_word(d_.base + from);
    if (target % 8) return {errc::misaligned, "a reference to a multiple of 8", from};
    if (target >= here_.position) return {errc::forward, "a reference that points backward", from};
    if (!is_start(target)) return {errc::out_of_range, "a reference to the start of an object", from};
    const head h = head::of(load_word(d_.base + target));
    if (h.depth >= here_.h.depth)
      return {errc::too_deep, "an object less deep than the one that refers to it", from};
    if (h.kind == kind::schema || h.kind == kind::box) return {errc::bad_tag, "a reference to a value", from};
    visits_now_ += visits_[ordinal(target)];
    return h;
  }

  static bool fits(type t, type element, head h) {
    const auto map_flavour = static_cast<flavour>(h.sub & ~kMultiFlag);
    switch (t) {
      case type::text:
        return h.kind == kind::text;
      case type::bytes:
        return h.kind == kind::bytes;
      case type::buffer:
        return h.kind == kind::buffer;
      case type::array:
        if (h.kind == kind::array)
          return element == type::none || element == static_cast<type>(h.sub & ~kTupleFlag);
        return h.kind == kind::list && h.count == 0;
      case type::list:
        return (h.kind == kind::list || h.kind == kind::array) && !(h.sub & kTupleFlag);
      case type::tuple:
        return (h.kind == kind::list || h.kind == kind::array) && (h.sub & kTupleFlag);
      case type::set:
        return h.kind == kind::set_sorted || h.kind == kind::set_bits || h.kind == kind::set_blocks ||
               (h.kind == kind::map && map_flavour == flavour::set);
      case type::map:
        return h.kind == kind::map && map_flavour != flavour::set;
      case type::record:
        return h.kind == kind::record;
      case type::nd:
        return h.kind == kind::nd;
      case type::decimal:
        return h.kind == kind::decimal;
      default:
        return true;
    }
  }

  status slot_at(std::uint64_t at, type declared = type::any) {
    const slot s = load_slot(d_.base + at);
    visits_now_ += 1;
    const any_view v = any_view::at_slot(d_, at, here_.h.depth);
    const auto clean = [&](bool sub, bool aux) {
      return s.zero == 0 && (sub || s.sub == 0) && (aux || s.aux == 0);
    };
    const error bad{errc::bad_value, 0, at, "a slot whose parts agree", nullptr};
    const auto only = [&](type t) { return declared == type::any || declared == t; };
    const error wrong{errc::bad_tag, 0, at, "a value of the field's type", nullptr};
    switch (s.what) {
      case code::null:
        if (!clean(false, false) || s.payload) return bad;
        return only(type::any) ? status() : wrong;
      case code::boolean:
        if (!clean(false, false) || s.payload > 1) return bad;
        return only(type::any) ? status() : wrong;
      case code::integer:
      case code::uinteger:
      case code::f64:
        return !clean(false, false) ? status(bad) : only(type::any) ? status() : wrong;
      case code::f32:
        return !clean(false, false) || s.payload >> 32 ? status(bad) : only(type::any) ? status() : wrong;
      case code::short_text:
      case code::short_bytes: {
        if (!clean(false, true) || s.aux < 0 || s.aux > 8 || (s.aux < 8 && s.payload >> 8 * s.aux))
          return bad;
        if (s.what == code::short_text && !is_utf8(std::string_view(reinterpret_cast<const char*>(&s.payload),
                                                                    static_cast<std::size_t>(s.aux))))
          return {errc::bad_utf8, "a text in UTF-8", at};
        return only(type::any) ? status() : wrong;
      }
      case code::date:
        if (!clean(false, false) || !v.date()) return bad;
        return only(type::any) ? status() : wrong;
      case code::instant:
        if (!clean(true, true) || !v.instant()) return bad;
        return only(type::instant) ? status() : wrong;
      case code::local_time:
        if (!clean(true, true) || !v.local_time()) return bad;
        return only(type::local_time) ? status() : wrong;
      case code::time_of_day:
        if (!clean(false, true) || !v.time_of_day()) return bad;
        return only(type::time_of_day) ? status() : wrong;
      case code::ref: {
        if (!clean(false, false)) return bad;
        const auto h = refers(at + kSlotPayload);
        if (!h) return h.error();
        return declared == type::any || (declared == type::instant && h->kind == kind::zoned) ? status()
                                                                                              : wrong;
      }
      default:
        return {errc::bad_tag, "a known code", at};
    }
  }

  status text_body() {
    const head& h = here_.h;
    if (h.sub > kCodecLz4 || (h.kind == kind::buffer && h.sub))
      return {errc::bad_tag, "a known codec", here_.position};
    const text_view t(reinterpret_cast<const char*>(here_.at() + 8), h.count, h.sub != kCodecNone);
    if (!t.is_compressed()) {
      if (h.kind == kind::text && !is_utf8(t.stored()))
        return {errc::bad_utf8, "a text in UTF-8", here_.position};
      return {};
    }
    const auto bytes = t.size();
    if (!bytes) return bytes.error();
    if (*bytes > o_.max_expanded_bytes - expanded_)
      return {errc::too_much, "less text when it is expanded", here_.position};
    expanded_ += *bytes;
    const auto raw = t.str();
    if (!raw) {
      // Whoever cannot expand it cannot be harmed by it either: every access answers the same.
      if (raw.code() == errc::unsupported) return {};
      return raw.error();
    }
    if (h.kind == kind::text && !is_utf8(*raw)) return {errc::bad_utf8, "a text in UTF-8", here_.position};
    return {};
  }

  status record_body() {
    const type_info& t = d_.types[here_.h.count];
    const record_view r = record_view::of(here_).value();
    const std::uint64_t at = here_.position;
    const error contradiction{errc::contradiction, 0, at,
                              "presence bits that agree, and zeros where nothing is", nullptr};
    const auto zero = [&](std::uint64_t from, std::uint64_t to) {
      for (; from < to; ++from)
        if (d_.base[at + from] != std::byte{0}) return false;
      return true;
    };
    // 1. The bits: null implies has; none past the last field.
    const std::uint64_t bytes = t.presence_bytes(), fields = t.fields.size();
    for (std::uint64_t i = 0; i < bytes; ++i) {
      const auto has = static_cast<unsigned>(d_.base[at + 8 + i]),
                 null = static_cast<unsigned>(d_.base[at + 8 + bytes + i]);
      const unsigned valid = fields - 8 * i >= 8 ? 0xff : (1u << (fields - 8 * i)) - 1;
      if ((null & ~has) || (has & ~valid)) return contradiction;
    }
    // 2. The fields.
    for (std::size_t i = 0; i < fields; ++i) {
      const field_info& f = t.fields[i];
      visits_now_ += 1;
      if (r.state(i) != state::set) {
        if (!zero(f.offset, f.offset + bytes_of(f.type))) return contradiction;
      } else if (is_slot(f.type)) {
        if (auto s = slot_at(at + f.offset, f.type); !s) return s;
      } else if (is_reference(f.type)) {
        if (load_word(here_.at() + f.offset) == 0) return contradiction;
        const auto h = refers(at + f.offset);
        if (!h) return h.error();
        if (!fits(f.type, f.element, *h))
          return {errc::bad_tag, "an object of the field's type", at + f.offset};
      } else if (f.type == type::boolean) {
        if (static_cast<unsigned>(d_.base[at + f.offset]) > 1)
          return {errc::bad_value, "a bool of 0 or 1", at + f.offset};
      } else if (f.type == type::date) {
        if (!date{load<std::int32_t>(here_.at() + f.offset)}.valid())
          return {errc::bad_value, "a year from 1 to 9999", at + f.offset};
      }
    }
    return {};
  }

  status array_body() {
    const auto element = static_cast<type>(here_.h.sub & ~kTupleFlag);
    const std::byte* p = here_.at() + 8;
    if (element == type::boolean) {
      for (std::uint64_t i = 0; i < here_.h.count; ++i)
        if (static_cast<unsigned>(p[i]) > 1) return {errc::bad_value, "bools of 0 or 1", here_.position};
    } else if (element == type::date) {
      for (std::uint64_t i = 0; i < here_.h.count; ++i)
        if (!date{load<std::int32_t>(p + 4 * i)}.valid())
          return {errc::bad_value, "years from 1 to 9999", here_.position};
    }
    visits_now_ += 1;
    return {};
  }

  status set_body() {
    const std::uint64_t n = here_.h.count, at = here_.position;
    const std::byte* p = here_.at();
    const error unsorted{errc::unsorted, 0, at, "members in ascending order, each once", nullptr};
    if (here_.h.kind == kind::set_sorted) {
      if (here_.h.sub == static_cast<unsigned>(type::boolean) ||
          here_.h.sub == static_cast<unsigned>(type::date))
        return {errc::bad_tag, "a set of numbers", at};
      const bool sorted = with_element(static_cast<type>(here_.h.sub), [&](auto like) {
        using S = decltype(like);
        for (std::uint64_t i = 1; i < n; ++i)
          if (!(load<S>(p + 8 + (i - 1) * sizeof(S)) < load<S>(p + 8 + i * sizeof(S)))) return false;
        if constexpr (std::is_floating_point_v<S>)
          return n == 0 || load<S>(p + 8) == load<S>(p + 8);  // NaN has no place in an order
        return true;
      });
      return sorted ? status() : unsorted;
    }
    std::uint64_t members = 0;
    if (here_.h.kind == kind::set_bits) {
      const auto base = static_cast<std::int64_t>(load_word(p + 8));
      for (std::uint64_t i = 0; i < n; ++i)
        members += static_cast<std::uint64_t>(std::popcount(load_word(p + 24 + 8 * i)));
      if (base % 64 || n == 0 ||
          n > (static_cast<std::uint64_t>(INT64_MAX) - static_cast<std::uint64_t>(base)) / 64 + 1 ||
          !load_word(p + 24) || !load_word(p + 24 + 8 * (n - 1)))
        return {errc::contradiction, "bits that start and end with a member", at};
      if (members != load_word(p + 16)) return {errc::contradiction, "as many bits as members", at};
      return {};
    }
    for (std::uint64_t i = 0; i < n; ++i) {
      const auto number = static_cast<std::int64_t>(load_word(p + 16 + 8 * i));
      const std::uint64_t bits = load_word(p + 16 + 8 * n + 8 * i);
      if (i && number <= static_cast<std::int64_t>(load_word(p + 16 + 8 * (i - 1)))) return unsorted;
      if (!bits || number < INT64_MIN >> 6 || number > INT64_MAX >> 6)
        return {errc::contradiction, "blocks that hold members", at};
      members += static_cast<std::uint64_t>(std::popcount(bits));
    }
    if (members != load_word(p + 8)) return {errc::contradiction, "as many bits as members", at};
    return {};
  }

  status map_body() {
    const auto opened = map_view::of(here_);
    if (!opened) return opened.error();
    const map_view& m = *opened;
    const std::uint64_t n = m.entries(), at = here_.position, entry = entry_bytes(m.flavour());
    const error unsorted{errc::unsorted, 0, at, "an index in order", nullptr};
    if (load_word(here_.at() + 24) >> 16) return {errc::contradiction, "zeros behind the shift", at};
    if (n && (m.low() != m.hash(0) && m.low() > m.hash(0))) return unsorted;
    // 1. Every entry, and the distinct keys among those of one hash.
    std::uint64_t keys = 0;
    std::vector<std::string> run;  // canonical keys of the current hash
    std::string last;
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::uint64_t h = m.hash(i), from = at + kMapHeadBytes + i * entry;
      const bool same = i && h == m.hash(i - 1);
      if (i && h < m.hash(i - 1)) return unsorted;
      if ((h - m.low()) >> m.shift() >= m.buckets())
        return {errc::unsorted, "a directory that covers the index", from};
      if (m.flavour() == flavour::text) {
        const auto key = refers(from + 8);
        if (!key) return key.error();
        if (key->kind != kind::text || key->sub != kCodecNone)
          return {errc::bad_tag, "a key that is text", from};
      } else if (m.flavour() == flavour::object || m.flavour() == flavour::set) {
        if (auto s = slot_at(from + 8); !s) return s;
      }
      if (m.flavour() != flavour::set)
        if (auto s = slot_at(from + entry - 16); !s) return s;
      if (m.flavour() == flavour::uint || m.flavour() == flavour::approx) {
        if (same && !m.is_multi()) return {errc::duplicate, "each key once", from};
        keys += !same;
        if (m.hash_bits() < 64 && h << m.hash_bits())
          return {errc::contradiction, "hashes of the announced bits", from};
        continue;
      }
      if (!o_.hashes && !same) {
        ++keys, run.clear(), last.clear();
        continue;
      }
      // Text keys alone under their hash are compared with nothing, and need no canonical copy.
      if (m.flavour() == flavour::text && !same && !(i + 1 < n && m.hash(i + 1) == h)) {
        const auto t = m.key(i).text();
        if (!t) return t.error();
        if (hash_text(t->stored()) != h) return {errc::unsorted, "the hash of the key", from};
        ++keys, run.clear(), last.clear();
        continue;
      }
      key_writer w;
      if (auto s = write_key(w, m.key(i)); !s) return s;
      if (same && run.empty()) {  // hashes were not asked for, but comparing is
        key_writer before;
        if (auto s = write_key(before, m.key(i - 1)); !s) return s;
        run.push_back(before.bytes());
        last = before.bytes();
      }
      if (o_.hashes) {
        const std::uint64_t right =
            m.flavour() == flavour::text ? hash_text(std::string_view(w.bytes()).substr(9)) : w.hash();
        if (right != h) return {errc::unsorted, "the hash of the key", from};
      }
      if (!same) run.clear(), last.clear();
      const bool again = std::find(run.begin(), run.end(), w.bytes()) != run.end();
      if (again && (!m.is_multi() || w.bytes() != last)) return {errc::duplicate, "each key once", from};
      if (!again) {
        run.push_back(w.bytes()), ++keys;
        if (run.size() > 1024) return {errc::too_much, "fewer keys of one hash", from};
      }
      last = w.bytes();
    }
    if (keys != m.size()) return {errc::contradiction, "as many keys as announced", at};
    // 2. The directory: the first entry of every range.
    std::uint64_t i = 0;
    for (std::uint64_t b = 0; b <= m.buckets(); ++b) {
      while (i < n && (m.hash(i) - m.low()) >> m.shift() < b) ++i;
      if (m.directory(b) != i) return {errc::unsorted, "a directory that agrees with the index", at};
    }
    if (i != n) return {errc::unsorted, "a directory that covers the index", at};
    return {};
  }

  status object() {
    const head& h = here_.h;
    const std::uint64_t at = here_.position;
    switch (h.kind) {
      case kind::text:
      case kind::bytes:
      case kind::buffer:
        return text_body();
      case kind::array:
        return array_body();
      case kind::list:
        if (h.sub & ~kTupleFlag) return {errc::bad_tag, "a list or a tuple", at};
        for (std::uint64_t i = 0; i < h.count; ++i)
          if (auto s = slot_at(at + 8 + 16 * i); !s) return s;
        return {};
      case kind::set_sorted:
      case kind::set_bits:
      case kind::set_blocks:
        return set_body();
      case kind::map:
        return map_body();
      case kind::record:
        return record_body();
      case kind::nd: {
        const auto element = static_cast<type>(h.sub);
        if (element != type::none && load_word(here_.at() + 8))
          return {errc::contradiction, "no dtype beside a plain element", at};
        if (element == type::none) {
          const auto name = refers(at + 8);
          if (!name) return name.error();
          if (name->kind != kind::text || name->sub != kCodecNone)
            return {errc::bad_tag, "a dtype that is text", at};
        }
        const auto nd = nd_view::of(here_);
        return nd ? status() : nd.error();
      }
      case kind::decimal: {
        const auto d = any_view::of_object(d_, at).decimal();
        if (!d) return d.error();
        if (h.count % 2 && (static_cast<unsigned>(here_.at()[16 + h.count / 2]) & 15))
          return {errc::contradiction, "zeros behind the digits", at};
        return {};
      }
      case kind::zoned: {
        const auto name = refers(at + 24);
        if (!name) return name.error();
        const auto t = any_view::of_object(d_, at).instant();
        return t ? status() : t.error();
      }
      case kind::box:
        return slot_at(at + 8);
      case kind::schema: {
        if (at != d_.schema) return {errc::bad_tag, "one schema, where the header says", at};
        const std::uint64_t types = h.count, fields = load_word(here_.at() + 8);
        for (std::uint64_t i = 0; i < types + fields; ++i)
          if (const auto name = refers(at + 16 + 24 * i); !name) return name.error();
        return {};
      }
      default:
        return {errc::bad_tag, "a kind of object", at};
    }
  }

  status check_sum() {
    std::uint64_t state = hash_begin(kSeedChecksum, d_.bytes - kHeaderBytes);
    for (std::uint64_t at = kHeaderBytes; at < d_.bytes; at += 8)
      state = hash_step(state, load_word(d_.base + at));
    if (hash_end(state) != load_word(d_.base + offsetof(file_header, checksum)))
      return {errc::bad_checksum, "the bytes that were written"};
    return {};
  }

  const document& d_;
  verify_options o_;
  typed::object here_;
  float visits_now_ = 0;
  std::uint64_t expanded_ = 0;
  std::vector<std::uint64_t> starts_;
  std::vector<std::uint32_t> rank_;
  std::vector<float> visits_;
};

}  // namespace detail

// Whether the blob is whole at this moment. Of memory that others may write this says nothing about the next
// moment.
inline status inspect(const blob& b, const verify_options& options = {}) {
  return detail::verifier(b, options).run();
}

// The token for proven views. Errors: shared_memory, and everything that can be wrong with a blob.
inline result<verified_blob> verify(region r, const verify_options& options) {
  if (r.access == sharing::shared || r.writable)
    return {errc::shared_memory, "memory that nobody else can write: a sealed memfd, or a copy"};
  const auto b = blob::open(std::move(r));
  if (!b) return b.error();
  if (auto s = inspect(*b, options); !s) return s.error();
  verified_blob v;
  static_cast<blob&>(v) = *b;
  v.document_->proven = true;
  return v;
}
inline result<verified_blob> verify(region r) { return verify(std::move(r), verify_options{}); }

}  // namespace spillway::typed

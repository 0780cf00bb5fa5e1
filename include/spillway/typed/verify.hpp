// verify.hpp - proves a blob whole: every object inside it, every reference backward to an object of smaller
// depth, every text UTF-8, every index in order, every tag, count, bitmap and checksum consistent.
//
// One pass from the first byte to the last, no recursion: references only point backward, so what an object
// refers to was looked at before it. Only memory that nobody else can write is proven; see region::access.
#pragma once
#include "spillway/typed/verify_index.hpp"

namespace spillway::typed {

namespace detail {

class verifier : verify_index {
 public:
  verifier(const blob& b, const verify_options& options)
      : verify_index(b.doc(), options), complete_(d_.types.size(), true) {}

  void tell(document& d) {
    d.record_lists = std::move(record_lists_);
    d.complete = std::move(complete_);
  }

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
      here_ = {&d_, at, w};
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
  status text_body() {
    const head h = here_.h();
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
    const type_info& t = d_.types[here_.h().count];
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
        complete_[here_.h().count] = false;
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
    const auto element = static_cast<type>(here_.h().sub & ~kTupleFlag);
    const std::byte* p = here_.at() + 8;
    if (element == type::boolean) {
      for (std::uint64_t i = 0; i < here_.h().count; ++i)
        if (static_cast<unsigned>(p[i]) > 1) return {errc::bad_value, "bools of 0 or 1", here_.position};
    } else if (element == type::date) {
      for (std::uint64_t i = 0; i < here_.h().count; ++i)
        if (!date{load<std::int32_t>(p + 4 * i)}.valid())
          return {errc::bad_value, "years from 1 to 9999", here_.position};
    }
    visits_now_ += 1;
    return {};
  }

  status list_body() {
    const std::uint64_t at = here_.position, n = here_.h().count;
    if (here_.h().sub & ~kTupleFlag) return {errc::bad_tag, "a list or a tuple", at};
    bool alike = n >= 16;
    std::uint64_t type = 0;
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::uint64_t from = at + 8 + 16 * i + kSlotPayload;
      if (auto s = slot_at(from - kSlotPayload); !s) return s;
      if (!alike) continue;
      alike = load_slot(d_.base + from - kSlotPayload).what == code::ref;
      if (!alike) continue;
      const head h = head::of(load_word(d_.base + (from + load_word(d_.base + from))));
      if (i == 0) type = h.count;
      alike = h.kind == kind::record && h.count == type;
    }
    if (alike) record_lists_.push_back({at, static_cast<std::uint32_t>(type)});
    return {};
  }

  status object() {
    const head h = here_.h();
    const std::uint64_t at = here_.position;
    switch (h.kind) {
      case kind::text:
      case kind::bytes:
      case kind::buffer:
        return text_body();
      case kind::array:
        return array_body();
      case kind::list:
        return list_body();
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

  std::vector<document::record_list> record_lists_;  // see document, these two
  std::vector<bool> complete_;
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
  detail::verifier seen(*b, options);
  if (auto s = seen.run(); !s) return s.error();
  verified_blob v;
  static_cast<blob&>(v) = *b;
  seen.tell(*v.document_);
  v.document_->proven = true;
  return v;
}
inline result<verified_blob> verify(region r) { return verify(std::move(r), verify_options{}); }

}  // namespace spillway::typed

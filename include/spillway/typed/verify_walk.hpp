// verify_walk.hpp - what verify() knows on its way through a blob: where objects start, and how many values a
// reader meets who follows every reference of one.
//
// Memory: a bit per word of the blob and eight bytes per object, and nothing a count in the blob could
// enlarge.
#pragma once
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

class verify_walk {
 protected:
  verify_walk(const document& d, const verify_options& options) : d_(d), o_(options) {}

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
    if (h.depth >= here_.h().depth)
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
    const any_view v = any_view::at_slot(d_, at, here_.h().depth);
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
}  // namespace spillway::typed

// verify_index.hpp - sets and maps proven: members and hashes in order, each key once, bits that agree with
// counts, a directory that agrees with the index.
#pragma once
#include <string>
#include <vector>

#include "spillway/typed/verify_walk.hpp"

namespace spillway::typed::detail {

class verify_index : public verify_walk {
 protected:
  using verify_walk::verify_walk;

  status set_body() {
    const std::uint64_t n = here_.h().count, at = here_.position;
    const std::byte* p = here_.at();
    const error unsorted{errc::unsorted, 0, at, "members in ascending order, each once", nullptr};
    if (here_.h().kind == kind::set_sorted) {
      if (here_.h().sub == static_cast<unsigned>(type::boolean) ||
          here_.h().sub == static_cast<unsigned>(type::date))
        return {errc::bad_tag, "a set of numbers", at};
      const bool sorted = with_element(static_cast<type>(here_.h().sub), [&](auto like) {
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
    if (here_.h().kind == kind::set_bits) {
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
};

}  // namespace spillway::typed::detail

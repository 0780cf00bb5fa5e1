// maps.hpp - maps whose values are read as V: by text, by unsigned number, by any key; multimaps; approximate
// multimaps.
//
// All are two words more than a map_view. find() answers errc::no_such for a key that is not there. Included
// by view.hpp.
#pragma once
#include <span>

#include "spillway/typed/view.hpp"

namespace spillway::typed {

namespace detail {

template <class V, class Trust>
class map_base {
 public:
  using value = access_t<V, Trust>;

  std::uint64_t size() const { return m_.size(); }  // distinct keys
  std::uint64_t entries() const { return m_.entries(); }
  bool empty() const { return m_.empty(); }
  any_view key_at(std::uint64_t i) const { return m_.key(i); }
  [[gnu::always_inline]] result<value> value_at(std::uint64_t i) const { return as<V, Trust>(m_.value(i)); }
  const map_view& raw() const { return m_; }

 protected:
  static result<map_view> take(const any_view& v, flavour f, const char* wanted) {
    auto m = v.map();
    if (m && m->flavour() != f) return {errc::wrong_type, wanted, m->object().position};
    return m;
  }
  result<value> at(const result<std::uint64_t>& i) const {
    if (!i) return i.error();
    if (*i == map_view::npos) return {errc::no_such, "a key of this map"};
    return as<V, Trust>(m_.value(*i));
  }
  map_view m_;
};

}  // namespace detail

template <class V, class Trust = checked>
class string_map : public detail::map_base<V, Trust> {
  using base = detail::map_base<V, Trust>;

 public:
  static constexpr flavour kFlavour = flavour::text;
  using key_type = std::string_view;
  static result<string_map> of(const any_view& v) {
    const auto m = base::take(v, kFlavour, "a map with text keys");
    if (!m) return m.error();
    string_map out;
    out.m_ = *m;
    return out;
  }
  [[gnu::always_inline]] result<access_t<V, Trust>> find(std::string_view key) const {
    if (const std::uint64_t i = this->m_.find_usual(hash_text(key), key); i != map_view::npos) [[likely]]
      return this->value_at(i);
    return base::at(this->m_.find(key));
  }
  bool contains(std::string_view key) const {
    const auto i = this->m_.find(key);
    return i && *i != map_view::npos;
  }
  // The entry of each key, npos where there is none; the cache misses of many look-ups overlap. Throws
  // `failure`.
  void find_many(std::span<const std::string_view> keys, std::span<std::uint64_t> out) const {
    constexpr std::size_t kBatch = 32;
    std::uint64_t hashes[kBatch], first[kBatch];
    const map_view& m = this->m_;
    for (std::size_t from = 0; from < keys.size(); from += kBatch) {
      const std::size_t n = std::min(kBatch, keys.size() - from);
      for (std::size_t i = 0; i < n; ++i) m.prefetch_directory(hashes[i] = hash_text(keys[from + i]));
      for (std::size_t i = 0; i < n; ++i) m.prefetch_entry(hashes[i]);
      for (std::size_t i = 0; i < n; ++i) m.prefetch_key(first[i] = m.lower(hashes[i]));
      for (std::size_t i = 0; i < n; ++i)
        out[from + i] = m.scan_text(first[i], hashes[i], keys[from + i]).value();
    }
  }
};

template <class V, class Trust = checked>
class uint_map : public detail::map_base<V, Trust> {
  using base = detail::map_base<V, Trust>;

 public:
  static constexpr flavour kFlavour = flavour::uint;
  using key_type = std::uint64_t;
  static result<uint_map> of(const any_view& v) {
    const auto m = base::take(v, kFlavour, "a map with unsigned keys");
    if (!m) return m.error();
    uint_map out;
    out.m_ = *m;
    return out;
  }
  result<access_t<V, Trust>> find(std::uint64_t key) const { return base::at(this->m_.find(key)); }
  bool contains(std::uint64_t key) const {
    const auto i = this->m_.find(key);
    return i && *i != map_view::npos;
  }
};

template <class V, class Trust = checked>
class object_map : public detail::map_base<V, Trust> {
  using base = detail::map_base<V, Trust>;

 public:
  static constexpr flavour kFlavour = flavour::object;
  using key_type = any;
  static result<object_map> of(const any_view& v) {
    const auto m = base::take(v, kFlavour, "a map with keys of any type");
    if (!m) return m.error();
    object_map out;
    out.m_ = *m;
    return out;
  }
  result<access_t<V, Trust>> find(const any& key) const { return base::at(this->m_.find(key)); }
  bool contains(const any& key) const { return this->m_.contains(key); }
};

// The values of one key, found one after the other as they are asked for.
template <class V, class Trust>
class value_range {
 public:
  value_range(const map_view& m, std::uint64_t first) : m_(m), first_(first) {}
  class iterator {
   public:
    iterator(const map_view* m, std::uint64_t i) : m_(m), i_(i) {}
    result<access_t<V, Trust>> operator*() const { return as<V, Trust>(m_->value(i_)); }
    iterator& operator++() {
      i_ = m_->next(i_).value();
      return *this;
    }
    bool operator==(const iterator& o) const { return i_ == o.i_; }

   private:
    const map_view* m_;
    std::uint64_t i_;
  };
  iterator begin() const { return {&m_, first_}; }
  iterator end() const { return {&m_, map_view::npos}; }

 private:
  map_view m_;
  std::uint64_t first_;
};

template <class M>
class multi;
// multi<string_map<V>>: the same bytes; every value of a key.
template <template <class, class> class M, class V, class Trust>
class multi<M<V, Trust>> : public M<V, Trust> {
 public:
  static result<multi> of(const any_view& v) {
    const auto m = M<V, Trust>::of(v);
    if (!m) return m.error();
    multi out;
    static_cast<M<V, Trust>&>(out) = *m;
    return out;
  }
  // Throws `failure` for damaged keys.
  template <class K>
  value_range<V, Trust> equal_range(const K& key) const {
    return {this->m_, this->m_.find(typename M<V, Trust>::key_type(key)).value()};
  }
  template <class K>
  std::uint64_t count(const K& key) const {
    std::uint64_t n = 0;
    for (std::uint64_t i = this->m_.find(typename M<V, Trust>::key_type(key)).value(); i != map_view::npos;
         i = this->m_.next(i).value())
      ++n;
    return n;
  }
};

// Keys are dropped, hashes stay: always every value of the key asked for, rarely some of another.
template <class V, class Trust = checked>
class approx_string_multimap : public detail::map_base<V, Trust> {
  using base = detail::map_base<V, Trust>;

 public:
  static result<approx_string_multimap> of(const any_view& v) {
    const auto m = base::take(v, flavour::approx, "an approximate map");
    if (!m) return m.error();
    approx_string_multimap out;
    out.m_ = *m;
    return out;
  }
  value_range<V, Trust> equal_range(std::string_view key) const {
    return {this->m_, this->m_.find(key).value()};
  }
  value_range<V, Trust> find_by_hash(std::uint64_t hash) const {
    return {this->m_, this->m_.find_hash(hash).value()};
  }
  bool may_contain(std::string_view key) const { return this->m_.find(key).value() != map_view::npos; }
  // The probability that a key which was never put in is answered with values.
  double false_rate() const { return this->m_.false_rate(); }
};

}  // namespace spillway::typed

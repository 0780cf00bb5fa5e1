// stream.hpp - containers built from an iterator that never fits in memory at once: lists, arrays, and the
// indexes of maps.
//
//   map_builder people(b, flavour::text, duplicates::error);
//   while (...) people.put("ann", person);            // values go to the sink as they come
//   b.finish(people.finish());                        // the index is sorted, in bounded memory, and written
//   behind them
//
// Index entries are sorted by a 64-bit number: the key itself (uint) or the hash of the key. A directory of
// the first entry of each range of that number makes a look-up two steps. Included by builder.hpp.
#pragma once
#include <optional>
#include <string_view>
#include <vector>

#include "spillway/typed/builder.hpp"
#include "spillway/typed/map_view.hpp"
#include "spillway/typed/spool.hpp"

namespace spillway::typed {

// What to do with a key that comes again. keep_all makes a multimap.
enum class duplicates : std::uint8_t {
  error,
  first,
  last,
  keep_all,
  keep_distinct
};  // keep_distinct: equal pairs once

// Writes an object too large for a draft straight to the sink; otherwise through a draft, so that equal ones
// are shared.
class object_out {
 public:
  static constexpr std::uint64_t kDraftBytes = 1 << 20;

  object_out(builder& b, std::uint64_t bytes, std::uint64_t align_data_at = 0)
      : b_(b), lease_(b.drafts()), direct_(bytes > kDraftBytes), align_(align_data_at) {
    if (direct_ && align_) b.writer().align(align_);
    start_ = b.writer().out().position();
    word(0);
  }
  void word(std::uint64_t w) { raw(&w, 8); }
  void raw(const void* p, std::size_t n) {
    lease_->raw(p, n);
    if (direct_ && lease_->bytes.size() >= kPieceBytes) flush();
  }
  // Its payload, when it is a reference, an absolute position.
  void add(slot s) {
    if (s.what == code::ref) {
      if (direct_)
        s.payload -= position() + kSlotPayload;
      else
        lease_->refs.push_back(lease_->bytes.size() + kSlotPayload);
    }
    raw(&s, sizeof s);
  }
  void add_position(std::uint64_t to) {
    if (!direct_) lease_->refs.push_back(lease_->bytes.size());
    word(direct_ ? to - position() : to);
  }
  // `depth`: of what it refers to, and one more.
  ref finish(head h, unsigned depth) {
    if (!direct_) {
      lease_->depth = depth;
      return b_.writer().place(*lease_, h, align_);
    }
    if (depth > kMaxDepth) fail(errc::too_deep, "a value: nested deeper than 255 levels");
    if (h.count > kMaxCount) fail(errc::value_range, "a value: more than 2^40 - 1 elements");
    flush();
    sink& out = b_.writer().out();
    out.pad(round_up(out.position(), 8) - out.position());
    h.depth = static_cast<std::uint8_t>(depth);
    const std::uint64_t w = h.word();
    out.patch(start_, &w, 8);
    return {start_, h.depth, h.kind};
  }

 private:
  static constexpr std::size_t kPieceBytes = 64 << 10;

  std::uint64_t position() const { return b_.writer().out().position() + lease_->bytes.size(); }
  void flush() {
    b_.writer().out().append(lease_->bytes.data(), lease_->bytes.size());
    lease_->bytes.clear();
  }

  builder& b_;
  draft_stack::lease lease_;
  bool direct_;
  std::uint64_t align_, start_ = 0;
};

inline spool_options scratch_of(const builder& b) { return {b.options().memory_bytes, b.options().scratch}; }

// A list of any values.
class list_builder {
 public:
  explicit list_builder(builder& b) : b_(b), items_(scratch_of(b)) {}
  template <class T>
  void add(const T& value) {
    auto save = b_.savepoint();
    const item i = b_.encode(value);
    save.release();
    items_.push(i);
    depth_ = std::max<unsigned>(depth_, i.is_ref() ? i.depth + 1u : 0u);
  }
  std::uint64_t size() const { return items_.size(); }
  ref finish() {
    object_out out(b_, 8 + 16 * items_.size(), align_elements(16 * items_.size()));
    items_.for_each([&](const item& i) { out.add(i.s); });
    return out.finish({kind::list, 0, 0, items_.size()}, depth_);
  }

 private:
  builder& b_;
  spool<item> items_;
  unsigned depth_ = 0;
};

// An array of numbers of one width; bools as bytes, with type::boolean.
template <class T>
class array_builder {
 public:
  explicit array_builder(builder& b, type element = type_of_arithmetic<T>())
      : b_(b), values_(scratch_of(b)), element_(element) {}
  void add(T value) { values_.push(value); }
  std::uint64_t size() const { return values_.size(); }
  ref finish() {
    const std::uint64_t bytes = values_.size() * sizeof(T);
    object_out out(b_, 8 + bytes, align_elements(bytes));
    values_.for_each([&](T v) { out.raw(&v, sizeof v); });
    return out.finish({kind::array, static_cast<std::uint8_t>(element_), 0, values_.size()}, 0);
  }

 private:
  builder& b_;
  spool<T> values_;
  type element_;
};

class map_builder {
 public:
  // hash_bits (approximate maps only): how much of the hash is kept; fewer bits, more false values.
  map_builder(builder& b, flavour f, duplicates policy, unsigned hash_bits = 64)
      : b_(b), flavour_(f), policy_(policy), hash_bits_(hash_bits), entries_(scratch_of(b)) {
    if (hash_bits < 1 || hash_bits > 64)
      fail(errc::value_range, "an approximate map: expected 1 to 64 bits of hash");
    if (f == flavour::approx && policy != duplicates::keep_all && policy != duplicates::keep_distinct)
      fail(errc::wrong_type,
           "an approximate map: expected keep_all or keep_distinct, keys are not kept to compare");
  }

  // A key and its value. Text keys for flavours text and approx, unsigned ones for uint, any for object. A
  // failed put leaves nothing behind.
  template <class K, class V>
  void put(const K& key, const V& value) {
    auto save = b_.savepoint();
    if constexpr (std::is_convertible_v<const K&, std::string_view>) {
      if (flavour_ == flavour::text || flavour_ == flavour::approx) {
        const item v = b_.encode(value);
        put_item(std::string_view(key), v);
        return save.release();
      }
    }
    if constexpr (std::is_integral_v<K>) {
      if (flavour_ == flavour::uint) {
        if constexpr (std::is_signed_v<K>)
          if (key < 0) fail(errc::value_range, "a key: expected 0 to 2^64 - 1");
        const item v = b_.encode(value);
        put_item(static_cast<std::uint64_t>(key), v);
        return save.release();
      }
    }
    if (flavour_ != flavour::object && flavour_ != flavour::set)
      fail(errc::wrong_type,
           flavour_ == flavour::uint ? "a key: expected an unsigned integer" : "a key: expected text");
    const any whole = as_any(key);
    const std::uint64_t h = hash_of(whole);
    const item k = b_.encode(whole), v = b_.encode(value);
    put_item(k, h, v);
    save.release();
  }
  void put_hash(std::uint64_t hash, const item& value) { push(masked(hash), {}, value); }
  void put_item(std::string_view key, const item& value) {
    if (flavour_ == flavour::approx) return push(masked(hash_text(key)), {}, value);
    const ref k = b_.text(key, true);
    push(hash_text(key), ref_item(k), value);
  }
  void put_item(std::uint64_t key, const item& value) { push(key, {}, value); }
  // With the hash of its canonical bytes, when the caller has it: reading a key back costs more.
  void put_item(const item& key, std::uint64_t hash, const item& value) { push(hash, key, value); }
  void put_item(const item& key, const item& value) {
    key_writer w;
    document d;
    if (key.is_ref()) b_.peek(d);
    write_key(w, any_view::absolute(d, key.s)).value();
    push(w.hash(), key, value);
  }

  std::uint64_t size() const { return entries_.size(); }

  ref finish();

 private:
  struct entry {
    std::uint64_t h, sequence;
    slot key, value;
  };
  struct by_hash {
    bool operator()(const entry& a, const entry& b) const {
      return a.h != b.h ? a.h < b.h : a.sequence < b.sequence;
    }
  };

  template <class K>
  static any as_any(const K& key) {
    if constexpr (std::is_constructible_v<any, const K&>)
      return any(key);
    else
      return any(std::string_view(key));
  }
  std::uint64_t masked(std::uint64_t h) const {
    return hash_bits_ == 64 ? h : h >> (64 - hash_bits_) << (64 - hash_bits_);
  }
  void push(std::uint64_t h, const item& key, const item& value) {
    const auto note = [&](const item& i) {
      if (i.is_ref() && depth_ <= i.depth) depth_ = i.depth + 1u;
    };
    note(key), note(value);
    low_ = std::min(low_, h), high_ = std::max(high_, h);
    entries_.push({h, entries_.size(), key.s, value.s});
  }
  bool same_key(const document& d, const entry& a, const entry& b) const;
  [[noreturn]] void fail_duplicate(const document& d, const entry& e) const;
  // Calls f(entry, is a new key) with what the policy leaves of the sorted entries that each() gives, equal
  // keys next to each other; never more of them than it was given so far.
  template <class Each, class F>
  void settle(Each&& each, F&& f);

  builder& b_;
  flavour flavour_;
  duplicates policy_;
  unsigned hash_bits_;
  sorter<entry, by_hash> entries_;
  std::uint64_t low_ = UINT64_MAX, high_ = 0;
  unsigned depth_ = 0;
};

inline bool map_builder::same_key(const document& d, const entry& a, const entry& b) const {
  if (flavour_ == flavour::uint || flavour_ == flavour::approx || a.key == b.key) return true;
  key_writer x, y;
  write_key(x, any_view::absolute(d, a.key)).value();
  write_key(y, any_view::absolute(d, b.key)).value();
  return x.bytes() == y.bytes();
}

inline void map_builder::fail_duplicate(const document& d, const entry& e) const {
  std::string which;
  if (flavour_ == flavour::uint)
    which = ": " + std::to_string(e.h);
  else if (const auto text = any_view::absolute(d, e.key).text(); text && text->view())
    which = ": '" + std::string(text->view()->substr(0, 100)) + "'";
  fail(errc::duplicate, "a map: a key came twice" + which);
}

template <class Each, class F>
void map_builder::settle(Each&& each, F&& f) {
  const bool keep = policy_ == duplicates::keep_all || policy_ == duplicates::keep_distinct;
  // Entries of one hash: nearly always one, `first` alone. Of several, those of one key are a group; the
  // first group's values are passed on as they come, when all are kept, and those of others wait.
  entry first{};
  bool open = false;
  std::vector<std::vector<entry>> groups;
  document d;
  const auto end_run = [&] {
    if (open && groups.empty() && !keep) f(first, true);
    for (std::size_t g = 0; g < groups.size(); ++g)
      for (std::size_t i = keep && g == 0 ? groups[g].size() : 0; i < groups[g].size(); ++i)
        f(groups[g][i], i == 0);
    groups.clear();
  };
  each([&](const entry& e) {
    if (!open || e.h != first.h) {
      end_run();
      first = e, open = true;
      if (keep) f(first, true);
      return;
    }
    if (groups.empty()) groups.push_back({first});
    if (!d.base) b_.peek(d);
    for (std::size_t g = 0; g < groups.size(); ++g) {
      if (!same_key(d, groups[g][0], e)) continue;
      if (policy_ == duplicates::error) fail_duplicate(d, e);
      if (policy_ == duplicates::last) groups[g][0] = e;
      if (!keep) return;
      if (policy_ == duplicates::keep_distinct) {
        for (const entry& had : groups[g])
          if (had.value == e.value) return;
        groups[g].push_back(e);
      } else if (g > 0)
        groups[g].push_back(e);
      if (g == 0) f(e, false);
      return;
    }
    groups.push_back({e});
  });
  end_run();
}

inline ref map_builder::finish() {
  // 1. What the policy leaves, counted: the directory's width and the header depend on it.
  std::uint64_t n = 0, keys = 0;
  spool_options small = scratch_of(b_);
  small.memory_bytes /= 8;
  spool<entry> left(small);
  if (entries_.in_memory()) {
    std::vector<entry> sorted = entries_.take_sorted();
    settle(
        [&](auto&& next) {
          for (std::size_t i = 0; i < sorted.size(); ++i) next(entry(sorted[i]));
        },
        [&](const entry& e, bool is_new) { keys += is_new, sorted[n++] = e; });
    sorted.resize(n);
    left.adopt(std::move(sorted));
  } else
    settle([&](auto&& next) { entries_.drain(next); },
           [&](const entry& e, bool is_new) { ++n, keys += is_new, left.push(e); });
  if (n == 0) low_ = high_ = 0;
  // 2. Ranges of 2^shift, about two entries each.
  unsigned shift = 0;
  const std::uint64_t wanted = std::max<std::uint64_t>(n / 2, 1);
  while (shift < 63 && (high_ - low_) >> shift >= wanted) ++shift;
  const std::uint64_t buckets = n == 0 ? 0 : ((high_ - low_) >> shift) + 1;
  const bool wide = n >= UINT32_MAX;
  // 3. Entries, and the directory behind them.
  object_out out(b_, kMapHeadBytes + n * entry_bytes(flavour_) + (buckets + 1) * (wide ? 8 : 4));
  out.word(keys);
  out.word(low_);
  out.word(shift | std::uint64_t{hash_bits_} << 8);
  out.word(buckets);
  spool<std::uint64_t> directory(small);
  std::uint64_t at = 0;
  left.for_each([&](const entry& e) {
    while (directory.size() <= (e.h - low_) >> shift) directory.push(at);
    out.word(e.h);
    if (flavour_ == flavour::text)
      out.add_position(e.key.payload);
    else if (flavour_ == flavour::object || flavour_ == flavour::set)
      out.add(e.key);
    if (flavour_ != flavour::set) out.add(e.value);
    ++at;
  });
  while (directory.size() <= buckets) directory.push(n);
  directory.for_each([&](std::uint64_t first) { out.raw(&first, wide ? 8 : 4); });
  const bool multi = policy_ == duplicates::keep_all || policy_ == duplicates::keep_distinct;
  return out.finish(
      {kind::map, static_cast<std::uint8_t>(static_cast<std::uint8_t>(flavour_) | (multi ? kMultiFlag : 0)),
       0, n},
      depth_);
}

// Lists of one kind of number as arrays, integers in the narrowest width; no ref: the list is mixed.
inline ref pack_numbers(builder& b, const std::vector<any>& values, bool tuple) {
  if (values.empty()) return {};
  const std::size_t what = values[0].value.index();
  for (const any& v : values)
    if (v.value.index() != what) return {};
  const auto all = [&]<class T>(T) {
    std::vector<T> out;
    for (const any& v : values) out.push_back(*v.get<T>());
    return out;
  };
  if (values[0].get<std::int64_t>())
    return b.integers(std::span<const std::int64_t>(all(std::int64_t{})), tuple);
  if (values[0].get<double>()) return b.array(std::span<const double>(all(double{})), tuple);
  if (values[0].get<float>()) return b.array(std::span<const float>(all(float{})), tuple);
  if (values[0].get<bool>()) {
    std::vector<char> out;
    for (const any& v : values) out.push_back(*v.get<bool>());
    return b.array(type::boolean, out.data(), out.size(), tuple);
  }
  return {};
}

inline ref pack_number_set(builder& b, const std::vector<any>& values) {
  std::vector<std::int64_t> whole;
  std::vector<double> real;
  for (const any& v : values) {
    if (const auto* i = v.get<std::int64_t>())
      whole.push_back(*i);
    else if (const auto* r = v.get<double>(); r && *r == *r)
      real.push_back(*r);
    else
      return {};
  }
  if (whole.size() == values.size()) return b.integer_set(std::move(whole));
  return real.size() == values.size() ? b.number_set(std::move(real)) : ref{};
}

}  // namespace spillway::typed

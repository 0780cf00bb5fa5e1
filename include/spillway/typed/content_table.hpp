// content_table.hpp - which objects were written already: from the hash of their content to their position.
//
// Nearly every object that is looked up is new, and what a large table holds of it is in no cache. So a byte
// of each hash lies apart from the positions, eight to a word: one load says of nearly everything new that it
// is, and a branch that the processor foresees lets it go on meanwhile. Positions are then only written.
// Always: what is found is a hint, for the caller to compare. Bounded: a table that may not grow is emptied
// and starts anew. Threads: one.
#pragma once
#include <bit>
#include <cstdint>
#include <vector>

#include "spillway/typed/os_file.hpp"

namespace spillway::typed {

class content_table {
 public:
  explicit content_table(std::uint64_t max_bytes) : max_bytes_(max_bytes) {}

  // A position of this hash that `same` confirms; 0 when there is none.
  template <class Same>
  std::uint64_t find(std::uint64_t hash, Same&& same) {
    std::uint64_t found = 0;
    each(hash, [&](std::uint64_t& entry) {
      const std::uint64_t at = position(entry);
      if (at && entry == entry_of(hash, at) && same(at)) found = at;
      return found != 0;
    });
    return found;
  }
  // Positions are multiples of 8; from 2^43 on they are not remembered.
  void insert(std::uint64_t hash, std::uint64_t at) {
    if (at >> 43) return;
    if (used_ * 4 >= entries_.size() * 3) grow();
    put(hash, at);
  }
  void forget(std::uint64_t hash, std::uint64_t at) {
    each(hash, [&](std::uint64_t& entry) {
      if (entry != entry_of(hash, at)) return false;
      entry = entry_of(hash, 0);
      return true;
    });
  }

 private:
  using array = std::vector<std::uint64_t, detail::huge_page_allocator<std::uint64_t>>;
  static constexpr std::size_t kGroupBytes = 8 + 8 * sizeof(std::uint64_t);

  // Of the hash, 31 bits are kept: the lowest 24 with the position, the others in the tag, whose highest bit
  // says that its place is taken. The lowest choose the group, so up to 2^24 groups all of the tag is news.
  static constexpr std::uint64_t kWithPosition = (1 << 24) - 1;
  static constexpr std::size_t kMostGroups = std::size_t{1} << 31;
  static constexpr std::uint64_t kEach = 0x0101010101010101, kTaken = 0x80 * kEach;
  static std::uint64_t tag(std::uint64_t hash) { return 0x80 | (hash >> 24 & 0x7f); }
  static std::uint64_t entry_of(std::uint64_t hash, std::uint64_t at) {
    return at << 21 | (hash & kWithPosition);
  }
  static std::uint64_t position(std::uint64_t entry) { return entry >> 24 << 3; }
  std::size_t group(std::uint64_t hash) const { return hash & (tags_.size() - 1); }
  std::size_t next(std::size_t group) const { return (group + 1) & (tags_.size() - 1); }

  // Calls f with the entries whose tag is this hash's, until it says true.
  template <class F>
  void each(std::uint64_t hash, F&& f) {
    if (used_ == 0) return;
    for (std::size_t g = group(hash);; g = next(g)) {
      const std::uint64_t differ = tags_[g] ^ tag(hash) * kEach;
      // Bytes of 0, and perhaps some behind the first that is.
      for (std::uint64_t equal = (differ - kEach) & ~differ & kTaken; equal; equal &= equal - 1) {
        write_positions();
        if (f(entries_[8 * g + static_cast<std::size_t>(std::countr_zero(equal)) / 8])) return;
      }
      if (~tags_[g] & kTaken) [[likely]]
        return;
    }
  }
  void put(std::uint64_t hash, std::uint64_t at) {
    std::size_t g = group(hash);
    while (!(~tags_[g] & kTaken)) g = next(g);
    const int bit = std::countr_zero(~tags_[g] & kTaken) - 7;
    tags_[g] |= tag(hash) << bit;
    ++used_;
    const std::size_t place = 8 * g + static_cast<std::size_t>(bit) / 8;
    __builtin_prefetch(&entries_[place], 1);
    new_[new_count_++] = {place, entry_of(hash, at)};
    if (new_count_ == kNew) write_positions();
  }
  void write_positions() {
    for (unsigned i = 0; i < new_count_; ++i) entries_[new_[i].place] = new_[i].entry;
    new_count_ = 0;
  }
  void grow() {
    write_positions();
    const std::size_t groups = tags_.empty() ? 128 : 2 * tags_.size();
    const bool full = !tags_.empty() && (groups * kGroupBytes > max_bytes_ || groups > kMostGroups);
    array tags(full ? 0 : groups), entries(full ? 0 : 8 * groups);
    used_ = 0;
    if (full) return tags_.assign(tags_.size(), 0);
    tags_.swap(tags), entries_.swap(entries);
    for (std::size_t i = 0; i < entries.size(); ++i)
      if (const std::uint64_t tag = tags[i / 8] >> 8 * (i % 8) & 0xff; tag && position(entries[i]))
        put((entries[i] & kWithPosition) | (tag & 0x7f) << 24, position(entries[i]));
  }

  // Positions on their way: a write that misses the cache holds up all that come after it, so it waits until
  // where it goes has been fetched.
  static constexpr unsigned kNew = 8;
  struct on_its_way {
    std::size_t place;
    std::uint64_t entry;
  };

  std::uint64_t max_bytes_;
  array tags_, entries_;
  on_its_way new_[kNew];
  unsigned new_count_ = 0;
  std::size_t used_ = 0;  // places that are not free; those of forgotten objects too
};

}  // namespace spillway::typed

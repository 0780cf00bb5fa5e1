// page_words.h - a word for each page that is in memory as a line: a hash table with linear probing, as large
// as memory permits there to be pages, however far apart they are.
#pragma once
#include <cstdint>

#include "base/core/page_range.h"
#include "base/core/units.h"

namespace spillway {

class PageWords {
 public:
  struct Entry {
    uint64_t page = 0;  // its number; 0: unused
    uint64_t word = 0;
  };
  // Zeroed memory for a power of two of entries, of which a quarter stays unused.
  constexpr PageWords() = default;
  void use(Entry* entries, uint64_t capacity) {
    entries_ = entries;
    mask_ = capacity - 1;
    most_ = capacity / 4 * 3;
  }

  bool has_room_for(const char* page) { return count_ < most_ || find(number(page)).page != 0; }
  // False: there is no room for another page.
  bool set(const char* page, uint64_t word) {
    Entry& e = find(number(page));
    if (e.page == 0) {
      if (count_ == most_) return false;
      ++count_;
      e.page = number(page);
    }
    e.word = word;
    return true;
  }
  // `otherwise`: for a page without a word.
  uint64_t get(const char* page, uint64_t otherwise) const {
    const Entry& e = const_cast<PageWords*>(this)->find(number(page));
    return e.page == 0 ? otherwise : e.word;
  }
  void erase(const char* page) {
    uint64_t hole = static_cast<uint64_t>(&find(number(page)) - entries_);
    if (entries_[hole].page == 0) return;
    --count_;
    // Those behind it that were displaced by it move up.
    for (uint64_t i = (hole + 1) & mask_; entries_[i].page != 0; i = (i + 1) & mask_) {
      const uint64_t home = home_of(entries_[i].page);
      if (((i - home) & mask_) < ((i - hole) & mask_)) continue;
      entries_[hole] = entries_[i];
      hole = i;
    }
    entries_[hole] = {};
  }
  uint64_t size() const { return count_; }

 private:
  static uint64_t number(const char* page) { return reinterpret_cast<uint64_t>(page) >> kPageShift; }
  // Fibonacci hashing of sixteen neighbours, which stay together in a few cache lines.
  uint64_t home_of(uint64_t page) const {
    return ((page >> 4) * 0x9e3779b97f4a7c15u >> 32 << 4 | (page & 15)) & mask_;
  }
  Entry& find(uint64_t page) {
    uint64_t i = home_of(page);
    while (entries_[i].page != 0 && entries_[i].page != page) i = (i + 1) & mask_;
    return entries_[i];
  }

  Entry* entries_ = nullptr;
  uint64_t mask_ = 0, most_ = 0, count_ = 0;
};

}  // namespace spillway

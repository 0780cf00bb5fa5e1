// unmapped_pages.h - which pages of a captured mapping the program has unmapped.
//
// Page by page, because a program may unmap what is unmapped already, or map pages anew in place of those. By
// a count of bytes such a mapping would be given away while part of it is in use. Threads: the heap's lock.
#pragma once
#include "base/core/page_range.h"

namespace spillway {

class UnmappedPages {
 public:
  constexpr UnmappedPages() = default;

  uint64_t bytes() const { return bytes_; }
  // Page-aligned, within `mapping`, which is the same in every call. Without memory for the table all counts
  // as mapped.
  void add(PageRange mapping, PageRange pages);
  void remove(PageRange mapping, PageRange pages);
  // None are.
  void reset();

 private:
  PageRange table_;  // a bit for each page of the mapping; empty: none was ever unmapped
  uint64_t bytes_ = 0;
};

}  // namespace spillway

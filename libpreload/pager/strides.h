// strides.h - recognises touches in equal steps of 8 pages or more, several runs at once, and says which
// pages to read ahead. Column after column of a matrix in rows, one field of many records: what is wanted is
// a page here and there, and again soon, not the 2 MiB around it. The window doubles while it is used.
//
// Indices are of pages within one chunk. Threads: the caller holds the pager's lock.
#pragma once
#include <cstdint>

namespace spillway {

class Strides {
 public:
  constexpr Strides() = default;

  // Pages first, first + step, ... `count` of them, are to be read ahead.
  struct Ahead {
    int64_t first = 0;
    int64_t step = 0;
    int count = 0;
  };
  // A thread has to wait for the page. False: that is in no steps.
  bool on_fault(const void* chunk, int64_t page, Ahead& ahead);

 private:
  static constexpr int kRuns = 8;
  static constexpr unsigned kRecent = 16;
  static constexpr int kSmallestWindow = 4, kLargestWindow = 16;
  // Of smaller steps much of an extent is used. Larger ones are what a stream of whole extents looks like, of
  // which only the first pages are waited for.
  static constexpr int64_t kShortest = 8, kLongest = 256;
  struct Run {
    const void* chunk = nullptr;
    int64_t at = 0;     // the last page that somebody waited for
    int64_t step = 0;   // 0: unused
    int64_t front = 0;  // the first that is not being read ahead
    int window = 0;
    uint64_t used = 0;
  };
  struct Touch {
    const void* chunk = nullptr;
    int64_t page = 0;
  };

  bool was_touched(const void* chunk, int64_t page) const;
  Run* run_through(const void* chunk, int64_t page);
  Run* begin(const void* chunk, int64_t page);

  Run runs_[kRuns];
  Touch recent_[kRecent];
  unsigned touches_ = 0;
  uint64_t clock_ = 0;
};

}  // namespace spillway

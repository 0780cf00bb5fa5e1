// rows.h - the ways in which the out-of-core matrix uses its array. A row is what one thread does with its
// share.
//
// Streaming rows give each thread one contiguous half; random reads go anywhere, random writes stay in the
// thread's half. All choices come from seeded generators, so every source gets the same pages in the same
// order.
#pragma once
#include <algorithm>
#include <cstdint>

#include "bench/outofcore/array.h"
#include "bench/outofcore/counters.h"

namespace spillway::bench {

// xorshift64*
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u | 1) {}
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1du;
  }
  uint64_t below(uint64_t n) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(next()) * n >> 64);
  }

 private:
  uint64_t state_;
};

// One thread's part of one row: what it may use and what it has done.
struct Task {
  Array& array;
  uint64_t thread;
  uint64_t threads;
  uint64_t memory_bytes;
  uint64_t accesses;  // for the random rows, of all threads together
  double deadline;

  uint64_t pages_done = 0;
  uint64_t checksum = 0;
  bool complete = true;

  // Counts one page. False: the time is up; looked at every 64 pages, so that the clock costs nothing.
  bool count(uint64_t sum = 0) {
    checksum += sum;
    if (++pages_done % 64 != 0 || now_seconds() < deadline) return true;
    complete = false;
    return false;
  }
  uint64_t share_begin(uint64_t pages) const { return pages * thread / threads; }
  uint64_t share_end(uint64_t pages) const { return pages * (thread + 1) / threads; }
};

// Never cut: the other rows read what it wrote.
inline void fill(Task& t) {
  const uint64_t pages = t.array.pages();
  for (uint64_t p = t.share_begin(pages); p < t.share_end(pages); ++p) {
    t.array.write(p);
    ++t.pages_done;
  }
}

inline void sequential_read(Task& t) {
  const uint64_t pages = t.array.pages();
  for (uint64_t p = t.share_begin(pages); p < t.share_end(pages); ++p) {
    if (!t.count(t.array.read(p))) return;
  }
}

inline void update(Task& t) {
  const uint64_t pages = t.array.pages();
  for (uint64_t p = t.share_begin(pages); p < t.share_end(pages); ++p) {
    t.array.update(p);
    if (!t.count()) return;
  }
}

inline void backward_read(Task& t) {
  const uint64_t pages = t.array.pages();
  for (uint64_t p = t.share_end(pages); p-- > t.share_begin(pages);) {
    if (!t.count(t.array.read(p))) return;
  }
}

// One page in every 64 KiB, then again half-way between: a column of a matrix stored by rows.
inline void stride_64k(Task& t) {
  constexpr uint64_t kStride = 16;
  const uint64_t pages = t.array.pages();
  for (uint64_t offset : {uint64_t{0}, kStride / 2}) {
    for (uint64_t p = t.share_begin(pages) + offset; p < t.share_end(pages); p += kStride) {
      if (!t.count(t.array.read(p))) return;
    }
  }
}

inline void random_read(Task& t) {
  Random random(t.thread + 1);
  for (uint64_t n = t.accesses / t.threads; n > 0; --n) {
    if (!t.count(t.array.read(random.below(t.array.pages())))) return;
  }
}

inline void random_write(Task& t) {
  Random random(t.thread + 101);
  const uint64_t begin = t.share_begin(t.array.pages());
  const uint64_t count = t.share_end(t.array.pages()) - begin;
  for (uint64_t n = t.accesses / t.threads; n > 0; --n) {
    t.array.write(begin + random.below(count));
    if (!t.count()) return;
  }
}

// Nine reads of ten go to a tenth of the pages. The hot pages are scattered, one in every ten, as the hot
// keys of a hash table are: keeping them takes page-grained replacement, not luck with neighbours.
inline void hot_90_10(Task& t) {
  Random random(t.thread + 201);
  const uint64_t hot_pages = t.array.pages() / 10;
  for (uint64_t n = 15 * t.accesses / t.threads; n > 0; --n) {
    uint64_t page;
    if (random.below(10) != 0) {
      const uint64_t hot = random.below(hot_pages);
      page = hot * 10 + Random(hot + 7).next() % 10;
    } else {
      page = random.below(t.array.pages());
    }
    if (!t.count(t.array.read(page))) return;
  }
}

// Four times over a third more than fits: least-recently-used replacement never finds anything.
inline void cyclic_scan(Task& t) {
  const uint64_t window = std::min(t.array.pages(), t.memory_bytes / 3 * 4 / kPageBytes);
  for (int pass = 0; pass < 10; ++pass) {
    for (uint64_t p = t.share_begin(window); p < t.share_end(window); ++p) {
      if (!t.count(t.array.read(p))) return;
    }
  }
}

}  // namespace spillway::bench

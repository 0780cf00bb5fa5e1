// sort_row.h - std::sort of the whole array as 32-byte records; with two threads each sorts its half. It
// overwrites what the other rows rely on, so it comes last.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "bench/outofcore/rows.h"

namespace spillway::bench {

struct Record {
  uint64_t key;
  uint64_t payload[3];
};

inline Record* records_of(Array& array) { return reinterpret_cast<Record*>(array.words()); }
inline uint64_t record_count(const Task& t) {
  return std::min(t.array.bytes(), 2 * t.memory_bytes) / sizeof(Record);
}

inline void shuffle_records(Task& t) {
  Random random(t.thread + 301);
  Record* records = records_of(t.array);
  const uint64_t count = record_count(t);
  for (uint64_t i = t.share_begin(count); i < t.share_end(count); ++i) {
    const uint64_t key = random.next();
    records[i] = {key, {~key, key + 1, key + 2}};
  }
}

inline void sort_records(Task& t) {
  struct TimeIsUp {};
  Record* records = records_of(t.array);
  const uint64_t count = record_count(t);
  uint64_t compared = 0;
  auto less = [&](const Record& a, const Record& b) {
    if (++compared % (1 << 16) == 0 && now_seconds() >= t.deadline) throw TimeIsUp();
    return a.key < b.key;
  };
  try {
    std::sort(records + t.share_begin(count), records + t.share_end(count), less);
    t.pages_done = (t.share_end(count) - t.share_begin(count)) * sizeof(Record) / kPageBytes;
  } catch (const TimeIsUp&) {
    t.complete = false;
  }
}

// Looks at a sample only, because reading all of it again would take longer than some sorts. What is at a
// place of a sorted array is determined, so the checksum of the sample must be equal for every source.
inline void check_sorted(Task& t) {
  constexpr uint64_t kRun = kPageBytes / sizeof(Record);
  const Record* records = records_of(t.array);
  const uint64_t begin = t.share_begin(record_count(t)), end = t.share_end(record_count(t));
  Random random(t.thread + 401);
  for (int sample = 0; sample < 1000; ++sample) {
    const uint64_t first = begin + random.below(end - begin - kRun);
    for (uint64_t i = first; i < first + kRun; ++i) {
      const Record& r = records[i];
      if ((i > first && r.key < records[i - 1].key) || r.payload[0] != ~r.key || r.payload[2] != r.key + 2) {
        std::fprintf(stderr, "the sorted array is wrong at record %llu\n",
                     static_cast<unsigned long long>(i));
        std::exit(3);
      }
      t.checksum += r.key * (i + 1);
    }
  }
}

}  // namespace spillway::bench

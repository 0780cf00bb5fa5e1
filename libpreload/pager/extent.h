// extent.h - 2 MiB of a large block as the pager sees it, and the chunk it belongs to.
#pragma once
#include <bit>
#include <cstring>

#include "base/core/intrusive_list.h"
#include "base/core/page_range.h"
#include "libpreload/backing/backing.h"
#include "libpreload/pager/spill_files.h"

namespace spillway {

struct Chunk;
struct PagedChunk;

// A set of pages of an extent.
class PageSet {
 public:
  bool has(unsigned page) const { return bits_[page / 64] >> (page % 64) & 1; }
  void add(unsigned page) { bits_[page / 64] |= uint64_t{1} << (page % 64); }
  void remove(unsigned page) { bits_[page / 64] &= ~(uint64_t{1} << (page % 64)); }
  void clear() { *this = {}; }
  unsigned count() const {
    unsigned n = 0;
    for (uint64_t bits : bits_) n += static_cast<unsigned>(std::popcount(bits));
    return n;
  }
  bool empty() const { return count() == 0; }
  // The first page from `page` on that is in the set, or kExtentPages.
  unsigned next(unsigned page) const {
    while (page < kExtentPages && !has(page)) ++page;
    return page;
  }

 private:
  uint64_t bits_[kExtentPages / 64] = {};
};

// All zeroes is a valid extent: empty.
struct Extent : ListHook {
  enum class State : uint8_t {
    kEmpty,      // reads as zeroes; nothing is kept anywhere
    kResident,   // in the program's memory
    kLoading,    // somebody fills a frame for it
    kStaged,     // its frame is in the staging area, and one move brings it back
    kWriting,    // staged, and a worker looks at it or writes it
    kStored,     // on disk alone
    kScattered,  // on disk, and some pages in the program's memory (lines.h)
  };

  PagedChunk* chunk = nullptr;
  State state = State::kEmpty;
  bool wanted = false;       // a thread waits for it
  bool dropped = false;      // discarded while somebody worked on its frame
  bool clean = false;        // staged: can be dropped, the file (or nothing, for zeroes) has the same
  bool ahead = false;        // staged or loading because a stream will need it
  bool pending = false;      // in the list of faults that wait for a frame
  uint8_t file = 0;          // the chunk's spill file that has its bytes, at its offset in the chunk; 0: none
  uint32_t packed = 0;       // SpillFiles::kCompressed: the slot in the compressed store
  bool poisoned = false;     // some pages could not be read: a touch is SIGBUS
  bool indivisible = false;  // scattered: never read as a whole
  Advice advice = Advice::kNormal;  // of the program
  bool shared = false;              // resident: with a process of a fork, as far as is known
  uint16_t holes = 0;               // resident: pages that are not there
  uint16_t slot = 0;                // of the staging area, from 1 on; 0: none
  uint16_t collected = 0;           // loading: the slot with pages that are newer than the file
  uint16_t lines_under_way = 0;     // scattered: reads and writes
  bool passing = false;             // resident: Replacement's
  bool taken_apart = false;         // staged and whole, of which a page was wanted, and it alone was kept
  bool sampled = false;             // stored: to see how it is used, it is read by lines
  bool demoting = false;            // scattered: its bytes go from the compressed store to a file
  uint8_t dense_reads = 0;          // as a whole since it was dense, and soon again
  uint8_t probe = 0;                // likewise
  uint32_t wanted_as = 0;           // Replacement's
  uint64_t wanted_us = 0;           // since when a thread waits for it
  uint64_t since = 0;               // Lines::clock() when it became resident, the last time
  uint64_t digest[2] = {};          // of what the file has; zeroes: not known
  PageSet present, staged;          // scattered
};

// A chunk of the managed backing. The list and `watched` are guarded by the pager's lock.
struct PagedChunk {
  PageRange range;
  Chunk* chunk = nullptr;
  PagedChunk* next = nullptr;
  SpillFiles files;
  uint64_t gathered_bytes = 0;  // of range: where the search for extents of old files goes on

  Extent& extent(const char* address) {
    Extent& e = reinterpret_cast<Extent*>(this + 1)[range.offset_of(address) >> kExtentShift];
    if (e.chunk == nullptr) e.chunk = this;  // workers read it without the lock
    return e;
  }
  char* address(const Extent& e) const {
    return range.base + ((&e - reinterpret_cast<const Extent*>(this + 1)) << kExtentShift);
  }
  uint64_t offset(const Extent& e) const { return range.offset_of(address(e)); }
  static uint64_t footprint(uint64_t range_bytes) {
    return sizeof(PagedChunk) + (range_bytes >> kExtentShift) * sizeof(Extent);
  }
};

inline PagedChunk* find_chunk(PagedChunk* list, const char* address) {
  while (list != nullptr && !list->range.contains(address)) list = list->next;
  return list;
}
inline char* address_of(const Extent& e) { return e.chunk->address(e); }
inline char* page_address(const Extent& e, unsigned page) { return address_of(e) + page * kPageBytes; }
inline PageRange page_range(const Extent& e, unsigned page) { return {page_address(e, page), kPageBytes}; }
inline bool is_on_disk(const Extent& e) {
  return e.state == Extent::State::kStored || e.state == Extent::State::kScattered;
}
inline void copy_pages(char* to, const char* from, const PageSet& pages) {
  for (unsigned page = pages.next(0); page < kExtentPages; page = pages.next(page + 1))
    memcpy(to + page * kPageBytes, from + page * kPageBytes, kPageBytes);
}
// The chunk's granules that are this process's own.
void for_each_mapped_run(Chunk& chunk, auto visit) {
  for (PageRange rest = chunk.used(); !rest.empty();) {
    const PageRange run = chunk.next_run(rest, /*mapped=*/true);
    if (run.empty()) return;
    visit(run);
    rest = {run.end(), static_cast<uint64_t>(rest.end() - run.end())};
  }
}

}  // namespace spillway

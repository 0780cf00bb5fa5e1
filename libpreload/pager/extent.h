// extent.h - 2 MiB of a large block as the pager sees it, and the chunk it belongs to.
#pragma once
#include <cstring>

#include "base/core/intrusive_list.h"
#include "base/core/page_range.h"
#include "libpreload/pager/spill_files.h"

namespace spillway {

struct Chunk;
struct PagedChunk;

// All zeroes is a valid extent: empty.
struct Extent : ListHook {
  enum class State : uint8_t {
    kEmpty,     // reads as zeroes; nothing is kept anywhere
    kResident,  // in the program's memory
    kLoading,   // somebody fills a frame for it
    kStaged,    // its frame is in the staging area, and one move brings it back
    kWriting,   // staged, and a worker looks at it or writes it
    kStored,    // on disk alone
  };

  PagedChunk* chunk = nullptr;
  State state = State::kEmpty;
  bool wanted = false;      // a thread waits for it
  bool dropped = false;     // discarded while somebody worked on its frame
  bool clean = false;       // staged: can be dropped, the file (or nothing, for zeroes) has the same
  bool ahead = false;       // staged or loading because a stream will need it
  bool pending = false;     // in the list of faults that wait for a frame
  bool whole = false;       // every page of it is there, in a frame that was made huge where the host allows
  uint8_t file = 0;         // the chunk's spill file that has its bytes, at its offset in the chunk; 0: none
  uint16_t slot = 0;        // of the staging area, from 1 on; 0: none
  uint64_t digest[2] = {};  // of what the file has
};

// A chunk of the managed backing. The list and `watched` are guarded by the pager's lock.
struct PagedChunk {
  PageRange range;
  Chunk* chunk = nullptr;
  PagedChunk* next = nullptr;
  SpillFiles files;

  Extent& extent(const char* address) {
    Extent& e = reinterpret_cast<Extent*>(this + 1)[range.offset_of(address) >> kExtentShift];
    e.chunk = this;
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

inline char* address_of(const Extent& e) { return e.chunk->address(e); }

}  // namespace spillway

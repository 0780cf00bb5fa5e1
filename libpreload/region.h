// region.h - a stretch of a chunk's address space, in whole granules of 2 MiB: one large block, or free
// space. Regions tile a chunk without gaps, so a neighbour is one look into the page map away. The heap's
// lock guards everything but what is marked.
#pragma once
#include <atomic>

#include "base/core/intrusive_list.h"
#include "base/core/page_range.h"
#include "libpreload/unmapped_pages.h"

namespace spillway {

struct CallSite;
struct Chunk;

class Region : public ListHook {
 public:
  enum class State : uint8_t {
    kFree,      // reads as zeroes once committed again; holds no memory and no disk
    kRecycled,  // free, but its pages and blocks are kept for the next request; contents are garbage
    kLive,      // a block of the program
  };

  PageRange span;          // what the region covers
  Chunk* chunk = nullptr;  // whose address space it is
  CallSite* site = nullptr;

  // From span.base on, this many bytes are backed: usable by the program when live, kept when recycled.
  // Readable without the lock by whoever owns the live block.
  std::atomic<uint64_t> committed = 0;
  // Beyond these it is head-room: address space with nothing in it.
  PageRange committed_granules() const { return {span.base, round_up(committed, kExtentBytes)}; }
  std::atomic<State> state = State::kFree;

  // The program changed protection, locks or advice of some pages: they must not survive into the next block.
  std::atomic<bool> disturbed = false;
  // It came of mmap(2): freed when all of its pages are unmapped.
  bool is_mapping = false;
  UnmappedPages unmapped;
  // The program put something of its own in place of some pages: the rest stays where it is.
  std::atomic<bool> has_foreign_pages = false;
  // Children of a fork in shared mode write to it, too: it can neither be grown in its file nor snapshot.
  bool shared_with_children = false;
  // The madvise(2) advice in force, and whether the program chose it.
  std::atomic<int> advice = 0;
  std::atomic<bool> advice_is_programs = false;

  bool is_live_at(const void* p) const {
    return state.load(std::memory_order_acquire) == State::kLive && span.contains(p);
  }
  bool is_block(const void* p) const { return is_live_at(p) && p == span.base; }
};

}  // namespace spillway

// compressed_store.h - extents that compress well, kept in memory instead of a spill file. It is used like
// one: an extent's bytes are here at its own pages, each of which is read and written by itself.
//
// An extent has a slot of 1 MiB of address space, of which it takes the pages it needs from the front: a
// table of its pages, then their bytes. A page that is written anew and got longer goes to the end; when
// a quarter is waste the slot is packed anew. So nothing is ever shared between extents, and what an extent
// gives back is free at once.
//
// A forked child has a copy (the kernel's, page by page as one of them writes), and reads from it.
//
// Threads: the pager's lock is held, but for pack() and read(), whose slot nobody else writes meanwhile.
#pragma once
#include <algorithm>
#include <atomic>

#include "base/core/page_range.h"
#include "base/core/result.h"
#include "libpreload/pager/extent.h"
#include "libpreload/pager/page_codec.h"

namespace spillway {

class CompressedStore {
 public:
  constexpr CompressedStore() = default;

  // For a budget of so many frames at most. Until then, and after an error, there is room for nothing.
  Errno set_up(int most_frames);
  // What it may take of the budget.
  void set_most(int frames) { most_bytes_ = static_cast<uint64_t>(frames) << kExtentShift; }

  // Whether some of the extent's pages compress well, and how.
  static bool suits(const char* extent, PageCodec::Filter& filter);
  // For an extent of whatever size.
  bool has_room() const { return std::max(reserved_bytes(), kUnderWayBytes) + kSlotBytes <= most_bytes_; }
  // A slot that can be filled; 0: there is no room.
  uint32_t take(Extent& owner);
  // Fills it. False: the bytes do not compress well after all, and the slot is empty.
  bool pack(uint32_t slot, const char* extent, PageCodec::Filter filter);
  // It was filled: it counts.
  void keep(uint32_t slot);
  // It was not, or is not needed any more.
  void release(uint32_t slot);

  // Some pages of an extent. False: they are damaged.
  bool read(uint32_t slot, unsigned first, unsigned count, char* to) const;
  // False: it does not fit any more. `digest`: of the page.
  bool write(uint32_t slot, unsigned page, const char* from, uint64_t digest);
  uint64_t digest(uint32_t slot, unsigned page) const { return header(slot).digest[page]; }

  // Of memory, now; and with what is needed at times to work in, in frames.
  uint64_t bytes() const {
    return (pages_ << kPageShift) + used_ * kTableBytes + (used_ > 0 ? highest_ * sizeof(Slot) : 0);
  }
  int frames() const { return static_cast<int>((reserved_bytes() + kExtentBytes - 1) >> kExtentShift); }
  uint64_t extents() const { return used_; }

  // It takes more than it may.
  bool is_over() const { return reserved_bytes() > most_bytes_; }
  // Each extent that is here, in turn.
  Extent* next();

  struct Counters {
    std::atomic<uint64_t> packed = 0, refused = 0, extent_reads = 0, line_reads = 0, page_writes = 0,
                          demoted = 0, packed_bytes = 0, peak_bytes = 0;
  };
  Counters& counters() { return counters_; }
  const Counters& counters() const { return counters_; }

 private:
  static constexpr uint32_t kSlotBytes = kMiB;  // half an extent: what compresses less is not worth it
  static constexpr uint32_t kUnit = 16;
  static constexpr uint64_t kSlotsPerFrame = 8;
  // Of the page table, for a slot.
  static constexpr uint64_t kTableBytes = kPageBytes / 2;
  // Slots that are being filled or packed anew, whatever their number is.
  static constexpr uint64_t kUnderWayBytes = 4 * kSlotBytes;

  struct Header {
    uint64_t digest[kExtentPages];
    uint16_t at[kExtentPages];     // in units
    uint16_t bytes[kExtentPages];  // kPageBytes: not compressed
    uint32_t end;
    uint32_t waste;
    PageCodec::Filter filter;
  };
  struct Slot {
    Extent* owner = nullptr;  // null: free
    uint32_t next_free = 0;
    uint32_t pages = 0;  // of memory
  };
  static constexpr uint32_t round(uint32_t bytes) { return (bytes + kUnit - 1) / kUnit * kUnit; }

  char* base(uint32_t slot) const { return area_.base + uint64_t{slot - 1} * kSlotBytes; }
  Header& header(uint32_t slot) const { return *reinterpret_cast<Header*>(base(slot)); }
  uint64_t reserved_bytes() const { return used_ > 0 ? bytes() + kUnderWayBytes : 0; }
  void give_back(uint32_t slot, uint32_t from) const;
  void count(uint32_t slot, uint32_t end);
  void repack(uint32_t slot);

  PageRange area_;
  Slot* slots_ = nullptr;  // from 1 on
  uint32_t capacity_ = 0, highest_ = 0, free_ = 0, turn_ = 0;
  uint64_t most_bytes_ = 0;
  uint64_t used_ = 0, pages_ = 0;
  PageCodec codec_;  // for write()
  char* repacked_ = nullptr;
  Counters counters_;
};

}  // namespace spillway

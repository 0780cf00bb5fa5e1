// lines.h - pages of extents that are touched here and there: what is read is a line of 4 to 64 KiB, not
// 2 MiB. Such an extent is scattered: some pages are in the program's memory, the file has the others.
//
//                  touch: read, copied in              move            written, or unchanged
//     file alone ----------------------> present <-----------> staged ----------------------> file alone
//
// Replacement is FIFO with the staging area as second chance: a page that is touched there goes to a queue of
// its own, which new pages cannot drain below three quarters, so that a hot set outlives scans (2Q, Johnson
// and Shasha, VLDB 1994; S3-FIFO, SOSP 2023). Whether a page changed is told by its digest (XXH3, 64 bits).
//
// Memory is counted in pages and granted in frames. Threads: the pager's lock is held; what reads and writes
// is called by the thread that answers faults.
#pragma once
#include "base/os/io_ring.h"
#include "base/os/userfault.h"
#include "libpreload/pager/compressed_store.h"
#include "libpreload/pager/extent.h"
#include "libpreload/pager/page_words.h"

namespace spillway {

class Lines {
 public:
  constexpr Lines() = default;

  // Of the thread that answers faults. `chunks`: the head of the pager's list; `most_frames`: as many as the
  // budget can ever have.
  Errno set_up(os::Userfault& userfault, PagedChunk*& chunks, const char* directory,
               WriteErrors& write_errors, CompressedStore& compressed, int most_frames);
  // In a forked child, after settle() in the parent: what is present stays so.
  void start_anew();

  os::IoRing& ring() { return ring_; }

  // The page is neither present nor staged nor on its way: is the whole extent a better answer? Because a run
  // of pages has come so far, in equal steps, or because many of its pages were wanted lately.
  enum class Whole { kNo, kRun, kDense };
  Whole suggests_whole(const Extent& extent, unsigned page) const;
  // It is read as a whole.
  void note_whole(Extent& extent, Whole why);
  // Of what was read last nearly all were lines.
  bool are_the_rule() const;
  // A clean extent's page that is elsewhere in memory: from now on it is scattered, with this page alone.
  void take_page(Extent& extent, unsigned page, const char* from);
  // Answers the fault, now or when the read is through. The extent is stored or scattered.
  void on_fault(Extent& extent, unsigned page);
  // The page will be wanted soon. False: no more can be read now.
  bool read_ahead(Extent& extent, unsigned page);
  // Reads and writes that are through. False: none.
  bool finish();
  bool is_idle() const { return under_way_ == 0; }
  // Faults were left unanswered until something under way is through: then everybody looks again.
  void miss() { missed_ = true; }
  bool take_missed() { return std::exchange(missed_, false); }

  // Memory in use or granted, in frames.
  int frames() const;
  uint64_t resident_bytes() const { return pages_ << kPageShift; }
  void grow() { ++granted_; }
  // False: there is nothing to take.
  bool shrink();
  bool is_shrinking() const { return pages_ > room(); }
  // And it can: not all that should leave is pinned (a long O_DIRECT transfer holds on to all it has seen).
  bool will_shrink() const { return is_shrinking() && !is_held_up_; }
  bool is_tight() const { return unstaged() + kAtOnce > room(); }
  // In pages that were brought in since; what would leave first.
  uint64_t age() const;
  uint64_t clock() const { return clock_; }
  void tick(uint64_t pages) { clock_ += pages; }
  bool needs_room() const { return unstaged() > room(); }
  // Pages leave until the rest fits, and a few more.
  void make_room();
  // Between the two, what the extent's pages are read from does not change, and it is read by lines alone.
  void hold(Extent& extent);
  void let_go(Extent& extent);
  // Scattered extents that can only be written as a whole.
  Extent* take_unwritable();

  // All pages of the extent move to `area` (2 MiB, empty), at their offsets; extent.present says which. They
  // count until they are forgotten. False: they cannot move.
  bool collect(Extent& extent, char* area);
  // And back.
  void scatter(Extent& extent, char* area);
  // The pages are discarded, or were.
  void forget(Extent& extent);
  // Nothing is staged afterwards. Nothing is under way.
  void settle();

  struct Counters {
    std::atomic<uint64_t> loads = 0, load_pages = 0, staged_hits = 0, stores = 0, unchanged = 0, stall_us = 0;
  };
  const Counters& counters() const { return counters_; }

 private:
  static constexpr unsigned kLongest = 16;  // of a line, in pages
  // Queues, slots and words are 64 bytes a page.
  static constexpr int kFramesPerFrameOfTables = 64;
  // Of the memory of lines, so much is staged: of pages that are wanted again soon it catches most, and what
  // is not wanted again costs little memory.
  static constexpr uint64_t kStagedShare = 4;
  static constexpr uint64_t kAtOnce = 32;  // pages that leave together
  static constexpr int kLoads = 32, kMostWrites = 24;
  static constexpr uint32_t kIsWrite = uint32_t{1} << 31;

  // Pages in the order they came, with the time. Some are not there any more.
  class Queue {
   public:
    Errno make(uint64_t capacity);
    bool empty() const { return head_ == tail_; }
    uint64_t size() const { return tail_ - head_; }
    bool full() const { return size() == mask_ + 1; }
    void push(const char* page, uint64_t clock) {
      entries_[tail_++ & mask_] =
          reinterpret_cast<uint64_t>(page) << 16 | ((clock >> kClockShift) & 0xfffffff);
    }
    char* pop() { return address(entries_[head_++ & mask_]); }
    uint64_t age(uint64_t clock) const {
      return (((clock >> kClockShift) - entries_[head_ & mask_]) & 0xfffffff) << kClockShift;
    }

   private:
    static constexpr int kClockShift = 6;
    static char* address(uint64_t entry) { return reinterpret_cast<char*>(entry >> 28 << 12); }
    uint64_t* entries_ = nullptr;
    uint64_t head_ = 0, tail_ = 0, mask_ = 0;
  };

  struct Load {
    Extent* extent = nullptr;  // null: unused
    uint16_t first = 0, count = 0, wanted = 0;
    uint64_t since_us = 0;  // that a thread waits for it; 0: none does
  };
  struct Slot {
    Extent* extent = nullptr;
    uint64_t digest = 0;
    uint16_t page = 0;
    bool clean = false;
    bool writing = false;
    bool left = false;  // the page is not staged any more
    bool holds = true;  // there is a page here
  };

  uint64_t room() const { return static_cast<uint64_t>(granted_) << (kExtentShift - kPageShift); }
  // What must fit so that the staging area has its share.
  uint64_t unstaged() const { return pages_ - held_ + room() / kStagedShare; }
  Slot& slot(uint64_t number) { return slots_[number & slot_mask_]; }
  char* slot_address(uint64_t number) const { return area_.base + ((number & slot_mask_) << kPageShift); }
  int recent_faults(const Extent& extent, unsigned among) const;
  bool was_here_lately(const Extent& extent) const;
  bool continues_steps(const Extent& extent, unsigned page) const;
  bool is_under_way(const Extent& extent, unsigned page) const;
  bool load(Extent& extent, unsigned first, unsigned count, unsigned wanted, uint64_t since_us);
  bool expand_in_place(Extent& extent, unsigned page);
  bool is_full(unsigned more) const;
  // Left to who waits.
  static constexpr int kFewUnused = 8;
  void poison(Extent& extent, unsigned page, Errno error);
  void loaded(Load& load, Errno error);
  void written(Slot& slot, Errno error);
  void bring_back(uint64_t number);
  uint64_t leave(Slot& slot);
  void become_stored(Extent& extent);
  void fill_hole(PageRange page);
  bool stage_next();
  bool stage(Extent& extent, unsigned page);
  void drop_staged(uint64_t goal);
  void vacate(uint64_t end);
  void emptied(Slot& slot);
  void write_staged();
  void start_write(uint64_t number);
  void know(const Extent& extent, unsigned page, uint64_t digest);
  void present(Extent& extent, unsigned page, Queue& queue);
  Extent* extent_of(const char* page, unsigned& index);

  os::Userfault* userfault_ = nullptr;
  PagedChunk** chunks_ = nullptr;
  const char* directory_ = nullptr;
  WriteErrors* write_errors_ = nullptr;
  CompressedStore* compressed_ = nullptr;
  os::IoRing ring_;
  int granted_ = 0;
  uint64_t budget_pages_ = 0;
  uint64_t pages_ = 0;  // present, staged or being read
  uint64_t held_ = 0;   // of them, in the staging area
  uint64_t clock_ = 0;  // pages that were brought in, by anybody
  Queue new_, proven_;
  PageWords words_;  // present: digest of what the file has; staged: the slot

  // The staging area of lines: slots head_ to tail_ are in use, in the order they came.
  PageRange area_;
  Slot* slots_ = nullptr;
  uint64_t slot_mask_ = 0;
  uint64_t head_ = 0, next_write_ = 0, tail_ = 0;

  Load loads_[kLoads];
  PageRange buffers_;
  int under_way_ = 0, writes_ = 0;
  bool missed_ = false;
  bool is_held_up_ = false;  // when room was made last, nothing could leave
  int said_read_errors_ = 0;
  IntrusiveList<Extent> unwritable_;
  // The last faults that were answered with a line; extent null: with a whole one.
  struct Recent {
    const Extent* extent = nullptr;
    unsigned page = 0;
  };
  static constexpr unsigned kRecent = 256, kLast = 64;
  Recent recent_[kRecent];
  unsigned recent_at_ = 0;
  Counters counters_;
};

}  // namespace spillway

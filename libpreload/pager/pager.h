// pager.h - holds the large blocks of this process to a budget of memory: extents beyond it are on disk, and
// come back when they are touched (userfaultfd, UFFDIO_MOVE).
//
// Until blocks are about to fill the budget there is nothing: no thread, no descriptor. Then all of their
// memory is watched. An extent leaves by a move into the staging area, atomically and as the huge page it is,
// and is written from there; touched meanwhile, it moves back. The frame it left then holds the next extent
// that is read. Frames circulate, and their number is the budget.
//
//          touch                     move            written, or unchanged            frame needed
//   empty -------> loading -> resident ----> staged ----------------------> staged, clean ----> stored
//                     ^           ^             |  touch: move back              |                 |
//                     |           +-------------+--------------------------------+                 |
//                     +----------------------------- touch: read ----------------------------------+
//
// Whether an extent changed is told by its digest (XXH3, 128 bits) from what the file has: write protection
// has a moment after each move in which a write would be missed.
//
// What is not a large block can grow faster than anybody could look: small blocks, and what the program maps
// itself, are watched, too, and get pages when large blocks have made room (budget.h).
//
// Threads: one answers faults, some read and write. They have descriptors of their own, hold lock_, never
// touch the program's memory with it (so they never allocate), and never take the heap's lock. The program's
// threads never take lock_ (their stacks may be in blocks): they leave a request, and wait. All such calls
// are made under the heap's lock.
#pragma once
#include <signal.h>

#include <algorithm>
#include <atomic>

#include "base/core/eternal.h"
#include "base/os/lock.h"
#include "base/os/procfs.h"
#include "base/os/userfault.h"
#include "libpreload/backing/backing.h"
#include "libpreload/pager/budget.h"
#include "libpreload/pager/compressed_store.h"
#include "libpreload/pager/digest.h"
#include "libpreload/pager/extent.h"
#include "libpreload/pager/follower.h"
#include "libpreload/pager/lines.h"
#include "libpreload/pager/replacement.h"
#include "libpreload/pager/streams.h"
#include "libpreload/pager/strides.h"

namespace spillway {

class Pager {
 public:
  constexpr Pager() = default;

  // Whether this host permits all it takes; the reason if not.
  static Errno probe();

  // After the settings are read.
  void configure();
  // Blocks have grown to so many bytes: it is time to start. Under the heap's lock.
  bool is_time(uint64_t large_bytes, uint64_t small_bytes) {
    return !engaged_ && budget_.is_reached(large_bytes, small_bytes);
  }
  // Starts the threads, and watches every mapped granule. An error: memory stays as it is.
  Errno engage(const char* directory);
  bool engaged() const { return engaged_; }
  // Memory may be elsewhere from now on, or from the file that a parent's pager wrote, in this process.
  bool has_begun() const { return has_begun_; }

  Errno add_chunk(Chunk& chunk);
  void remove_chunk(Chunk& chunk);

  // Once engaged. Granules were mapped: watches them, and makes sure that there is room on the disk.
  Errno commit(PageRange granules);
  // Nobody needs the granules any more; the room on the disk is given back.
  void release(PageRange granules);
  // The pages read as zeroes from now on, and the room stays.
  Errno discard(PageRange pages);

  // What the program says of pages of its blocks.
  void advise(PageRange pages, Advice advice);
  // Without threads: when they start they find it.
  void note_advice(Advice advice, PageRange pages);
  void set_limit(uint64_t bytes);

  // The program mapped private anonymous memory of its own: as everything that is not a large block, it gets
  // pages when there is room.
  void watch_others(PageRange range) { (void)call(Work::kWatch, range); }

  // Blocks become snapshots: nothing is staged, and the files are not written to any more. The calling thread
  // takes no signal until after_fork_...: its handler would wait for what is not answered meanwhile.
  void before_fork();
  void after_fork_in_parent();
  // In the child, before anybody uses a small block: small ones that are on disk are read through the kernel
  // from now on.
  void begin_child();
  // may_start_threads false: after _Fork(), in which only what is async-signal-safe may be called.
  void after_fork_in_child(bool may_start_threads);

  struct Counters {
    std::atomic<uint64_t> faults = 0, loads = 0, staged_hits = 0, read_ahead = 0, stores = 0, unchanged = 0,
                          zeroes = 0, peak_frames = 0,
                          stall_us = 0;  // that threads waited for whole extents, one after the other
  };
  const Counters& counters() const { return counters_; }
  uint64_t streams() const { return streams_.recognised(); }
  uint64_t loops() const { return residents_.loops(); }
  const Lines::Counters& line_counters() const { return lines_.counters(); }
  const CompressedStore& compressed() const { return compressed_; }

 private:
  static constexpr int kWorkers = 3;
  static constexpr int kMostSlots = 48;
  static constexpr int kFewSpare = 2;
  static constexpr int kForOneTaken = 2;
  static constexpr int kFewestFrames = 6;
  static constexpr uint64_t kChildBytes = (kFewestFrames + kFewSpare) * kExtentBytes;
  static constexpr unsigned kDoubtOften = 8, kDoubtSeldom = 256;
  static constexpr int kSparse = 4;
  static constexpr int kForOneRegret = 32;
  // What the compressed store may take of the budget.
  static constexpr int kCompressedShare = 3, kOfShares = 4;
  using List = IntrusiveList<Extent>;
  using State = Extent::State;

  enum class Work : uint8_t {
    kNone,
    kAddChunk,
    kWatch,
    kAdvise,
    kSetLimit,
    kCommit,
    kRelease,
    kDiscard,
    kDiscardPart,
    kForgetChunk,
    kFreeze,
    kThaw
  };
  // What a thread of the program wants done by one of the pager's; one at a time.
  struct Request {
    std::atomic<Work> work = Work::kNone;
    PageRange range;
    Advice advice = Advice::kNormal;
    uint64_t limit_bytes = 0;
    PagedChunk* chunk = nullptr;
    int socket = -1;  // of the program, for descriptors
    Errno result;
    std::atomic<uint32_t> done = 0;
  };

  // --- requests
  void link(PagedChunk& chunk);
  void unlink(PagedChunk& chunk);
  Errno call(Work work, PageRange range, PagedChunk* chunk = nullptr);
  Errno perform(Work work);
  Errno watch_and_preallocate(PageRange granules);
  void follow(Advice advice, PageRange extents);
  void send_out(Extent& extent);
  void drop(PageRange granules);
  bool is_worked_on(PagedChunk& chunk) const;
  void map_anew(Extent& extent);
  Errno discard_part(PageRange pages);
  void freeze();
  Errno send_files(int programs_socket);

  // --- threads
  static void* run_faults(void* self);
  static void* run_worker(void* self);
  Errno set_up();
  Errno watch_memory(const os::PageTable& pages);
  Errno watch_all(const Chunk& chunk);
  static uint64_t managed_bytes();
  int most_frames() const;
  Errno make_staging();
  void answer_faults();
  uint32_t only_thread(const os::Userfault::Fault* faults, int n) const;
  int answer_others_only(os::Userfault::Fault* faults, int n);
  void work();
  bool work_once();
  void wake_workers();
  void wake_worker();
  void set_budget();
  void look_at_memory();
  void make_progress();
  void start_anew();
  bool has_stored();
  void map_snapshots(PagedChunk& chunk);
  void map_snapshot(Extent& extent, int fd, uint64_t offset);
  void map_expanded(Extent& extent);
  void wake_everybody();
  void protect_everything();
  Errno start();

  // --- the state of extents; lock_ is held
  void on_fault(const os::Userfault::Fault& fault);
  char* fill_hole(char* address);
  void admit(const os::Userfault::Fault& fault);
  uint64_t allow_writes(char* page);
  void admit_waiting();
  bool others_fit() const { return budget_.leaves_room(resident_bytes()); }
  Extent* choose_victim();
  void start_residence(Extent& extent, bool was_read);
  void end_residence(Extent& extent);
  void share(Extent& extent);
  void make_room_for_child();
  bool is_stuck() const;
  void read_ahead(Extent& extent);
  void want(Extent& extent);
  void begin_wait(Extent& extent);
  void serve_pending();
  bool load(Extent& extent, uint16_t slot);
  void loaded(Extent& extent, Errno error, bool is_newer);
  void put_back_collected(Extent& extent);
  void forget_collected(Extent& extent);
  bool can_be_lines(const Extent& extent) const;
  bool is_worth_a_line(const Extent& extent, unsigned page);
  bool takes_apart(Extent& extent, unsigned page);
  static bool is_resident(const void* chunk, int64_t index);
  bool is_on_a_streams_way(const Extent& extent, unsigned page);
  void on_fault_on_disk(Extent& extent, unsigned page);
  bool is_in_steps(Extent& extent, unsigned page);
  bool is_doubtful(Extent& extent);
  void note_use(Extent& extent, bool sparse);
  void grow_lines();
  void store(Extent& extent);
  bool compress(Extent& extent, const char* frame);
  Extent* choose_to_demote();
  bool demote_once();
  void empty_compressed();
  void demote(Extent& extent);
  bool has_too_many_files() const;
  Extent* choose_to_gather();
  bool gather_once();
  void install(Extent& extent);
  void evict_ahead();
  bool evict(Extent& extent);
  void unlist(Extent& extent);
  void not_in_memory(Extent& extent);
  void leave_slot(Extent& extent);
  void drop_frame(uint16_t slot);
  void become_resident(Extent& extent, bool was_read);
  void became_staged(Extent& extent);
  void forget_file(Extent& extent);
  uint16_t take_frame(bool for_demand);
  uint16_t make_frame();
  bool make_vacancy();
  int spare_frames() const;
  // For streams, which are rare where lines are the rule.
  int most_spare() const { return lines_.are_the_rule() ? kFewSpare : slots_ / 3; }
  // None while all that is used fits: what left for nothing's sake would be wanted back at once, and another
  // would leave for it, for ever.
  int wanted_spare() const {
    const bool others_wait = waiting_count_ > 0 || is_pressed();
    return others_wait ? most_spare() : std::clamp(demand_, pending_.empty() ? 0 : 1, most_spare());
  }
  void note_demand() { demand_ = std::min(demand_ + kForOneTaken, most_spare()); }
  void note_return() { demand_ = std::max(demand_ - 1, 0); }
  int own_frames() const { return frames_ - shared_; }
  // What lines and the compressed store leave of the budget.
  int allowed_frames() const { return budget_frames_ - lines_.frames() - compressed_.frames(); }
  bool lines_are_oldest();
  // There is not even memory for the fewest frames: what is shared goes, too, in all processes that share it.
  bool is_pressed() const { return shared_ > 0 && !others_fit(); }
  void keep_budget();

  char* slot_address(uint16_t slot) const { return staging_.base + (slot - 1) * kExtentBytes; }
  PageRange slot_range(uint16_t slot) const { return {slot_address(slot), kExtentBytes}; }

  uint64_t resident_bytes() const;

  os::Lock lock_;
  os::Userfault userfault_;
  PagedChunk* chunks_ = nullptr;
  std::atomic<bool> engaged_ = false;
  std::atomic<bool> has_begun_ = false;
  char directory_[4096] = {};

  // Extents are in one of: residents_; staged_clean_, to be dropped in this order; to_write_;
  // to_read_; pending_, waiting for a frame.
  Replacement residents_;
  List staged_clean_, to_write_, to_read_, pending_;
  int under_way_ = 0;      // being filled, looked at or written
  bool settling_ = false;  // the workers begin nothing new
  bool frozen_ = false;    // for a fork: nothing changes

  // Frames are counted, wherever they are. Slots of the staging area hold one each, or none.
  int frames_ = 0;
  int shared_ =
      0;  // of them, those that a process of a fork has, too: they cost nothing, and leaving frees nothing
  int budget_frames_ = 0;  // for those that are this process's own
  uint64_t holes_ = 0;     // pages that own resident extents lack
  int demand_ = 0;         // rises with frames that are taken, falls with extents that come back from staging
  Budget budget_;
  Family family_;
  uint64_t most_bytes_ = 0;  // the budget, when the tables were made
  // First touches outside of large blocks that wait for room.
  static constexpr int kMostWaiting = 64;
  char* waiting_[kMostWaiting] = {};
  int waiting_count_ = 0;
  sigset_t signals_before_fork_ = {};
  bool was_engaged_ = false, child_needs_pager_ = false;  // between the two calls in a child
  bool is_child_ = false;                                 // and shares pages with its parent
  int slots_ = 0;
  PageRange staging_;
  PageRange nursery_;  // where frames are made: not watched, so that the kernel gives a huge page
  uint16_t vacant_[kMostSlots] = {};
  int vacant_count_ = 0;
  uint16_t garbage_[kMostSlots] = {};  // slots with a frame whose bytes nobody needs
  int garbage_count_ = 0;
  bool whole_[kMostSlots + 1] = {};   // the frame has all its pages
  bool zeroed_[kMostSlots + 1] = {};  // and nothing was written to it yet
  Digest digest_of_zeroes_;
  WriteErrors write_errors_;

  Streams streams_{is_resident};
  Strides strides_;
  int regrets_ = 0;  // extents not to be taken apart: of late, one was wanted as a whole soon after
  int sparse_ = 0;   // above zero: of late, extents were used in large steps
  unsigned doubts_ = 0, doubt_each_ = kDoubtOften;
  Lines lines_;
  Follower follower_;
  CompressedStore compressed_;
  unsigned skip_ = 0, to_skip_ = 0;  // extents that are not tried, since those before did not compress
  bool demoting_ = false;            // one at a time
  bool empties_compressed_ = false;
  Counters counters_;

  std::atomic<uint32_t> work_there_ = 0;  // counts up; workers wait for it
  int idle_workers_ = 0;                  // about to wait, or waiting
  Request request_;
  std::atomic<uint32_t> started_ = 0;  // 1: the first thread is ready; 2: it failed
  Errno start_error_;
  bool own_descriptors_ = false;  // of the pager's threads
};

// The one of the process.
extern constinit Eternal<Pager> the_pager;
inline constexpr Pager& pager = the_pager.object;

}  // namespace spillway

// writer.h - the one that writes: appends records, points the index at them, flushes, seals and compacts.
//
// A put, under append_mutex_: room in the index -> bytes into the segment -> written_sequence -> slot ->
// applied_sequence -> done. What fails before the slot is stored has changed nothing. A flush is done by
// whoever waits for it first, for all that wait, outside that lock. One thread seals full segments and
// compacts (compactor.cc); it takes the lock for one record at a time.
//
// Always: every record the index points to lies below its segment's `used`; sequence numbers have no gaps;
// segments are sealed, and so flushed, in the order they were filled.
// Threads: any.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "libpool/segstore/control.h"
#include "libpool/segstore/files.h"
#include "libpool/segstore/locking_fd.h"
#include "libpool/segstore/manifest.h"
#include "libpool/segstore/reader.h"
#include "libpool/segstore/scan.h"
#include "libpool/segstore/writes.h"
#include "spillway/store.hpp"

namespace spillway::segstore {

inline constexpr const char* kReserve = "RESERVE";  // blocks for removes and the compactor on a full disk

// A file being written, or not yet flushed.
struct OpenSegment {
  os::Fd fd;
  uint64_t id = 0;
  uint32_t row = 0;
  uint64_t capacity = 0, used = kFirstRecord, records = 0;
  SegmentHeader header;
  uint32_t salt = 0;
  bool is_dirty = false;
};

// A sealed segment that is being brought into huge pages (huge_pages.cc).
struct SegmentInPages {
  os::Fd fd;
  PageRange range;
  uint32_t row = 0;
  uint64_t at = 0;
  ~SegmentInPages();
};

// kInvalid, in words.
StoreStatus check_arguments(std::string_view key, const PutOptions& options);

class Writer final : public Writes {
 public:
  // Takes the lock, recovers if need be, and begins. `reader` is told the view. `serves`: a ring for other
  // processes will follow, which wait for it.
  static StoreResult<std::unique_ptr<Writer>> open(Reader& reader, const StoreOptions& options, Files& files,
                                                   bool serves = false);
  ~Writer() override;

  StoreResult<uint64_t> put(std::string_view key, std::string_view value, const PutOptions& options,
                            const Condition& condition) override;
  StoreResult<uint64_t> remove(std::string_view key, std::optional<Durability> durability,
                               const Condition& condition) override;
  StoreResult<uint64_t> write(const Batch& batch, std::optional<Durability> durability) override;
  StoreStatus sync() override;
  StoreStatus compact() override;
  StoreStatus close() override;
  bool has_failed() const override { return failed_; }

 private:
  Writer(Reader& reader, const StoreOptions& options, Files& files);
  StoreStatus start(bool serves);
  StoreStatus lock();
  // Whether there is a store yet; kNotAStore: no, and none is to be made here.
  StoreStatus look_around(bool& is_new) const;
  StoreStatus make_store();
  bool attach_index();
  StoreStatus rebuild_index();
  Result<Index> make_index(uint64_t keys);
  void replace_index_if_gone();

  struct Slot {
    uint64_t* address = nullptr;
    uint64_t sequence = 0, bytes = 0;
    Location at;
    bool expired = false;
  };
  // What the index has for the key. With `value`, whether it equals it.
  StoreStatus find(std::string_view key, uint32_t hash, Slot& slot, std::optional<std::string_view> compare,
                   bool& equal);
  StoreStatus holds(std::string_view key, uint32_t hash, const Condition& condition, Slot& slot,
                    bool& result);
  StoreStatus usable() const;
  StoreStatus flush_refused() const;
  StoreStatus no_room(Errno error) const;

  StoreResult<uint64_t> remove_once(std::string_view key, std::optional<Durability> durability,
                                    const Condition& condition);

  // A value in a file of its own, written but not yet part of the store.
  struct Solo {
    std::shared_ptr<OpenSegment> file;
    NewRecord record;
  };
  StoreResult<Solo> write_solo(const NewRecord& record, std::string_view value);
  StoreStatus publish_solo(Solo& solo, uint64_t sequence, Location& at, uint64_t& bytes);
  void forget_solo(const Solo& solo);
  void end_unpublished(uint64_t id);  // append_mutex_ is held

  StoreStatus make_segment_room(uint64_t bytes, uint64_t records, bool for_remove);
  StoreStatus rotate(uint64_t bytes, uint64_t records, bool for_remove);
  StoreResult<std::shared_ptr<OpenSegment>> begin_segment(uint64_t capacity, uint64_t id,
                                                          uint64_t base_sequence, bool holds_copies = false);
  uint64_t wanted_capacity() const;
  StoreStatus append(const std::string& bytes, std::string_view value, uint64_t records);
  void note_clock(uint64_t now_ms);
  void set_row(const OpenSegment& segment, uint64_t flags);
  void point(uint32_t hash, const Slot& slot, Location at, uint64_t bytes);
  void unpoint(const Slot& slot);
  void note_sequence(uint32_t row, uint64_t sequence);

  StoreStatus wait_durable(uint64_t sequence, Durability durability);
  StoreStatus flush_up_to(uint64_t sequence);
  void gather();
  void arrive();
  StoreStatus flush_now();
  StoreStatus flush_files(const std::vector<std::shared_ptr<OpenSegment>>& files);
  void set_durable(uint64_t sequence);

  // The thread, and what it does; also compact()'s.
  void maintain();
  StoreStatus seal_waiting();
  StoreStatus seal(OpenSegment& segment);
  StoreStatus keep_reserve();
  Errno make_reserve(uint64_t bytes);
  StoreStatus compact_where_worth_it(bool for_room);
  StoreStatus compact_rows(const std::vector<uint32_t>& rows);
  StoreStatus compact_one_by_one(std::vector<uint32_t> rows);
  void wait_for_compactor();
  bool wants_compaction() const;
  bool is_behind() const;
  void wake_thread();
  bool active_exists() const;
  StoreStatus drop_expired();
  bool next_for_huge_pages();
  uint64_t make_extent_huge();
  bool has_expired(const SegmentBytes& segment, const Footer& footer, uint64_t now) const;
  friend class Compaction;

  Reader& reader_;
  StoreOptions options_;
  Files& files_;
  int directory_;
  LockingFd lock_file_;
  Control control_;
  Manifest manifest_;
  std::vector<uint64_t> kept_;  // files nothing can be read of
  View* view_ = nullptr;
  std::string index_path_;

  mutable std::mutex append_mutex_;
  std::shared_ptr<OpenSegment> active_;
  std::vector<std::shared_ptr<OpenSegment>> dirty_;
  std::deque<std::shared_ptr<OpenSegment>> full_;  // to be sealed, oldest first
  std::set<uint64_t> unpublished_;                 // large values that are being written
  std::condition_variable all_published_;
  uint64_t next_sequence_ = 1;
  std::atomic<uint64_t> next_file_id_{1};
  std::atomic<uint64_t> names_made_{0}, names_flushed_{0};
  std::atomic<bool> failed_{false};        // or closed
  std::atomic<bool> flush_failed_{false};  // what nobody has been told is durable may be lost
  uint64_t reserve_bytes_ = 0;
  std::atomic<uint64_t> used_bytes_{0}, live_bytes_{0};  // of all segments
  std::atomic<bool> is_compacting_{false};

  // Waiting for flushes. Who has set is_flushing_ has flush_ and flush_error_.
  std::atomic<bool> is_flushing_{false};
  std::atomic<int> flushes_ended_{0};      // is waited on
  std::atomic<uint64_t> arrivals_{0};      // of those that wait, ever
  std::atomic<uint64_t> gather_until_{0};  // so many
  std::mutex flush_mutex_;
  std::condition_variable gathered_;
  struct {
    uint64_t covered = 0;   // arrivals before the last one began
    uint64_t expected = 0;  // writers at work, as far as the last one saw
    uint64_t lasted_us = 0;
    unsigned in_vain = 0, patience = 0;
  } flush_;
  StoreStatus flush_error_;

  std::mutex maintenance_mutex_;  // sealing and compacting: one at a time
  std::mutex thread_mutex_;
  std::condition_variable thread_wakes_, compacted_;
  std::atomic<bool> stopping_{false};
  bool wanted_ = false;
  std::thread thread_;
  // The thread's.
  struct {
    std::set<uint64_t> seen;  // file ids
    std::unique_ptr<SegmentInPages> segment;
    unsigned failures = 0;
  } huge_;
  std::atomic<bool> closed_{false};
};

}  // namespace spillway::segstore

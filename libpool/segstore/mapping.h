// mapping.h - the segments that this process has mapped, and who holds them.
//
// A Mapping is pinned by every Value that points into it. Retiring it (the segment is gone, or the store is
// closed) lets it go as soon as nobody holds it: the last one out unmaps. Nothing outside the process knows:
// the kernel keeps an unlinked file as long as anybody maps it, and a killed process holds nothing.
//
// Live [-> Whole: every checksum was compared] -> Going (no new pins) -> a barrier in all threads -> Retired
// (the sum of pins is exact) -> Free.
//
// Always: a Mapping object is never freed, so that a reader may try to pin one that is being retired, and
// find out. Objects are used again, by the same Maps as long as that lives; file_id tells for what. Threads:
// any.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "base/core/page_range.h"
#include "base/core/result.h"
#include "libpool/segstore/index.h"
#include "libpool/segstore/pins.h"

namespace spillway::segstore {

class Maps;

class alignas(64) Mapping {
 public:
  explicit Mapping(uint32_t number) : number_(number) {}
  // False: it is going away; look it up again.
  bool try_pin() {
    change_pins(number_, 1);
    if (is_live()) [[likely]]
      return true;
    unpin();
    return false;
  }
  // Pins it, which try_pin gives up again if this says false: it may go away, or the record's checksums were
  // not compared yet. For threads that have pinned before.
  bool pin_for_record(PinBlock& mine, uint64_t offset) {
    change_pins(mine, number_, 1);
    const uint32_t state = state_.load(std::memory_order_seq_cst);
    return state == kWhole || (state == kLive && has_bit(offset));
  }
  // For who holds a pin already, in whatever thread.
  void pin_again() {
    change_pins(number_, 1);
    if (!is_live()) wait_for_sum();
  }
  void unpin() {
    change_pins(number_, -1);
    if (!is_live()) [[unlikely]]
      let_go();
  }
  // The same in two parts, for who has no room for calls. False: let_go() must follow.
  bool unpin_quickly(PinBlock& mine) {
    change_pins(mine, number_, -1);
    return is_live();
  }
  void let_go();
  uint64_t file_id() const { return file_id_.load(std::memory_order_acquire); }
  const SegmentBytes& bytes() const { return bytes_; }
  // Whether `bytes` from the offset on lie in the segment behind its header. Fewer than a header has, if the
  // offset may be that of the header. Of a file that is one value: never, as its record is not like others.
  bool has_after_header(uint64_t offset, uint64_t bytes) const {
    return offset + bytes - kFirstRecord <= bytes_after_header_;
  }

  // Whether this process has compared the value's checksum: once is enough, as published bytes do not change.
  // Records take more than 16 bytes, so each has a bit of its own. Memory only where it is used.
  bool is_verified(uint64_t offset) const {
    return state_.load(std::memory_order_relaxed) == kWhole || has_bit(offset);
  }
  void set_verified(uint64_t offset) {
    verified_[offset >> 10].fetch_or(uint64_t{1} << (offset >> 4 & 63), std::memory_order_relaxed);
    records_verified_.fetch_add(1, std::memory_order_relaxed);
  }
  // About how many records that was said of.
  uint64_t records_verified() const { return records_verified_.load(std::memory_order_relaxed); }
  // Live -> Whole: so it is of every record, and a get need not look up its bit, which is a cache miss. Not
  // if it is going away.
  void set_whole() {
    uint32_t expected = kLive;
    (void)state_.compare_exchange_strong(expected, kWhole);
  }
  // Whether somebody looks, or has looked, at every record.
  bool was_tried() const { return was_tried_.load(std::memory_order_relaxed); }
  void set_tried() { was_tried_.store(true, std::memory_order_relaxed); }

 private:
  friend class Maps;
  static constexpr uint32_t kLiveBit = 1;
  enum State : uint32_t { kFree = 0, kGoing = 2, kRetired = 4, kLive = kLiveBit, kWhole = kLiveBit | 2 };

  bool is_live() const { return (state_.load(std::memory_order_seq_cst) & kLiveBit) != 0; }
  bool has_bit(uint64_t offset) const {
    return (verified_[offset >> 10].load(std::memory_order_relaxed) >> (offset >> 4 & 63) & 1) != 0;
  }
  void wait_for_sum();
  void unmap_if_unheld();

  std::atomic<uint32_t> state_{kFree};
  const uint32_t number_;
  std::atomic<uint64_t> file_id_{0};
  std::atomic<uint64_t>* verified_ = nullptr;
  uint64_t bytes_after_header_ = 0;
  SegmentBytes bytes_;
  PageRange range_;
  Maps* owner_ = nullptr;  // null: it is no more
  std::atomic<bool> was_tried_{false};
  std::atomic<uint64_t> records_verified_{0};
};

// The Mappings of one open store.
class Maps {
 public:
  explicit Maps(os::Fd directory);
  ~Maps();

  int directory() const { return directory_.get(); }
  // The segment, pinned. ENOENT: it is gone; EINVAL: its header is damaged or it is somebody else's.
  Result<Mapping*> map(uint64_t file_id, const StoreId& store);
  // Each goes when its last pin does. No other thread may be retiring the same one.
  static void retire(const std::vector<Mapping*>& mappings);

 private:
  friend class Mapping;
  os::Fd directory_;
  std::vector<Mapping*> free_;
};

// Which Mapping each row of a reader's index has in this process; one index after the other. The table is
// memory only where it is used.
class MappingTable {
 public:
  static Result<std::unique_ptr<MappingTable>> create();
  ~MappingTable();
  std::atomic<Mapping*>& operator[](uint32_t row) { return rows_[row]; }
  // Retires all (or those `which` says) and forgets them.
  template <typename Which>
  void retire_if(Which&& which) {
    const uint32_t end = highest_.load(std::memory_order_acquire);
    std::vector<Mapping*> gone;
    for (uint32_t row = 0; row < end; ++row) {
      Mapping* mapping = rows_[row].load(std::memory_order_acquire);
      if (mapping == nullptr || !which(row, *mapping)) continue;
      if (rows_[row].compare_exchange_strong(mapping, nullptr)) gone.push_back(mapping);
    }
    if (!gone.empty()) Maps::retire(gone);
  }
  // What is put for another generation's index has no place here any more; what was is for the caller to
  // retire.
  void begin(uint64_t generation);
  // In place of `known`. False: not any more, or somebody was quicker; the caller keeps it.
  bool put(uint32_t row, uint64_t generation, Mapping* known, Mapping* fresh);

 private:
  explicit MappingTable(PageRange range)
      : range_(range), rows_(reinterpret_cast<std::atomic<Mapping*>*>(range.base)) {}
  PageRange range_;
  std::atomic<Mapping*>* rows_;
  std::atomic<uint32_t> highest_{0};
  uint64_t generation_ = 0;
};

}  // namespace spillway::segstore

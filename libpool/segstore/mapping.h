// mapping.h - the segments that this process has mapped, and who holds them.
//
// A Mapping is pinned by every Value that points into it. Retiring it (the segment is gone, or the store is
// closed) lets it go as soon as nobody holds it: the last one out unmaps. Nothing outside the process knows:
// the kernel keeps an unlinked file as long as anybody maps it, and a killed process holds nothing.
//
// Live -> Going (no new pins) -> a barrier in all threads -> Retired (the sum of pins is exact) -> Free.
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
    if (state_.load(std::memory_order_seq_cst) == kLive) [[likely]]
      return true;
    unpin();
    return false;
  }
  // Pins it, which try_pin gives up again if this says false. For threads that have pinned before.
  bool is_live_pinned() {
    change_pins(number_, 1);
    return state_.load(std::memory_order_seq_cst) == kLive;
  }
  // For who holds a pin already, in whatever thread.
  void pin_again() {
    change_pins(number_, 1);
    if (state_.load(std::memory_order_seq_cst) != kLive) wait_for_sum();
  }
  void unpin() {
    change_pins(number_, ~uint32_t{0});
    if (state_.load(std::memory_order_seq_cst) != kLive) [[unlikely]]
      let_go_if_unheld();
  }
  uint64_t file_id() const { return file_id_.load(std::memory_order_acquire); }
  const SegmentBytes& bytes() const { return bytes_; }

  // Whether this process has compared the value's checksum: once is enough, as published bytes do not change.
  // Records take more than 16 bytes, so each has a bit of its own. Memory only where it is used.
  bool is_verified(uint64_t offset) const {
    return whole_.load(std::memory_order_relaxed) == Whole::kVerified ||
           (verified_[offset >> 10].load(std::memory_order_relaxed) >> (offset >> 4 & 63) & 1) != 0;
  }
  void set_verified(uint64_t offset) {
    verified_[offset >> 10].fetch_or(uint64_t{1} << (offset >> 4 & 63), std::memory_order_relaxed);
    records_verified_.fetch_add(1, std::memory_order_relaxed);
  }
  // About how many records that was said of.
  uint64_t records_verified() const { return records_verified_.load(std::memory_order_relaxed); }
  // Of every record: a get need not look up its bit, which is a cache miss.
  enum class Whole : uint8_t { kNotTried, kVerified, kDamaged };
  void set_whole(Whole is) { whole_.store(is, std::memory_order_relaxed); }
  Whole whole() const { return whole_.load(std::memory_order_relaxed); }

 private:
  friend class Maps;
  enum State : uint32_t { kFree, kLive, kGoing, kRetired };

  void wait_for_sum();
  void let_go_if_unheld();
  void unmap_if_unheld();

  std::atomic<uint32_t> state_{kFree};
  std::atomic<Whole> whole_{Whole::kNotTried};
  const uint32_t number_;
  std::atomic<uint64_t> file_id_{0};
  std::atomic<uint64_t>* verified_ = nullptr;
  SegmentBytes bytes_;
  PageRange range_;
  Maps* owner_ = nullptr;  // null: it is no more
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

// Which Mapping each row of one index has in this process. The table is memory only where it is used.
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
  void note(uint32_t row) {
    uint32_t now = highest_.load(std::memory_order_relaxed);
    while (now <= row && !highest_.compare_exchange_weak(now, row + 1)) {
    }
  }

 private:
  explicit MappingTable(PageRange range)
      : range_(range), rows_(reinterpret_cast<std::atomic<Mapping*>*>(range.base)) {}
  PageRange range_;
  std::atomic<Mapping*>* rows_;
  std::atomic<uint32_t> highest_{0};
};

}  // namespace spillway::segstore

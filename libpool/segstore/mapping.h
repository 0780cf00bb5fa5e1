// mapping.h - the segments that this process has mapped, and who holds them.
//
// A Mapping is pinned by every Value that points into it. Retiring it (the segment is gone, or the store is
// closed) lets it go as soon as nobody holds it: the last one out unmaps. Nothing outside the process knows:
// the kernel keeps an unlinked file as long as anybody maps it, and a killed process holds nothing.
//
// Always: a Mapping object lives as long as its Maps or the last pin, so that a reader may try to pin one
// that is being retired, and find out. Objects are used again; file_id tells for what. Threads: any; the
// state is one atomic word.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "base/core/page_range.h"
#include "base/core/result.h"
#include "libpool/segstore/index.h"

namespace spillway::segstore {

class Mapping {
 public:
  // False: it is going away; look it up again.
  bool try_pin() {
    if ((word_.fetch_add(1, std::memory_order_acq_rel) & kGoing) == 0) return true;
    unpin();
    return false;
  }
  // For who holds a pin already.
  void pin_again() { word_.fetch_add(1, std::memory_order_relaxed); }
  void unpin() {
    const uint64_t now = word_.fetch_sub(1, std::memory_order_acq_rel) - 1;
    if ((now & kGoing) != 0 && (now & kPins) == 0) last_one_out();
  }
  uint64_t file_id() const { return file_id_.load(std::memory_order_acquire); }
  const SegmentBytes& bytes() const { return bytes_; }

  // Values of 4 KiB and more are checked once; at most one starts in each 4 KiB.
  bool is_verified(uint64_t offset) const {
    return (verified_[offset >> 18].load(std::memory_order_relaxed) >> (offset >> 12 & 63) & 1) != 0;
  }
  void set_verified(uint64_t offset) {
    verified_[offset >> 18].fetch_or(uint64_t{1} << (offset >> 12 & 63), std::memory_order_relaxed);
  }

 private:
  friend class Maps;
  static constexpr uint64_t kRetired = uint64_t{1} << 62;   // goes when the last pin does
  static constexpr uint64_t kUnmapped = uint64_t{1} << 61;  // has gone, may be used again
  static constexpr uint64_t kOrphaned = uint64_t{1} << 60;  // and so does this object
  static constexpr uint64_t kGoing = kRetired | kUnmapped | kOrphaned;
  static constexpr uint64_t kPins = (uint64_t{1} << 60) - 1;

  void retire(uint64_t how);
  void last_one_out();

  std::atomic<uint64_t> word_{kUnmapped};
  std::atomic<uint64_t> file_id_{0};
  SegmentBytes bytes_;
  PageRange range_;
  std::unique_ptr<std::atomic<uint64_t>[]> verified_;
};

// All Mappings of one open store.
class Maps {
 public:
  explicit Maps(os::Fd directory) : directory_(std::move(directory)) {}
  ~Maps();

  int directory() const { return directory_.get(); }
  // The segment, pinned. ENOENT: it is gone; EINVAL: its header is damaged or it is somebody else's.
  Result<Mapping*> map(uint64_t file_id, const StoreId& store);
  void retire(Mapping* mapping) { mapping->retire(Mapping::kRetired); }

 private:
  os::Fd directory_;
  std::mutex mutex_;
  std::vector<Mapping*> all_;
  size_t next_ = 0;
};

// Which Mapping each row of one index has in this process. The table is memory only where it is used.
class MappingTable {
 public:
  static Result<std::unique_ptr<MappingTable>> create();
  ~MappingTable();
  std::atomic<Mapping*>& operator[](uint32_t row) { return rows_[row]; }
  // Retires all (or those `which` says) and forgets them.
  template <typename Which>
  void retire_if(Maps& maps, Which&& which) {
    const uint32_t end = highest_.load(std::memory_order_acquire);
    for (uint32_t row = 0; row < end; ++row) {
      Mapping* mapping = rows_[row].load(std::memory_order_acquire);
      if (mapping == nullptr || !which(row, *mapping)) continue;
      if (rows_[row].compare_exchange_strong(mapping, nullptr)) maps.retire(mapping);
    }
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

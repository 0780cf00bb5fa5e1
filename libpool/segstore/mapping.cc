#include "libpool/segstore/mapping.h"

#include <pthread.h>

#include <cstdlib>
#include <mutex>
#include <new>

#include "base/core/check.h"
#include "base/os/memory.h"
#include "libpool/segstore/fork_safe.h"
#include "libpool/segstore/scan.h"

namespace spillway::segstore {
namespace {

// The Mapping objects of the process, by number. Never destroyed: values may outlive everything.
struct Objects {
  std::mutex mutex;  // states but for kLive to kGoing, sums, owners, free lists
  Mapping* first = nullptr;
  uint32_t made = 0;
  std::vector<Mapping*> free;

  Mapping* take(std::vector<Mapping*>& preferred) {
    std::vector<Mapping*>& from = preferred.empty() ? free : preferred;
    if (!from.empty()) {
      Mapping* const object = from.back();
      from.pop_back();
      return object;
    }
    if (made == kMostMappings) return nullptr;
    return new (first + made) Mapping(made++);
  }
};

Objects& objects() {
  static Objects* const all = [] {
    start_pins();
    auto* made = new Objects;
    Result<PageRange> memory = os::map_private_memory(kMostMappings * sizeof(Mapping));
    CHECK(static_cast<bool>(memory), "no addresses for the table of mapped segments");
    made->first = reinterpret_cast<Mapping*>(memory->base);
    static Objects* forking = made;
    (void)pthread_atfork([] { forking->mutex.lock(); }, [] { forking->mutex.unlock(); },
                         [] { forking->mutex.unlock(); });
    return made;
  }();
  return *all;
}

}  // namespace

// Until whoever adds up has finished: the pin the caller has already was in that sum, the new one is in later
// ones.
void Mapping::wait_for_sum() { const std::lock_guard lock(objects().mutex); }

void Mapping::let_go() {
  const std::lock_guard lock(objects().mutex);
  unmap_if_unheld();
}

void Mapping::unmap_if_unheld() {
  // While it is only going, some thread's pin may not have arrived in the sum.
  if (state_.load(std::memory_order_relaxed) != kRetired || sum_of_pins(number_) != 0) return;
  os::unreserve(range_);
  range_ = {};
  std::free(verified_);
  verified_ = nullptr;
  file_id_.store(0, std::memory_order_release);
  state_.store(kFree, std::memory_order_release);
  (owner_ != nullptr ? owner_->free_ : objects().free).push_back(this);
}

void Maps::retire(const std::vector<Mapping*>& mappings) {
  for (Mapping* mapping : mappings) mapping->state_.store(Mapping::kGoing, std::memory_order_seq_cst);
  // Without the barrier they stay mapped for good, which is a loss of addresses, not of truth.
  if (!barrier_for_pins()) return;
  const std::lock_guard lock(objects().mutex);
  for (Mapping* mapping : mappings) {
    mapping->state_.store(Mapping::kRetired, std::memory_order_release);
    mapping->unmap_if_unheld();
  }
}

// What all share is made now, by the thread that opens the store: in a child that was forked while some other
// thread made it, it would be under construction for ever.
Maps::Maps(os::Fd directory) : directory_(std::move(directory)) { (void)objects(); }

Maps::~Maps() {
  std::vector<Mapping*> live;
  {
    Objects& all = objects();
    const std::lock_guard lock(all.mutex);
    for (uint32_t number = 0; number < all.made; ++number) {
      Mapping& mapping = all.first[number];
      if (mapping.owner_ != this) continue;
      mapping.owner_ = nullptr;
      if (mapping.is_live()) live.push_back(&mapping);
    }
    all.free.insert(all.free.end(), free_.begin(), free_.end());
  }
  if (!live.empty()) retire(live);
}

Result<Mapping*> Maps::map(uint64_t file_id, const StoreId& store) {
  Result<os::Fd> fd = os::open_in(directory_.get(), segment_name(file_id).c_str(), os::OpenFor::kReading);
  if (!fd) return fd.error();
  Result<os::FileFacts> facts = os::facts_of(fd->get());
  if (!facts) return facts.error();
  if (!facts->is_regular || facts->bytes < sizeof(SegmentHeader)) return Errno(EINVAL);
  Result<PageRange> range = os::map_shared_readable(fd->get(), facts->bytes);
  if (!range) return range.error();
  SegmentBytes bytes;
  bytes.base = range->base;
  bytes.bytes = facts->bytes;
  if (!read_either_header(range->base, facts->bytes, bytes.header) || !(bytes.header.store == store) ||
      bytes.header.file_id != file_id) {
    os::unreserve(*range);
    return Errno(EINVAL);
  }
  bytes.salt = segment_salt(store, file_id);
  // Records are read here and there; a value in a file of its own, from front to back.
  if (bytes.header.is_solo == 0) (void)os::advise(*range, os::kAdviceRandom);

  // calloc: of 2 MiB for the largest segment, only what is touched becomes memory.
  void* verified = std::calloc((facts->bytes >> 10) + 1, sizeof(std::atomic<uint64_t>));
  Objects& all = objects();
  const std::lock_guard lock(all.mutex);
  Mapping* const mapping = verified != nullptr ? all.take(free_) : nullptr;
  if (mapping == nullptr) {
    std::free(verified);
    os::unreserve(*range);
    return Errno(ENOMEM);
  }
  mapping->owner_ = this;
  mapping->range_ = *range;
  mapping->bytes_ = bytes;
  mapping->bytes_after_header_ = bytes.header.is_solo != 0 ? 0 : bytes.bytes - kFirstRecord;
  mapping->verified_ = static_cast<std::atomic<uint64_t>*>(verified);
  mapping->was_tried_.store(false, std::memory_order_relaxed);
  mapping->records_verified_.store(0, std::memory_order_relaxed);
  mapping->file_id_.store(file_id, std::memory_order_release);
  change_pins(mapping->number_, 1);
  mapping->state_.store(Mapping::kLive, std::memory_order_release);
  return mapping;
}

Result<std::unique_ptr<MappingTable>> MappingTable::create() {
  Result<PageRange> range = os::map_private_memory(kRows * sizeof(std::atomic<Mapping*>));
  if (!range) return range.error();
  return std::unique_ptr<MappingTable>(new MappingTable(*range));
}

void MappingTable::begin(uint64_t generation) {
  const std::lock_guard lock(fork_safe_mutex());
  generation_ = generation;
}

bool MappingTable::put(uint32_t row, uint64_t generation, Mapping* known, Mapping* fresh) {
  const std::lock_guard lock(fork_safe_mutex());
  if (generation != generation_) return false;
  if (highest_.load(std::memory_order_relaxed) <= row) highest_.store(row + 1, std::memory_order_release);
  return rows_[row].compare_exchange_strong(known, fresh);
}

MappingTable::~MappingTable() { os::unreserve(range_); }

}  // namespace spillway::segstore

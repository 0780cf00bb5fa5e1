#include "libpool/segstore/mapping.h"

#include "base/os/memory.h"
#include "libpool/segstore/scan.h"

namespace spillway::segstore {

void Mapping::retire(uint64_t how) {
  const uint64_t before = word_.fetch_or(how, std::memory_order_acq_rel);
  if ((before & kPins) == 0) last_one_out();
}

// Several may come here; one of them unmaps.
void Mapping::last_one_out() {
  for (uint64_t now = word_.load(std::memory_order_acquire);;) {
    if ((now & kPins) != 0) return;
    const bool unmap = (now & kRetired) != 0 && (now & kUnmapped) == 0;
    const bool erase = (now & kOrphaned) != 0;
    if (!unmap && !erase) return;
    // A pin that is tried and given back at this moment only changes the count: look again.
    if (!word_.compare_exchange_weak(now, kUnmapped, std::memory_order_acq_rel)) continue;
    if (unmap) {
      os::unreserve(range_);
      range_ = {};
      file_id_.store(0, std::memory_order_release);
    }
    if (erase) delete this;
    return;
  }
}

Maps::~Maps() {
  for (Mapping* mapping : all_) {
    const bool is_mapped = mapping->file_id() != 0;
    mapping->retire(Mapping::kOrphaned | (is_mapped ? Mapping::kRetired : 0));
  }
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

  const std::lock_guard lock(mutex_);
  Mapping* mapping = nullptr;
  for (size_t tried = 0; tried < std::min<size_t>(all_.size(), 16) && mapping == nullptr; ++tried) {
    Mapping* known = all_[next_++ % all_.size()];
    if (known->word_.load(std::memory_order_acquire) == Mapping::kUnmapped && known->file_id() == 0)
      mapping = known;
  }
  if (mapping == nullptr) all_.push_back(mapping = new Mapping);
  mapping->range_ = *range;
  mapping->bytes_ = bytes;
  mapping->verified_ = std::make_unique<std::atomic<uint64_t>[]>((facts->bytes >> 18) + 1);
  mapping->file_id_.store(file_id, std::memory_order_release);
  // Whoever still tries the object's former life adds and takes away one; both survive this.
  mapping->word_.fetch_add(1 - Mapping::kUnmapped, std::memory_order_acq_rel);
  return mapping;
}

Result<std::unique_ptr<MappingTable>> MappingTable::create() {
  Result<PageRange> range = os::map_private_memory(kRows * sizeof(std::atomic<Mapping*>));
  if (!range) return range.error();
  return std::unique_ptr<MappingTable>(new MappingTable(*range));
}

MappingTable::~MappingTable() { os::unreserve(range_); }

}  // namespace spillway::segstore

// recovery_steps.h - the steps of a recovery, each in a file of its own, and what they hand on.
//
//   find (recovery_find.cc)     the files, their headers and footers
//   judge (recovery_judge.cc)   which records of unsealed segments count
//   mend (recovery_mend.cc)     the files become what was found to count; for the writer only
//   build (recovery_build.cc)   the index
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/os/memory.h"
#include "libpool/segstore/reader.h"
#include "libpool/segstore/recovery.h"

namespace spillway::segstore {

// A record that counts, or may.
struct FoundRecord {
  uint32_t hash = 0;
  uint64_t full_hash = 0;
  uint64_t offset = 0, bytes = 0, sequence = 0, expires_ms = 0;
  RecordType type = RecordType::kPut;
  bool in_batch = false, intact = true;
  uint64_t batch_first = 0;  // of the batch that its end record made count
};

// A file in memory, until this goes.
struct MappedFile {
  PageRange range;
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept : range(std::exchange(other.range, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(range, other.range);
    return *this;
  }
  ~MappedFile() {
    if (!range.empty()) os::unreserve(range);
  }
};

// A segment as recovery sees it: mapped, or of a value in a file of its own only the head. There may be more
// than a process may have open: `fd` is valid for those that were not sealed, and where open_again() was
// called.
struct FoundSegment {
  uint64_t id = 0;
  os::Fd fd;
  MappedFile map;
  std::string head;
  SegmentBytes bytes;
  Footer footer;
  bool is_sealed = false, is_new = false, is_damaged = false, stays_open = false;
  uint64_t used = 0, row = 0;
  uint64_t first_gap = UINT64_MAX;  // unsealed: where the first bytes lie that are no record
  std::vector<FoundRecord> items;   // unsealed: what counts
  std::vector<uint64_t> blot;       // offsets of records that do not

  bool is_solo() const { return bytes.header.is_solo != 0; }
};

class Recovery {
 public:
  explicit Recovery(const RecoveryInput& input) : in_(input), out_(std::make_unique<Recovered>()) {}

  StoreResult<std::unique_ptr<Recovered>> run();

 private:
  StoreStatus find_segments();
  StoreStatus open_segment(uint64_t id);
  bool is_left_over(uint64_t id) const;
  Errno open_again(FoundSegment& segment) const;
  void look_at_solo(FoundSegment& segment);
  bool solo_value_is_intact(int file, const Record& record);
  void scan(FoundSegment& segment);
  void accept_solo_batches();
  void cut_at_first_gap();
  void tell_torn_from_damaged();
  StoreStatus mend();
  StoreStatus wipe_end(FoundSegment& segment);
  StoreStatus seal(FoundSegment& segment);
  StoreStatus build();
  StoreStatus no_room() const;
  StoreStatus insert(FoundSegment& segment, const FoundRecord* items, size_t count);
  bool same_key(const FoundSegment& a, uint64_t offset, uint32_t row, uint64_t other, Record& other_record);
  bool machine_was_restarted() const {
    return in_.control != nullptr && in_.control->boot_id[0] != '\0' && in_.boot_id != in_.control->boot_id;
  }

  const RecoveryInput& in_;
  std::unique_ptr<Recovered> out_;
  std::vector<FoundSegment> segments_;
  std::vector<uint64_t> orphans_, unreadable_;
  std::vector<std::pair<uint64_t, uint64_t>> batches_;  // first sequence and count of complete ones
  std::vector<FoundSegment*> by_row_;
  struct Removal {
    uint32_t hash;
    Location at;
  };
  std::vector<Removal> removals_;
  uint64_t known_durable_ = 0;
};

}  // namespace spillway::segstore

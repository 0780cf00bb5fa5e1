// scan.h - the records of a segment from front to back, over whatever damage there is; and its footer.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "base/os/directory.h"
#include "libpool/segstore/format.h"

namespace spillway::segstore {

// Where the next record with an intact header begins, from `offset` on; `end` when there is none. Holes of
// the file are skipped when `fd` is one.
uint64_t find_record(const SegmentBytes& segment, uint64_t offset, uint64_t end, int fd);

// Calls visit(record) for each record with an intact header before `end`, and damage(from, to) for what is
// skipped in between and is not all zeroes. Returns where the last record ends.
template <typename Visit, typename Damage>
uint64_t scan_records(const SegmentBytes& segment, uint64_t end, int fd, Visit&& visit, Damage&& damage) {
  uint64_t offset = kFirstRecord, last_end = kFirstRecord;
  while (offset + sizeof(RecordHeader) <= end) {
    Record record;
    if (read_record(segment, offset, record) && record.at.value + record.value_bytes <= end &&
        header_is_intact(segment, record)) {
      visit(record);
      offset = last_end = record.at.end;
      continue;
    }
    const uint64_t next = find_record(segment, offset + kGrid, end, fd);
    const char* const header = segment.base + offset;
    const bool is_something =
        std::any_of(header, header + sizeof(RecordHeader), [](char c) { return c != 0; });
    if (next < end || is_something) damage(offset, next);
    offset = next;
  }
  return last_end;
}

// False: not sealed, or the footer is damaged.
bool read_footer(const SegmentBytes& segment, Footer& footer);
inline const TableEntry* table_of(const SegmentBytes& segment, const Footer& footer) {
  return reinterpret_cast<const TableEntry*>(segment.base + footer.body_offset + footer.filter_bytes);
}
// False: the segment has no record of this key.
bool may_hold(const SegmentBytes& segment, const Footer& footer, uint64_t hash);

// Gathers what a footer says while records are written, or found.
class FooterBuilder {
 public:
  void add(uint64_t hash, const Record& record) {
    add(hash, record.offset, record.bytes(), record.sequence, record.header.type(), record.expires_ms);
  }
  void add(uint64_t hash, uint64_t offset, uint64_t bytes, uint64_t sequence, RecordType type,
           uint64_t expires_ms);
  uint64_t records() const { return hashes_.size(); }
  // The filter and table, for the file's `body_offset`, and the footer for its end.
  std::string body(uint64_t used) const;
  Footer footer(uint64_t used, const std::string& body, uint32_t salt, uint64_t file_id,
                bool compacted) const;

 private:
  std::vector<uint64_t> hashes_;
  std::vector<TableEntry> entries_;
  uint64_t min_sequence_ = UINT64_MAX, max_sequence_ = 0, latest_expiry_ = 0;
};
// Room that a footer, and the second copy of the header behind it, may need.
uint64_t footer_room(uint64_t records, uint64_t used);
inline uint64_t footer_offset(uint64_t file_bytes) {
  return file_bytes - sizeof(SegmentHeader) - sizeof(Footer);
}
// Records of an unsealed segment lie before this, whatever became of the file's length.
inline uint64_t records_end(uint64_t file_bytes) {
  return file_bytes > 2 * sizeof(Footer) ? footer_offset(file_bytes) : file_bytes;
}

// The header at the front or, where that is damaged, its copy at the end.
bool read_either_header(const char* base, uint64_t bytes, SegmentHeader& header);

}  // namespace spillway::segstore

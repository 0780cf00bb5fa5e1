#include "libpool/segstore/scan.h"

#include <algorithm>
#include <cstddef>

namespace spillway::segstore {
namespace {

constexpr int kProbes = 5;  // of 8 bits a key: 2 % of the absent seem to be there

bool filter_has(const char* filter, uint64_t bytes, uint64_t hash, bool set, char* to) {
  const uint64_t bits = bytes * 8, step = hash >> 32 | 1;
  for (int i = 0; i < kProbes; ++i, hash += step << 7 | step) {
    const uint64_t bit = hash % bits;
    if (set)
      to[bit / 8] = static_cast<char>(to[bit / 8] | 1 << bit % 8);
    else if ((filter[bit / 8] >> bit % 8 & 1) == 0)
      return false;
  }
  return true;
}

uint32_t footer_crc(const Footer& footer, uint32_t salt) {
  return crc32c(salt, &footer, offsetof(Footer, crc));
}

}  // namespace

uint64_t find_record(const SegmentBytes& segment, uint64_t offset, uint64_t end, int fd) {
  uint64_t looked_for_hole = UINT64_MAX;
  while (offset + sizeof(RecordHeader) <= end) {
    uint64_t word;
    memcpy(&word, segment.base + offset, sizeof word);
    if (word == 0) {
      // Once a page: a preallocated end would otherwise be read to its last byte.
      if (fd >= 0 && offset / kPageBytes != looked_for_hole) {
        looked_for_hole = offset / kPageBytes;
        if (offset % kPageBytes == 0) {
          const uint64_t data = os::next_data(fd, offset, end);
          if (data > offset) {
            offset = round_down(data, kGrid);
            continue;
          }
        }
      }
      offset += kGrid;
      continue;
    }
    Record record;
    if (read_record(segment, offset, record) && record.at.value + record.value_bytes <= end &&
        header_is_intact(segment, record))
      return offset;
    offset += kGrid;
  }
  return end;
}

bool read_footer(const SegmentBytes& segment, Footer& footer) {
  if (segment.bytes < kFirstRecord + sizeof(Footer) + sizeof(SegmentHeader)) return false;
  const uint64_t at = footer_offset(segment.bytes);
  memcpy(&footer, segment.base + at, sizeof footer);
  if (footer.magic != kFooterMagic || footer.file_id != segment.header.file_id ||
      footer.crc != footer_crc(footer, segment.salt))
    return false;
  const uint64_t body = footer.filter_bytes + footer.table_entries * sizeof(TableEntry);
  if (footer.used_bytes > footer.body_offset || footer.body_offset > at || body > at - footer.body_offset)
    return false;
  return crc32c(0, segment.base + footer.body_offset, body) == footer.body_crc;
}

bool may_hold(const SegmentBytes& segment, const Footer& footer, uint64_t hash) {
  if (footer.filter_bytes == 0) return footer.records != 0;
  return filter_has(segment.base + footer.body_offset, footer.filter_bytes, hash, false, nullptr);
}

void FooterBuilder::add(uint64_t hash, uint64_t offset, uint64_t bytes, uint64_t sequence, RecordType type,
                        uint64_t expires_ms) {
  hashes_.push_back(hash);
  entries_.push_back(
      {index_hash(hash),
       static_cast<uint32_t>(offset / kGrid) | (type == RecordType::kRemove ? kTableRemove : 0),
       static_cast<uint32_t>(bytes)});
  min_sequence_ = std::min(min_sequence_, sequence);
  max_sequence_ = std::max(max_sequence_, sequence);
  latest_expiry_ = std::max(latest_expiry_, expires_ms == 0 ? UINT64_MAX : expires_ms);
}

std::string FooterBuilder::body(uint64_t used) const {
  std::string body(round_up(std::max<uint64_t>(hashes_.size(), 8), 8), '\0');
  for (const uint64_t hash : hashes_) filter_has(nullptr, body.size(), hash, true, body.data());
  if (hashes_.empty() || used / hashes_.size() < kTableFromAverage) return body;
  std::vector<TableEntry> table = entries_;
  std::sort(table.begin(), table.end(),
            [](const TableEntry& a, const TableEntry& b) { return a.hash < b.hash; });
  body.append(reinterpret_cast<const char*>(table.data()), table.size() * sizeof(TableEntry));
  return body;
}

Footer FooterBuilder::footer(uint64_t used, const std::string& body, uint32_t salt, uint64_t file_id,
                             bool compacted) const {
  Footer footer;
  footer.used_bytes = used;
  footer.body_offset = used;
  footer.filter_bytes = round_up(std::max<uint64_t>(hashes_.size(), 8), 8);
  footer.table_entries = (body.size() - footer.filter_bytes) / sizeof(TableEntry);
  footer.records = hashes_.size();
  footer.min_sequence = hashes_.empty() ? 0 : min_sequence_;
  footer.max_sequence = max_sequence_;
  footer.is_compacted = compacted ? 1 : 0;
  footer.body_crc = crc32c(0, body.data(), body.size());
  footer.file_id = file_id;
  footer.latest_expiry = latest_expiry_;
  footer.crc = footer_crc(footer, salt);
  return footer;
}

uint64_t footer_room(uint64_t records, uint64_t used) {
  const uint64_t table = std::min(records, used / kTableFromAverage + 1) * sizeof(TableEntry);
  return round_up(std::max<uint64_t>(records, 8), 8) + round_up(table, 8) + sizeof(Footer) +
         sizeof(SegmentHeader);
}

bool read_either_header(const char* base, uint64_t bytes, SegmentHeader& header) {
  if (read_segment_header(base, bytes, header)) return true;
  if (bytes < 2 * sizeof header) return false;
  return read_segment_header(base + bytes - sizeof header, sizeof header, header);
}

}  // namespace spillway::segstore

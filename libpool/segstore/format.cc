#include "libpool/segstore/format.h"

#include <cstdio>

namespace spillway::segstore {

void seal_segment_header(SegmentHeader& header) {
  header.crc =
      crc32c(static_cast<uint32_t>(header.value_bytes) ^ static_cast<uint32_t>(header.value_bytes >> 32),
             &header, offsetof(SegmentHeader, crc));
}

bool read_segment_header(const char* base, uint64_t bytes, SegmentHeader& header) {
  if (bytes < sizeof header) return false;
  memcpy(&header, base, sizeof header);
  SegmentHeader again = header;
  seal_segment_header(again);
  return header.magic == kSegmentMagic && header.version == kFormatVersion && header.crc == again.crc &&
         header.file_id != 0;
}

bool header_is_intact(const SegmentBytes& segment, const Record& record) {
  const char* from = segment.base + record.offset + sizeof record.header.header_crc;
  const uint64_t bytes = record.at.key + record.header.key_bytes() - record.offset - sizeof(uint32_t);
  return crc32c(segment.salt, from, bytes) == record.header.header_crc;
}

EncodedHead encode_head(const NewRecord& record, uint64_t offset, uint32_t sequence_delta, uint32_t salt) {
  RecordHeader header;
  header.value_crc = record.value_crc;
  header.sequence_delta = sequence_delta;
  header.value_bytes = record.solo ? kValueInHeader : static_cast<uint32_t>(record.value_bytes);
  header.pack(record.key.size(), record.type,
              static_cast<uint8_t>(record.flags | (record.expires_ms != 0 ? kHasExpiry : 0)),
              record.log2_alignment);
  const Layout at = layout_of(offset, header, record.value_bytes);
  EncodedHead head;
  head.value_offset = at.value;
  head.end = at.end;
  head.bytes.reserve(at.value - offset + (record.value_bytes < 4096 ? record.value_bytes + kGrid : 0));
  head.bytes.resize(at.key - offset);
  if (record.expires_ms != 0)
    memcpy(head.bytes.data() + sizeof header, &record.expires_ms, sizeof record.expires_ms);
  head.bytes.append(record.key);
  memcpy(head.bytes.data(), &header, sizeof header);
  header.header_crc = crc32c(salt, head.bytes.data() + 4, head.bytes.size() - 4);
  memcpy(head.bytes.data(), &header, sizeof header);
  head.bytes.resize(at.value - offset);
  return head;
}

uint64_t most_bytes(const NewRecord& record) {
  const uint64_t alignment = uint64_t{1} << record.log2_alignment;
  return sizeof(RecordHeader) + 8 + record.key.size() + alignment + record.value_bytes + kGrid;
}

std::string segment_name(uint64_t file_id) {
  char name[32];
  snprintf(name, sizeof name, "seg-%016llx", static_cast<unsigned long long>(file_id));
  return name;
}

uint64_t id_in_name(std::string_view name) {
  if (name.size() != 20 || name.substr(0, 4) != "seg-") return 0;
  uint64_t id = 0;
  for (const char c : name.substr(4)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return 0;
    id = id << 4 | static_cast<uint64_t>(digit);
  }
  return id >> 56 == 0 ? id : 0;  // no store comes so far: somebody else's file
}

}  // namespace spillway::segstore

// format.h - the bytes of a store: segments, records, footers. docs/segment_format.md explains them.
//
// Everything is little-endian. Records lie on an 8-byte grid. A record's header CRC is seeded with the
// segment's identity, so that bytes of another segment never pass for a record of this one; its value CRC is
// not, so that a value keeps the CRC of its birth through every compaction.
#pragma once
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/core/crc32c.h"
#include "base/core/units.h"

namespace spillway::segstore {

static_assert(std::endian::native == std::endian::little, "the format is little-endian, read in place");

inline constexpr uint64_t kGrid = 8;
inline constexpr uint64_t kMaxKeyBytes = 64 * kKiB;
inline constexpr uint64_t kMaxSegmentBytes = 256 * kMiB;  // 25 bits of 8-byte units in an index slot
inline constexpr uint64_t kMinSegmentBytes = 64 * kKiB;
inline constexpr uint64_t kSoloBytes = kMiB;           // values from here on are a file of their own
inline constexpr uint32_t kSegmentMagic = 0x47535753;  // "SWSG"
inline constexpr uint32_t kFooterMagic = 0x54465753;   // "SWFT"
inline constexpr uint32_t kFormatVersion = 1;

enum class RecordType : uint8_t { kPut = 1, kRemove = 2, kBatchEnd = 3 };
enum RecordFlag : uint8_t {
  kHasExpiry = 1,  // 8 bytes after the header: milliseconds since 1970
  kInBatch = 2,    // counts only with the batch's end record
};

struct StoreId {
  uint64_t low = 0, high = 0;
  bool operator==(const StoreId&) const = default;
};

// First bytes of every segment.
struct SegmentHeader {
  uint32_t magic = kSegmentMagic;
  uint32_t version = kFormatVersion;
  StoreId store;
  uint64_t hash_seed = 0;
  uint64_t file_id = 0;
  uint64_t base_sequence = 0;  // records hold the difference
  uint16_t is_solo = 0;        // one record, of any length
  uint16_t holds_copies = 0;   // a compaction's: nothing counts before its footer is there
  uint32_t crc = 0;            // of all before
  uint64_t value_bytes = 0;    // solo only
};
static_assert(sizeof(SegmentHeader) == 64);

struct RecordHeader {
  uint32_t header_crc = 0;  // of the rest of the header, expiry and key
  uint32_t value_crc = 0;
  uint32_t sequence_delta = 0;
  uint32_t key_and_flags = 0;  // key bytes 17, type 3, flags 8, log2 of alignment 4
  uint32_t value_bytes = 0;    // kValueInHeader: in the segment header

  uint64_t key_bytes() const { return key_and_flags & 0x1FFFF; }
  RecordType type() const { return static_cast<RecordType>(key_and_flags >> 17 & 7); }
  uint8_t flags() const { return static_cast<uint8_t>(key_and_flags >> 20); }
  uint64_t alignment() const { return uint64_t{1} << (key_and_flags >> 28); }
  void pack(uint64_t keys, RecordType type, uint8_t flag_bits, unsigned log2_alignment) {
    key_and_flags = static_cast<uint32_t>(keys) | static_cast<uint32_t>(type) << 17 |
                    static_cast<uint32_t>(flag_bits) << 20 | log2_alignment << 28;
  }
};
static_assert(sizeof(RecordHeader) == 20);
inline constexpr uint32_t kValueInHeader = UINT32_MAX;
inline constexpr uint64_t kFirstRecord = sizeof(SegmentHeader);

// The payload of a batch's end record.
struct BatchEnd {
  uint64_t first_sequence = 0;
  uint64_t count = 0;
};

// At the very end of a sealed segment. The body, at body_offset: filter, then the table.
struct Footer {
  uint64_t used_bytes = 0;  // records end here
  uint64_t body_offset = 0;
  uint64_t filter_bytes = 0;
  uint64_t table_entries = 0;
  uint64_t records = 0;  // puts and removes that count
  uint64_t min_sequence = 0;
  uint64_t max_sequence = 0;
  uint32_t is_compacted = 0;
  uint32_t body_crc = 0;
  uint64_t file_id = 0;
  uint64_t latest_expiry = 0;  // UINT64_MAX: something never expires
  uint32_t magic = kFooterMagic;
  uint32_t crc = 0;  // of all before, seeded with the segment's identity
};
static_assert(sizeof(Footer) == 88);

// One record of a sealed segment, so that opening need not touch a page per record.
struct TableEntry {
  uint32_t hash = 0;
  uint32_t place = 0;  // offset / 8; the top bit: a remove
  uint32_t bytes = 0;  // of the whole record
};
inline constexpr uint32_t kTableRemove = uint32_t{1} << 31;
inline constexpr uint64_t kTableFromAverage = 512;  // bytes a record: denser segments are scanned as fast

inline uint64_t load_word(const char* at) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  return word;
}

inline uint64_t hash_of(std::string_view key, uint64_t seed) {
  return XXH3_64bits_withSeed(key.data(), key.size(), seed);
}
// The same for keys of 9 to 16 bytes, whose case is chosen, and whose share of the seed is worked out,
// beforehand: XXH3_len_9to16_64b of xxHash 0.8.
struct ShortKeySeed {
  uint64_t low = 0, high = 0;  // what a key's first and last eight bytes are mixed with
  ShortKeySeed() = default;
  explicit ShortKeySeed(uint64_t seed)
      : low((XXH_readLE64(XXH3_kSecret + 24) ^ XXH_readLE64(XXH3_kSecret + 32)) + seed),
        high((XXH_readLE64(XXH3_kSecret + 40) ^ XXH_readLE64(XXH3_kSecret + 48)) - seed) {}
};
inline bool is_short_key(std::string_view key) { return key.size() - 9 <= 16 - 9; }
inline uint64_t hash_of_short(std::string_view key, const ShortKeySeed& seed) {
  const uint64_t low = load_word(key.data()) ^ seed.low;
  const uint64_t high = load_word(key.data() + key.size() - 8) ^ seed.high;
  return XXH3_avalanche(key.size() + XXH_swap64(low) + high + XXH3_mul128_fold64(low, high));
}
inline uint32_t index_hash(uint64_t hash) { return static_cast<uint32_t>(hash); }

inline uint32_t segment_salt(const StoreId& store, uint64_t file_id) {
  const uint64_t identity[3] = {store.low, store.high, file_id};
  return crc32c(0, identity, sizeof identity);
}

// Where the parts of a record at `offset` lie; offsets within the segment.
struct Layout {
  uint64_t key = 0, value = 0, end = 0;  // end: on the grid, where the next record begins
};
inline Layout layout_of(uint64_t offset, const RecordHeader& header, uint64_t value_bytes) {
  Layout at;
  at.key = offset + sizeof(RecordHeader) + ((header.flags() & kHasExpiry) != 0 ? 8 : 0);
  at.value = round_up(at.key + header.key_bytes(), header.alignment());
  at.end = round_up(at.value + value_bytes, kGrid);
  return at;
}

// A record in a mapped segment, found to lie within it.
struct Record {
  uint64_t offset = 0;
  RecordHeader header;
  uint64_t value_bytes = 0;
  uint64_t sequence = 0;
  uint64_t expires_ms = 0;  // 0: never
  Layout at;
  const char* base = nullptr;  // of the mapping

  std::string_view key() const { return {base + at.key, header.key_bytes()}; }
  const char* value() const { return base + at.value; }
  uint64_t bytes() const { return at.end - offset; }
  bool value_is_intact() const { return crc32c(0, value(), value_bytes) == header.value_crc; }
};

// The bytes a segment is, as a process sees them.
struct SegmentBytes {
  const char* base = nullptr;
  uint64_t bytes = 0;  // of the file
  uint32_t salt = 0;
  SegmentHeader header;
};

// False: no segment header of this version at base, or a damaged one.
bool read_segment_header(const char* base, uint64_t bytes, SegmentHeader& header);
void seal_segment_header(SegmentHeader& header);  // sets its CRC

// Whether a record can lie at the offset: the lengths are possible. Its CRC is not looked at.
inline bool read_record(const SegmentBytes& segment, uint64_t offset, Record& record) {
  if (offset % kGrid != 0 || offset < kFirstRecord || offset > segment.bytes ||
      segment.bytes - offset < sizeof(RecordHeader))
    return false;
  record.offset = offset;
  record.base = segment.base;
  memcpy(&record.header, segment.base + offset, sizeof(RecordHeader));
  const RecordHeader& header = record.header;
  const auto type = static_cast<uint8_t>(header.type());
  if (type < 1 || type > 3 || header.key_bytes() > kMaxKeyBytes || header.alignment() > kPageBytes)
    return false;
  record.value_bytes = header.value_bytes;
  if (header.value_bytes == kValueInHeader) {
    if (segment.header.is_solo == 0) return false;
    record.value_bytes = segment.header.value_bytes;
  }
  if (record.value_bytes > segment.bytes) return false;  // before the sums below could overflow
  record.at = layout_of(offset, header, record.value_bytes);
  if (record.at.value + record.value_bytes > segment.bytes) return false;
  record.sequence = segment.header.base_sequence + header.sequence_delta;
  record.expires_ms = 0;
  if ((header.flags() & kHasExpiry) != 0)
    memcpy(&record.expires_ms, segment.base + offset + sizeof(RecordHeader), sizeof record.expires_ms);
  return true;
}
bool header_is_intact(const SegmentBytes& segment, const Record& record);

// Header, expiry and key of a record as they are written; the value follows after `padding` zero bytes.
struct EncodedHead {
  std::string bytes;
  uint64_t value_offset = 0;  // within the segment
  uint64_t end = 0;
};
struct NewRecord {
  RecordType type = RecordType::kPut;
  uint8_t flags = 0;
  unsigned log2_alignment = 0;
  std::string_view key;
  uint64_t value_bytes = 0;
  uint32_t value_crc = 0;
  uint64_t expires_ms = 0;
  bool solo = false;
};
EncodedHead encode_head(const NewRecord& record, uint64_t offset, uint32_t sequence_delta, uint32_t salt);
// The most bytes it can take wherever it is put.
uint64_t most_bytes(const NewRecord& record);

std::string segment_name(uint64_t file_id);
// 0: not a segment's name.
uint64_t id_in_name(std::string_view name);

}  // namespace spillway::segstore

// segment_fuzz.cc - any bytes at all as a segment: reading it stays within its bounds, finds only records
// with valid checksums, and ends. Input: the segment; its header is made valid, so that the rest is reached.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

// The target is one translation unit (scripts/fuzz).
#include "base/core/crc32c.cc"
#include "libpool/segstore/format.cc"
#include "libpool/segstore/scan.cc"

namespace spillway::os {
uint64_t next_data(int, uint64_t from, uint64_t) { return from; }
void check_failed(const char*, const char*, int) { abort(); }
}  // namespace spillway::os

using namespace spillway;
using namespace spillway::segstore;

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "does not hold: %s\n", what);
  abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  std::string text(sizeof(SegmentHeader), '\0');
  SegmentHeader header;
  header.file_id = 1;
  header.is_solo = data[0] % 2;
  header.value_bytes = header.is_solo != 0 ? data[1] : 0;
  seal_segment_header(header);
  memcpy(text.data(), &header, sizeof header);
  text.append(reinterpret_cast<const char*>(data) + 2, size - 2);
  // One record is always made valid, if the bytes have room for it, so that the fuzzer gets past the
  // checksum.
  const std::string exact = text;  // a copy of exact size: the sanitizer sees a read past the end
  SegmentBytes segment{exact.data(), exact.size(), segment_salt(header.store, 1), header};
  uint64_t last = 0;
  const uint64_t end = scan_records(
      segment, exact.size(), -1,
      [&](const Record& record) {
        must(record.offset >= last, "records do not overlap");
        must(record.at.value + record.value_bytes <= exact.size(), "a record lies within the segment");
        last = record.at.value + record.value_bytes;
        (void)record.value_is_intact();
        (void)hash_of(record.key(), 1);
      },
      [&](uint64_t from, uint64_t to) {
        must(from < to && to <= exact.size(), "damage lies within the segment");
      });
  must(end <= round_up(exact.size(), kGrid), "the end lies within the segment");
  Footer footer;
  if (read_footer(segment, footer)) (void)may_hold(segment, footer, 7);
  for (uint64_t offset = 0; offset < exact.size(); ++offset) {
    Record record;
    if (read_record(segment, offset, record)) (void)header_is_intact(segment, record);
  }
  return 0;
}

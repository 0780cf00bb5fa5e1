// verify.cc - reading every byte of a store, for people who want to know: `verify` and `dump`. Nothing is
// changed, and nothing but the segments and the manifest is believed.
#include <algorithm>
#include <cstring>

#include "base/os/memory.h"
#include "libpool/segstore/manifest.h"
#include "libpool/segstore/reader.h"
#include "libpool/segstore/recovery.h"
#include "libpool/segstore/scan.h"

namespace spillway {
namespace segstore {
namespace {

constexpr size_t kMostFindings = 1000;

class Inspection {
 public:
  explicit Inspection(const std::string& path) : path_(path) {}

  StoreStatus run(const std::function<void(const StoredRecord&)>& each) {
    Result<os::Fd> directory = os::open_directory(path_.c_str(), false);
    if (!directory)
      return {StoreCode::kNotAStore, path_ + ": no store here (" + strerror(directory.error().code()) + ")",
              directory.error().code()};
    if (StoreStatus bad = check_is_store(directory->get(), path_); !bad.ok()) return bad;
    bool damaged = false;
    const std::optional<Manifest> manifest = read_manifest(directory->get(), damaged);
    if (damaged) complain("MANIFEST", 0, "fails its checksum; it is made anew from the segments");
    std::vector<std::string> names;
    (void)os::list_names(
        directory->get(),
        [](void* to, const char* name) {
          if (id_in_name(name) != 0) static_cast<std::vector<std::string>*>(to)->emplace_back(name);
        },
        &names);
    std::sort(names.begin(), names.end());
    if (manifest)
      for (const uint64_t id : manifest->segments)
        if (!std::binary_search(names.begin(), names.end(), segment_name(id)) &&
            still_named(directory->get(), id))
          complain(segment_name(id), 0, "is missing");
    for (const std::string& name : names)
      if (!manifest || manifest->counts(id_in_name(name))) look_at(directory->get(), name, each);
    return {};
  }
  VerifyReport report;

 private:
  void complain(const std::string& file, uint64_t offset, std::string what) {
    if (report.findings.size() < kMostFindings) report.findings.push_back({file, offset, std::move(what)});
  }
  // The writer may have dropped it since we read the manifest.
  static bool still_named(int directory, uint64_t id) {
    bool damaged = false;
    const std::optional<Manifest> now = read_manifest(directory, damaged);
    return now && now->segments.contains(id);
  }
  void look_at(int directory, const std::string& name, const std::function<void(const StoredRecord&)>& each);

  std::string path_;
};

void Inspection::look_at(int directory, const std::string& name,
                         const std::function<void(const StoredRecord&)>& each) {
  Result<os::Fd> fd = os::open_in(directory, name.c_str(), os::OpenFor::kReading);
  if (!fd) {
    if (!(fd.error() == ENOENT))
      complain(name, 0, std::string("cannot be read: ") + strerror(fd.error().code()));
    return;
  }
  Result<os::FileFacts> facts = os::facts_of(fd->get());
  if (!facts || !facts->is_regular) return complain(name, 0, "is not a file");
  if (facts->bytes < sizeof(SegmentHeader)) return complain(name, 0, "is too short for a segment");
  Result<PageRange> range = os::map_shared_readable(fd->get(), facts->bytes);
  if (!range) return complain(name, 0, std::string("cannot be mapped: ") + strerror(range.error().code()));
  SegmentBytes bytes;
  bytes.base = range->base;
  bytes.bytes = facts->bytes;
  ++report.segments;
  SegmentHeader front;
  if (!read_either_header(range->base, facts->bytes, bytes.header)) {
    complain(name, 0, "its header and the copy at the end fail their checksums");
    os::unreserve(*range);
    return;
  }
  if (!read_segment_header(range->base, facts->bytes, front))
    complain(name, 0, "the header fails its checksum; the copy at the end is used");
  bytes.salt = segment_salt(bytes.header.store, bytes.header.file_id);
  Footer footer;
  const bool sealed = bytes.header.is_solo == 0 && read_footer(bytes, footer);
  const uint64_t end = sealed ? footer.used_bytes
                       : bytes.header.is_solo != 0
                           ? facts->bytes
                           : footer_offset(std::max<uint64_t>(facts->bytes, kPageBytes));
  auto visit = [&](const Record& record) {
    ++report.records;
    report.bytes += record.bytes();
    StoredRecord stored;
    stored.file = name;
    stored.offset = record.offset;
    stored.sequence = record.sequence;
    stored.expires_ms = record.expires_ms;
    stored.bytes = record.bytes();
    stored.kind = static_cast<StoredRecord::Kind>(static_cast<int>(record.header.type()) - 1);
    stored.in_batch = (record.header.flags() & kInBatch) != 0;
    stored.intact = record.value_is_intact();
    stored.key = record.key();
    stored.value = {record.value(), record.value_bytes};
    if (!stored.intact) complain(name, record.offset, "a record's value fails its checksum");
    if (each) each(stored);
  };
  if (bytes.header.is_solo != 0) {
    Record record;
    if (read_record(bytes, kFirstRecord, record) && header_is_intact(bytes, record))
      visit(record);
    else
      complain(name, kFirstRecord, "the record's header fails its checksum");
  } else {
    scan_records(bytes, std::min(end, facts->bytes), fd->get(), visit, [&](uint64_t from, uint64_t to) {
      complain(name, from, std::to_string(to - from) + " bytes are no record");
    });
  }
  os::unreserve(*range);
}

}  // namespace
}  // namespace segstore

StoreResult<VerifyReport> verify_store(const std::string& directory) {
  segstore::Inspection inspection(directory);
  if (StoreStatus bad = inspection.run(nullptr); !bad.ok()) return bad;
  return std::move(inspection.report);
}

StoreStatus dump_store(const std::string& directory, const std::function<void(const StoredRecord&)>& each) {
  return segstore::Inspection(directory).run(each);
}

}  // namespace spillway

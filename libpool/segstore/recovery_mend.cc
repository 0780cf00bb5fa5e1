// recovery_mend.cc - the files become what was found to count: blotted out, flushed, sealed, removed.
#include <algorithm>
#include <cstring>

#include "libpool/segstore/recovery_steps.h"

namespace spillway::segstore {

StoreStatus Recovery::seal(FoundSegment& segment) {
  FooterBuilder builder;
  for (const FoundRecord& item : segment.items)
    if (item.type != RecordType::kBatchEnd)
      builder.add(item.full_hash, item.offset, item.bytes, item.sequence, item.type, item.expires_ms);
  const std::string body = builder.body(segment.used);
  segment.footer = builder.footer(segment.used, body, segment.bytes.salt, segment.id, false);
  if (segment.is_damaged || segment.bytes.bytes % kGrid != 0 || segment.bytes.bytes < 2 * kPageBytes ||
      segment.used + body.size() > footer_offset(segment.bytes.bytes)) {
    segment.is_damaged = true;  // it stays as it is, and is read from front to back each time
    return {};
  }
  const os::Piece pieces[2] = {{body.data(), body.size()}, {nullptr, 0}};
  Errno e = in_.files->write(segment.fd.get(), pieces, 1, segment.used);
  const os::Piece tail[2] = {{&segment.footer, sizeof segment.footer},
                             {&segment.bytes.header, sizeof(SegmentHeader)}};
  if (e.ok()) e = in_.files->write(segment.fd.get(), tail, 2, footer_offset(segment.bytes.bytes));
  if (e.ok()) e = in_.files->flush(segment.fd.get());
  if (!e.ok()) return failure(e, in_.path + "/" + segment_name(segment.id) + ": sealing");
  const uint64_t from = round_up(segment.used + body.size(), kPageBytes);
  const uint64_t to = round_down(footer_offset(segment.bytes.bytes), kPageBytes);
  if (from < to) in_.files->release(segment.fd.get(), from, to - from);
  segment.is_sealed = true;
  return {};
}

Errno Recovery::open_again(FoundSegment& segment) const {
  if (segment.fd.valid()) return {};
  Result<os::Fd> fd = os::open_in(in_.directory, segment_name(segment.id).c_str(),
                                  in_.files != nullptr ? os::OpenFor::kWriting : os::OpenFor::kReading);
  if (!fd) return fd.error();
  segment.fd = std::move(*fd);
  return {};
}

// What lies behind the last record that counts. From the back, so that a kill in between leaves no value
// without the header that tells its length: a value may hold what looks like a record.
StoreStatus Recovery::wipe_end(FoundSegment& segment) {
  static const char zeroes[kPageBytes] = {};
  const uint64_t end = records_end(segment.bytes.bytes);
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (uint64_t at = segment.used; at < end;) {
    if (at % kPageBytes == 0)
      at = std::max(at, round_down(os::next_data(segment.fd.get(), at, end), kPageBytes));
    const uint64_t bytes = std::min(round_up(at + 1, kPageBytes), end) - at;
    if (memcmp(segment.bytes.base + at, zeroes, bytes) != 0) ranges.emplace_back(at, bytes);
    at += bytes;
  }
  std::reverse(ranges.begin(), ranges.end());
  for (const auto& [at, bytes] : ranges) {
    const os::Piece piece{zeroes, bytes};
    if (Errno e = in_.files->write(segment.fd.get(), &piece, 1, at); !e.ok())
      return failure(e, in_.path + "/" + segment_name(segment.id));
  }
  return {};
}

// For the writer: the files become what was found to count.
StoreStatus Recovery::mend() {
  Files& files = *in_.files;
  for (FoundSegment& segment : segments_) {
    if (segment.is_sealed || segment.stays_open) continue;
    files.step("recover:mend");
    static const RecordHeader nothing{};
    if (segment.is_new || !segment.blot.empty())
      if (Errno e = open_again(segment); !e.ok())
        return failure(e, in_.path + "/" + segment_name(segment.id));
    if (!segment.is_solo() && !segment.is_damaged)
      if (StoreStatus bad = wipe_end(segment); !bad.ok()) return bad;
    for (const uint64_t offset : segment.blot) {
      if (!segment.is_damaged && offset >= segment.used) continue;  // wiped
      const os::Piece piece{&nothing, sizeof nothing};
      if (Errno e = files.write(segment.fd.get(), &piece, 1, offset); !e.ok())
        return failure(e, in_.path + "/" + segment_name(segment.id));
    }
    if (!segment.is_solo() || segment.is_new)
      if (Errno e = files.flush(segment.fd.get()); !e.ok())
        return failure(e, in_.path + "/" + segment_name(segment.id));
    if (segment.is_solo()) {
      segment.fd.reset();
      if (segment.items.empty() && !segment.is_damaged) orphans_.push_back(segment.id);
    } else if (segment.items.empty() && !segment.is_damaged) {
      orphans_.push_back(segment.id);
    } else if (StoreStatus bad = seal(segment); !bad.ok()) {
      return bad;
    }
  }
  for (const uint64_t id : orphans_) {
    files.step("recover:unlink");
    if (Errno e = files.unlink(in_.directory, segment_name(id).c_str()); !e.ok() && e.code() != ENOENT)
      return failure(e, in_.path + "/" + segment_name(id));
  }
  if (Errno e = files.flush_directory(in_.directory); !e.ok()) return failure(e, in_.path);
  std::erase_if(segments_, [&](const FoundSegment& segment) {
    return std::find(orphans_.begin(), orphans_.end(), segment.id) != orphans_.end();
  });
  return {};
}

}  // namespace spillway::segstore

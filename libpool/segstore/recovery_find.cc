// recovery_find.cc - which files there are, and which of them are segments of this store.
#include <algorithm>
#include <cstring>

#include "libpool/segstore/recovery_steps.h"

namespace spillway::segstore {
namespace {

// A link, a directory, a socket, or what else may have a segment's name.
bool is_no_file(Errno error) { return error == ELOOP || error == EISDIR || error == ENXIO; }

bool begins_with_zeroes(int fd) {
  static const char zeroes[kFirstRecord + sizeof(RecordHeader)] = {};
  char begin[sizeof zeroes] = {};
  return os::read_some(fd, begin, sizeof begin, 0) && memcmp(begin, zeroes, sizeof begin) == 0;
}

}  // namespace

// Whether a file that does not count was ever this store's: others', though named like one, are not ours to
// remove.
bool Recovery::is_left_over(uint64_t id) const {
  Result<os::Fd> fd = os::open_in(in_.directory, segment_name(id).c_str(), os::OpenFor::kReading);
  Result<os::FileFacts> facts = fd ? os::facts_of(fd->get()) : fd.error();
  if (!facts || !facts->is_regular) return false;
  if (begins_with_zeroes(fd->get())) return true;  // never begun, or a large value that was never finished
  for (const uint64_t at : {uint64_t{0}, facts->bytes - std::min(facts->bytes, sizeof(SegmentHeader))}) {
    char copy[sizeof(SegmentHeader)];
    SegmentHeader header;
    Result<uint64_t> got = os::read_some(fd->get(), copy, sizeof copy, at);
    if (got && *got == sizeof copy && read_segment_header(copy, sizeof copy, header))
      return header.store == out_->manifest.store && header.file_id == id;
  }
  return false;
}

StoreStatus Recovery::find_segments() {
  bool damaged = false;
  std::optional<Manifest> manifest = read_manifest(in_.directory, damaged);
  // That it cannot be read now is no reason to make another.
  if (damaged)
    if (Result<os::Fd> fd = os::open_in(in_.directory, "MANIFEST", os::OpenFor::kReading);
        !fd && (fd.error() == EMFILE || fd.error() == ENFILE || fd.error() == ENOMEM || fd.error() == EACCES))
      return failure(fd.error(), in_.path + "/MANIFEST");
  std::vector<uint64_t> ids;
  const Errno e = os::list_names(
      in_.directory,
      [](void* context, const char* name) {
        if (const uint64_t id = id_in_name(name)) static_cast<std::vector<uint64_t>*>(context)->push_back(id);
      },
      &ids);
  if (!e.ok()) return failure(e, in_.path);
  std::sort(ids.begin(), ids.end());
  if (!manifest && ids.empty()) return {StoreCode::kNotAStore, in_.path + ": no store here"};
  if (manifest) out_->manifest = *manifest;
  out_->next_file_id = out_->manifest.next_file_id;
  for (const uint64_t id : ids) {
    out_->next_file_id = std::max(out_->next_file_id, id + 1);
    if (manifest && !manifest->counts(id)) {
      if (is_left_over(id)) orphans_.push_back(id);
      continue;
    }
    if (StoreStatus bad = open_segment(id); !bad.ok()) return bad;
    if (manifest && !segments_.empty() && segments_.back().id == id)
      segments_.back().is_new = manifest->is_new(id);
  }
  if (!manifest) {
    // Who the store is stands in every segment.
    if (segments_.empty())
      return {StoreCode::kCorrupt, in_.path + ": MANIFEST and the headers of all segments are damaged"};
    out_->manifest.store = segments_.front().bytes.header.store;
    out_->manifest.hash_seed = segments_.front().bytes.header.hash_seed;
  }
  // Another store's segment, that somebody copied here, is not ours to read.
  std::erase_if(segments_,
                [&](const FoundSegment& s) { return !(s.bytes.header.store == out_->manifest.store); });
  known_durable_ = in_.control != nullptr ? in_.control->durable_sequence : 0;
  for (FoundSegment& segment : segments_)
    if (segment.is_sealed) known_durable_ = std::max(known_durable_, segment.footer.max_sequence);
  // Copies that were never finished: what they are copies of is still there, for no manifest names the
  // copies.
  std::erase_if(segments_, [&](const FoundSegment& segment) {
    if (segment.bytes.header.holds_copies == 0 || segment.is_sealed || !segment.is_new) return false;
    orphans_.push_back(segment.id);
    return true;
  });
  return {};
}

StoreStatus Recovery::open_segment(uint64_t id) {
  FoundSegment segment;
  segment.id = id;
  const std::string name = segment_name(id);
  Result<os::Fd> fd = os::open_in(in_.directory, name.c_str(),
                                  in_.files != nullptr ? os::OpenFor::kWriting : os::OpenFor::kReading);
  if (!fd) {
    if (fd.error() == ENOENT || is_no_file(fd.error())) return {};
    return failure(fd.error(), in_.path + "/" + name);
  }
  Result<os::FileFacts> facts = os::facts_of(fd->get());
  if (!facts) return failure(facts.error(), in_.path + "/" + name);
  if (!facts->is_regular) return {};
  if (facts->bytes < sizeof(SegmentHeader)) {
    // Without a length, the writer died before it had one.
    (facts->bytes == 0 ? orphans_ : unreadable_).push_back(id);
    return {};
  }
  // The header, from the front or, where that is damaged, from the end.
  char front[sizeof(SegmentHeader)], back[sizeof(SegmentHeader)];
  Result<uint64_t> got = os::read_some(fd->get(), front, sizeof front, 0);
  if (!got) return failure(got.error(), in_.path + "/" + name);
  if (!read_segment_header(front, sizeof front, segment.bytes.header)) {
    got = os::read_some(fd->get(), back, sizeof back, facts->bytes - sizeof back);
    if (!got) return failure(got.error(), in_.path + "/" + name);
    if (!read_segment_header(back, sizeof back, segment.bytes.header)) {
      // A file that was never begun, or a large value that was never finished. Anything else stays where it
      // is, for `verify` to tell.
      static const char nothing[sizeof back] = {};
      if (begins_with_zeroes(fd->get()) && memcmp(back, nothing, sizeof back) == 0)
        orphans_.push_back(id);
      else
        unreadable_.push_back(id);
      return {};
    }
  }
  if (segment.bytes.header.file_id != id) {
    unreadable_.push_back(id);
    return {};
  }
  segment.bytes.bytes = facts->bytes;
  segment.bytes.salt = segment_salt(segment.bytes.header.store, id);
  if (segment.is_solo()) {
    segment.head.resize(
        std::min<uint64_t>(facts->bytes, kFirstRecord + sizeof(RecordHeader) + 8 + kMaxKeyBytes));
    got = os::read_some(fd->get(), segment.head.data(), segment.head.size(), 0);
    if (!got) return failure(got.error(), in_.path + "/" + name);
    segment.bytes.base = segment.head.data();
    segments_.push_back(std::move(segment));
    segments_.back().bytes.base = segments_.back().head.data();
    return {};
  }
  Result<PageRange> range = os::map_shared_readable(fd->get(), facts->bytes);
  if (!range) return failure(range.error(), in_.path + "/" + name);
  segment.map.range = *range;
  segment.bytes.base = range->base;
  segment.is_sealed = read_footer(segment.bytes, segment.footer);
  if (!segment.is_sealed) segment.fd = std::move(*fd);
  segments_.push_back(std::move(segment));
  return {};
}

}  // namespace spillway::segstore

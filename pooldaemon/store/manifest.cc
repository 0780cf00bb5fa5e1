#include "pooldaemon/store/manifest.h"

#include <cstring>
#include <map>

#include "base/os/folder.h"
#include "base/os/memfd.h"
#include "libpool/format/object_file.h"

namespace spillway::pool {
namespace {

enum Kind : uint8_t { kAdd = 1, kRemove = 2, kUnname = 3 };
constexpr uint32_t kMaxRecord = 64 << 10;
constexpr size_t kMaxText = 16 << 10;

std::string encode(const ManifestEntry& e) {
  wire::Writer w;
  w.number(kAdd);
  write_facts(e, w);
  w.bytes(e.path).bytes(e.directory);
  w.number(e.pack).number(e.offset).number(e.stored_bytes).number(e.charge).number(e.checksum);
  w.number(static_cast<uint32_t>(e.filters.size()));
  for (const std::string& filter : e.filters) w.bytes(filter);
  write_more(e, w);
  return w.take();
}

bool decode(wire::Reader& r, ManifestEntry& e) {
  read_facts(r, e);
  e.path = r.bytes(kMaxText);
  e.directory = r.bytes(kMaxText);
  e.pack = r.number<uint64_t>();
  e.offset = r.number<uint64_t>();
  e.stored_bytes = r.number<uint64_t>();
  e.charge = r.number<uint64_t>();
  e.checksum = r.number<uint64_t>();
  const uint32_t filters = r.number<uint32_t>();
  for (uint32_t i = 0; i < filters && r.ok(); ++i) e.filters.emplace_back(r.bytes(64));
  read_more(r, e);
  return r.complete();
}

}  // namespace

void write_facts(const ManifestEntry& e, wire::Writer& w) {
  w.number(e.id).number(e.key).number(e.bytes).number(e.version);
  w.number(e.uid).number(e.gid).number(e.created_s).number(e.mode).number(e.hint);
  w.number(static_cast<uint8_t>(e.durable | e.retained << 1 | e.users << 2 | e.raw << 3));
  w.bytes(e.name).bytes(e.tag).bytes(e.wanted_filters);
}

void read_facts(wire::Reader& r, ManifestEntry& e) {
  e.id = r.number<uint64_t>();
  e.key = r.number<uint64_t>();
  e.bytes = r.number<uint64_t>();
  e.version = r.number<uint64_t>();
  e.uid = r.number<uint32_t>();
  e.gid = r.number<uint32_t>();
  e.created_s = r.number<uint32_t>();
  e.mode = r.number<uint16_t>();
  e.hint = r.number<uint8_t>();
  const uint8_t flags = r.number<uint8_t>();
  e.durable = flags & 1, e.retained = flags & 2, e.users = flags & 4, e.raw = flags & 8;
  e.name = r.bytes(kMaxText);
  e.tag = r.bytes(kMaxText);
  e.wanted_filters = r.bytes(kMaxText);
}

void write_more(const ManifestEntry& e, wire::Writer& w) {
  if (e.device_tags.empty() && e.kept_resident == 0) return;
  w.number(static_cast<uint32_t>(e.device_tags.size()));
  for (const auto& [device, tag] : e.device_tags) w.bytes(device).bytes(tag);
  if (e.kept_resident > 0) w.number(e.kept_resident);
}

void read_more(wire::Reader& r, ManifestEntry& e) {
  if (!r.ok() || r.left() == 0) return;
  const uint32_t tags = r.number<uint32_t>();
  for (uint32_t i = 0; i < tags && r.ok(); ++i) {
    std::string device(r.bytes(64));
    e.device_tags.emplace_back(std::move(device), r.bytes(kMaxText));
  }
  if (r.ok() && r.left() > 0) e.kept_resident = r.number<uint32_t>();
}

namespace {

std::string framed(const std::string& payload) {
  wire::Writer w;
  w.number(static_cast<uint32_t>(payload.size())).number(format::checksum_of(payload));
  return w.take() + payload;
}

constexpr std::string_view kMagic = "SPILLMAN";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 32;
constexpr size_t kFrameBytes = sizeof(uint32_t) + sizeof(uint64_t);

std::string header_of(uint64_t pool) {
  wire::Writer w;
  w.data() = kMagic;
  w.number(kVersion).number(uint32_t{0}).number(pool);
  const uint64_t sum = format::checksum_of(w.data());
  w.number(sum);
  return w.take();
}

// The payload of the record that begins here; empty: none that is whole does.
std::string_view record_at(std::string_view text, size_t at) {
  wire::Reader r(text.substr(at));
  const uint32_t length = r.number<uint32_t>();
  const uint64_t sum = r.number<uint64_t>();
  if (!r.ok() || length == 0 || length > kMaxRecord || length > r.left()) return {};
  const std::string_view payload = text.substr(at + kFrameBytes, length);
  if (payload[0] < kAdd || payload[0] > kUnname || format::checksum_of(payload) != sum) return {};
  return payload;
}

// Of a kill in the middle of an append: a record that is longer than what is left. Not one that is whole but
// for what it says of its length.
bool is_torn(std::string_view rest) {
  if (rest.size() < kFrameBytes || rest.find_first_not_of('\0') == std::string_view::npos) return true;
  wire::Reader r(rest);
  const uint32_t length = r.number<uint32_t>();
  const uint64_t sum = r.number<uint64_t>();
  return length > 0 && length <= kMaxRecord && length > r.left() &&
         format::checksum_of(rest.substr(kFrameBytes)) != sum;
}

}  // namespace

std::string Manifest::read(const std::string& path, ManifestContents& contents) {
  contents = {};
  if (os::kind_of(path.c_str()) == os::Kind::kNothing) return "";
  const std::string foreign = path + ": it is there and no manifest of spillwayd's; it stays as it is";
  if (os::kind_of(path.c_str()) != os::Kind::kFile) return foreign;
  Result<os::Fd> fd = os::open_file(path.c_str(), os::Open::kRead);
  if (!fd) return path + ": " + strerror(fd.error().code());
  std::string text(os::length_of(fd->get()), '\0');
  if (Errno e = os::read_all(fd->get(), text.data(), text.size(), 0); !e.ok())
    return path + ": " + strerror(e.code());
  if (text.empty()) return "";
  // 1. Whose, and can it be read.
  size_t at = 0;
  if (text.starts_with(kMagic)) {
    wire::Reader r(std::string_view(text).substr(kMagic.size()));
    const uint32_t version = r.number<uint32_t>();
    (void)r.number<uint32_t>();
    const uint64_t pool = r.number<uint64_t>(), sum = r.number<uint64_t>();
    const bool whole =
        r.ok() && format::checksum_of(std::string_view(text).substr(0, kHeaderBytes - 8)) == sum;
    if (whole && version > kVersion)
      return path + ": it is of version " + std::to_string(version) + ", and this spillwayd knows " +
             std::to_string(kVersion) + " at most; it stays as it is";
    if (whole)
      contents.pool = pool;
    else
      contents.damaged_bytes += kHeaderBytes;
    at = std::min(kHeaderBytes, text.size());
    contents.is_there = true;
  }
  // 2. The records.
  std::map<uint64_t, ManifestEntry> live;
  while (at < text.size()) {
    const std::string_view payload = record_at(text, at);
    if (payload.empty()) {
      size_t next = at + 1;
      while (next < text.size() && record_at(text, next).empty()) ++next;
      if (next < text.size() || !is_torn(std::string_view(text).substr(at)))
        contents.damaged_bytes += next - at;
      at = next;
      continue;
    }
    contents.is_there = true;
    at += kFrameBytes + payload.size();
    wire::Reader record(payload);
    const uint8_t kind = record.number<uint8_t>();
    if (kind == kAdd) {
      ManifestEntry entry;
      if (!decode(record, entry)) {
        contents.damaged_bytes += payload.size();
        continue;
      }
      const uint64_t id = entry.id;
      contents.removed.erase(id);
      live[id] = std::move(entry);
    } else {
      const uint64_t id = record.number<uint64_t>();
      if (kind == kRemove) live.erase(id), contents.removed.insert(id);
      if (kind == kUnname)
        if (auto found = live.find(id); found != live.end()) found->second.name.clear();
    }
  }
  if (!contents.is_there) return foreign;
  for (auto& [id, entry] : live) contents.entries.push_back(std::move(entry));
  return "";
}

std::string Manifest::begin(const std::string& path, uint64_t pool,
                            const std::vector<ManifestEntry>& entries) {
  path_ = path;
  pool_ = pool;
  const std::string next = path + ".tmp";
  ManifestContents unfinished;
  if (std::string why = read(next, unfinished); !why.empty()) return why;
  if (Errno e = os::remove_file(next.c_str()); !e.ok()) return next + ": " + strerror(e.code());
  const Errno error = rewrite(entries);
  if (error.ok()) return "";
  if (!entries.empty() || os::kind_of(path.c_str()) != os::Kind::kNothing)
    return path + ": " + strerror(error.code());
  // A pool that has nothing yet needs no disk to begin with.
  Result<os::Fd> fd = os::open_file(path.c_str(), os::Open::kCreate);
  if (!fd) return path + ": " + strerror(fd.error().code());
  fd_ = std::move(*fd);
  owed_ = header_of(pool_);
  return "";
}

Errno Manifest::append(std::string payload, bool sync) {
  if (payload.size() > kMaxRecord) return Errno(E2BIG);
  const std::string text = owed_ + framed(payload);
  Errno error = os::write_all(fd_.get(), text.data(), text.size(), end_);
  if (error.ok() && sync) error = os::sync_data(fd_.get());
  if (!error.ok()) {
    // Half a record would hide those after it; a whole one would be found again, and was said to have failed.
    (void)os::truncate_file(fd_.get(), end_).ok();
    return error;
  }
  owed_.clear();
  end_ += text.size();
  appended_bytes_ += text.size();
  return {};
}

// What has gone has gone, also when the disk does not take note of it now.
Errno Manifest::append_or_owe(std::string payload) {
  const Errno error = append(payload, false);
  if (!error.ok()) owed_ += framed(payload);
  return error;
}

Errno Manifest::add(const ManifestEntry& entry, bool sync) { return append(encode(entry), sync); }
Errno Manifest::remove(uint64_t id) {
  wire::Writer w;
  w.number(kRemove).number(id);
  return append_or_owe(w.take());
}
Errno Manifest::unname(uint64_t id) {
  wire::Writer w;
  w.number(kUnname).number(id);
  return append_or_owe(w.take());
}

Errno Manifest::rewrite(const std::vector<ManifestEntry>& entries) {
  const std::string next = path_ + ".tmp";
  Result<os::Fd> fd = os::open_file(next.c_str(), os::Open::kCreate);
  if (!fd) return fd.error();
  Errno error = write_into(*fd, entries);
  // Where the new name stands for the old text, all of it must be there, also after a power cut.
  if (error.ok()) error = os::sync_data(fd->get());
  if (error.ok()) error = os::rename_file(next.c_str(), path_.c_str());
  if (!error.ok()) {
    (void)os::remove_file(next.c_str()).ok();
    return error;
  }
  end_ = os::length_of(fd->get());
  fd_ = std::move(*fd);
  owed_.clear();
  appended_bytes_ = 0;
  return {};
}

Errno Manifest::write_into(const os::Fd& fd, const std::vector<ManifestEntry>& entries) const {
  std::string text = header_of(pool_);
  uint64_t at = 0;
  const auto flush = [&]() -> Errno {
    Errno e = os::write_all(fd.get(), text.data(), text.size(), at);
    at += text.size();
    text.clear();
    return e;
  };
  for (const ManifestEntry& entry : entries) {
    text += framed(encode(entry));
    if (text.size() > (1 << 20))
      if (Errno e = flush(); !e.ok()) return e;
  }
  return flush();
}

}  // namespace spillway::pool

#include "pooldaemon/store/manifest.h"

#include <cstring>
#include <map>

#include "base/os/folder.h"
#include "base/os/memfd.h"
#include "libpool/format/object_file.h"
#include "libpool/wire/codec.h"

namespace spillway::pool {
namespace {

enum Kind : uint8_t { kAdd = 1, kRemove = 2, kUnname = 3 };
constexpr uint32_t kMaxRecord = 64 << 10;
constexpr size_t kMaxText = 16 << 10;

std::string encode(const ManifestEntry& e) {
  wire::Writer w;
  w.number(kAdd).number(e.id).number(e.key).number(e.bytes).number(e.version);
  w.number(e.uid).number(e.gid).number(e.created_s).number(e.mode).number(e.hint);
  w.number(static_cast<uint8_t>(e.durable | e.retained << 1 | e.users << 2 | e.raw << 3));
  w.bytes(e.name).bytes(e.tag).bytes(e.wanted_filters).bytes(e.path).bytes(e.directory);
  w.number(e.pack).number(e.offset).number(e.stored_bytes).number(e.charge).number(e.checksum);
  w.number(static_cast<uint32_t>(e.filters.size()));
  for (const std::string& filter : e.filters) w.bytes(filter);
  if (e.device_tags.empty()) return w.take();
  w.number(static_cast<uint32_t>(e.device_tags.size()));
  for (const auto& [device, tag] : e.device_tags) w.bytes(device).bytes(tag);
  return w.take();
}

bool decode(wire::Reader& r, ManifestEntry& e) {
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
  e.path = r.bytes(kMaxText);
  e.directory = r.bytes(kMaxText);
  e.pack = r.number<uint64_t>();
  e.offset = r.number<uint64_t>();
  e.stored_bytes = r.number<uint64_t>();
  e.charge = r.number<uint64_t>();
  e.checksum = r.number<uint64_t>();
  const uint32_t filters = r.number<uint32_t>();
  for (uint32_t i = 0; i < filters && r.ok(); ++i) e.filters.emplace_back(r.bytes(64));
  if (!r.ok() || r.left() == 0) return r.complete();
  const uint32_t tags = r.number<uint32_t>();
  for (uint32_t i = 0; i < tags && r.ok(); ++i) {
    std::string device(r.bytes(64));
    e.device_tags.emplace_back(std::move(device), r.bytes(kMaxText));
  }
  return r.complete();
}

std::string framed(const std::string& payload) {
  wire::Writer w;
  w.number(static_cast<uint32_t>(payload.size())).number(format::checksum_of(payload));
  return w.take() + payload;
}

}  // namespace

std::string Manifest::open(const std::string& path, std::vector<ManifestEntry>& entries) {
  path_ = path;
  Result<os::Fd> fd = os::open_file(path.c_str(), os::Open::kAppend);
  if (!fd) return path + ": " + strerror(fd.error().code());
  fd_ = std::move(*fd);
  std::string text(os::length_of(fd_.get()), '\0');
  if (Errno e = os::read_all(fd_.get(), text.data(), text.size(), 0); !e.ok())
    return path + ": " + strerror(e.code());
  std::map<uint64_t, ManifestEntry> live;
  wire::Reader r(text);
  while (r.left() > 0) {
    const uint32_t length = r.number<uint32_t>();
    const uint64_t sum = r.number<uint64_t>();
    if (!r.ok() || length == 0 || length > kMaxRecord || length > r.left()) break;
    const std::string_view payload(text.data() + text.size() - r.left(), length);
    if (format::checksum_of(payload) != sum) break;
    wire::Reader record(payload);
    const uint8_t kind = record.number<uint8_t>();
    if (kind == kAdd) {
      ManifestEntry entry;
      if (!decode(record, entry)) break;
      const uint64_t id = entry.id;
      live[id] = std::move(entry);
    } else {
      const uint64_t id = record.number<uint64_t>();
      if (kind == kRemove) live.erase(id);
      if (kind == kUnname)
        if (auto found = live.find(id); found != live.end()) found->second.name.clear();
    }
    r = wire::Reader(std::string_view(text).substr(text.size() - r.left() + length));
  }
  for (auto& [id, entry] : live) entries.push_back(std::move(entry));
  if (Errno e = rewrite(entries); !e.ok()) return path + ": " + strerror(e.code());
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
  Result<os::Fd> fd = os::open_file(next.c_str(), os::Open::kReplace);
  if (!fd) return fd.error();
  std::string text;
  uint64_t at = 0;
  const auto flush = [&]() -> Errno {
    Errno e = os::write_all(fd->get(), text.data(), text.size(), at);
    at += text.size();
    text.clear();
    return e;
  };
  for (const ManifestEntry& entry : entries) {
    text += framed(encode(entry));
    if (text.size() > (1 << 20))
      if (Errno e = flush(); !e.ok()) return e;
  }
  if (Errno e = flush(); !e.ok()) return e;
  // Where the new name stands for the old text, all of it must be there, also after a power cut.
  if (Errno e = os::sync_data(fd->get()); !e.ok()) return e;
  if (Errno e = os::rename_file(next.c_str(), path_.c_str()); !e.ok()) return e;
  fd_ = std::move(*fd);
  owed_.clear();
  end_ = at;
  appended_bytes_ = 0;
  return {};
}

}  // namespace spillway::pool

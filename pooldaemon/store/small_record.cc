#include "pooldaemon/store/small_record.h"

#include <cstring>

namespace spillway::pool {
namespace {

constexpr uint8_t kRecordVersion = 1;

}  // namespace

void write_small_record(const ManifestEntry& entry, std::string_view data, std::string& to) {
  wire::Writer w;
  w.number(kRecordVersion);
  write_facts(entry, w);
  write_more(entry, w);
  const auto length = static_cast<uint32_t>(w.data().size());
  w.number(length);
  to.assign(data);
  to += w.data();
}

bool read_small_record(std::string_view from, ManifestEntry& entry, std::string_view& data) {
  uint32_t length = 0;
  if (from.size() < sizeof length) return false;
  memcpy(&length, from.data() + from.size() - sizeof length, sizeof length);
  from.remove_suffix(sizeof length);
  if (length > from.size()) return false;
  data = from.substr(0, from.size() - length);
  wire::Reader r(from.substr(data.size()));
  if (r.number<uint8_t>() != kRecordVersion) return false;
  read_facts(r, entry);
  read_more(r, entry);
  entry.stored_bytes = entry.bytes;
  return r.complete() && entry.bytes == data.size();
}

}  // namespace spillway::pool

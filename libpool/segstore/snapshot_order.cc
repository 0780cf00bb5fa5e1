// snapshot_order.cc - the pairs of a snapshot in the order of their keys, with an ordered index or without.
#include <algorithm>
#include <bit>
#include <cstring>

#include "libpool/segstore/snapshot.h"

namespace spillway::segstore {
namespace {

// A slot's word without its tag.
uint64_t place_of(Location at) { return slot_word(0, at); }

// The first eight bytes as a number that orders as they do: most comparisons need no more, and so no record.
uint64_t beginning_of(std::string_view key) {
  uint64_t word = 0;
  memcpy(&word, key.data(), std::min(key.size(), sizeof word));
  return std::endian::native == std::endian::little ? __builtin_bswap64(word) : word;
}

}  // namespace

// Its header was readable when the places were gathered.
std::string_view SnapshotImpl::key_at(uint64_t place) const {
  const Location at = location_of(place);
  Record record;
  return read_record(rows_[at.row].mapping->bytes(), at.offset, record) ? record.key() : std::string_view();
}

StoreStatus SnapshotImpl::in_order(std::optional<std::string_view> start, std::optional<std::string_view> end,
                                   std::vector<uint64_t>& places, const Snapshot::Corrupt& corrupt) const {
  struct Entry {
    uint64_t beginning, place;
  };
  std::vector<Entry> entries;
  for (const Location& at : places_) {
    const Mapping& mapping = *rows_[at.row].mapping;
    Record record;
    if (!read_record(mapping.bytes(), at.offset, record)) {
      StoreStatus bad = this->corrupt(mapping, at.offset, "a record's header fails its checksum");
      if (!corrupt) return bad;
      corrupt(bad);
      continue;
    }
    const std::string_view key = record.key();
    if ((start && key < *start) || (end && key >= *end)) continue;
    entries.push_back({beginning_of(key), place_of(at)});
  }
  std::sort(entries.begin(), entries.end(), [this](const Entry& a, const Entry& b) {
    return a.beginning != b.beginning ? a.beginning < b.beginning : key_at(a.place) < key_at(b.place);
  });
  places.reserve(entries.size());
  for (const Entry& entry : entries) places.push_back(entry.place);
  return {};
}

StoreStatus SnapshotImpl::make_ordered() {
  if (is_ordered_) return {};
  if (StoreStatus bad = in_order(std::nullopt, std::nullopt, ordered_, nullptr); !bad.ok()) return bad;
  is_ordered_ = true;
  return {};
}

StoreStatus SnapshotImpl::each_in_order(std::optional<std::string_view> start,
                                        std::optional<std::string_view> end, const Snapshot::Each& each,
                                        const Snapshot::Corrupt& corrupt) const {
  std::vector<uint64_t> found;
  const uint64_t *from = nullptr, *to = nullptr;
  if (is_ordered_) {
    const auto lower = [this](const std::optional<std::string_view>& key, const uint64_t* otherwise) {
      const uint64_t* const begin = ordered_.data();
      if (!key) return otherwise;
      return std::lower_bound(begin, begin + ordered_.size(), *key,
                              [this](uint64_t place, std::string_view k) { return key_at(place) < k; });
    };
    from = lower(start, ordered_.data());
    to = lower(end, ordered_.data() + ordered_.size());
  } else {
    if (StoreStatus bad = in_order(start, end, found, corrupt); !bad.ok()) return bad;
    from = found.data();
    to = from + found.size();
  }
  bool more = true;
  for (; from < to && more; ++from) {
    StoreStatus bad = give(location_of(*from), each, more);
    if (bad.ok()) continue;
    if (!corrupt || bad.code() != StoreCode::kCorrupt) return bad;
    corrupt(bad);
  }
  return {};
}

}  // namespace spillway::segstore

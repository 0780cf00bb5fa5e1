// snapshot.h - an index of this process's own, as the shared one was at one moment, and the segments it
// needs.
//
// Taken without asking the writer: entries are copied one by one while it may go on, and then what was
// written to the log meanwhile is done again to the copy, in order. The result is exactly the state at the
// end of that log. Segments are mapped before, so that none can vanish.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libpool/segstore/reader.h"

namespace spillway::segstore {

class SnapshotImpl {
 public:
  SnapshotImpl() = default;
  ~SnapshotImpl();
  StoreResult<Value> get(std::string_view key) const;
  // The pairs in the order they lie in the segments.
  StoreStatus each(size_t from, size_t to, const Snapshot::Each& each,
                   const Snapshot::Corrupt& corrupt = nullptr) const;
  size_t count() const { return places_.size(); }
  // In the order of keys; from an ordered index, if there is one.
  StoreStatus each_in_order(std::optional<std::string_view> start, std::optional<std::string_view> end,
                            const Snapshot::Each& each, const Snapshot::Corrupt& corrupt = nullptr) const;
  StoreStatus make_ordered();
  uint64_t sequence() const { return sequence_; }
  uint64_t size() const { return index_.keys(); }

 private:
  friend class SnapshotTaker;
  struct Pinned {
    Mapping* mapping = nullptr;
    uint64_t file_id = 0;
  };
  StoreStatus corrupt(const Mapping& mapping, uint64_t offset, const char* what) const;
  StoreStatus check(Mapping& mapping, const Record& record) const;
  // False: `each` wants no more.
  StoreStatus give(Location at, const Snapshot::Each& each, bool& more) const;
  StoreStatus in_order(std::optional<std::string_view> start, std::optional<std::string_view> end,
                       std::vector<uint64_t>& places, const Snapshot::Corrupt& corrupt) const;
  std::string_view key_at(uint64_t place) const;

  Index index_;
  std::vector<Pinned> rows_;
  std::vector<Location> places_;   // sorted
  std::vector<uint64_t> ordered_;  // by key, as in a slot without its tag; only if it was asked for
  bool is_ordered_ = false;
  uint64_t sequence_ = 0, now_ms_ = 0;
  std::string path_;
};

}  // namespace spillway::segstore

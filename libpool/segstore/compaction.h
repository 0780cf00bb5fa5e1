// compaction.h - giving back the space of dead records: new segments, mostly one, from some victims.
//
// Segments with much that is dead are victims: what lives in them is copied to a new segment (or more, where
// alignment or removes that must stay take more room than one has), with the
// sequence numbers it had, and they are unlinked. Order: copies on the device -> everything on the device
// that made the rest dead -> slots pointed to the copies -> manifest without the victims -> unlink. A crash
// anywhere in between leaves copies without a footer, which a recovery removes, records twice, which is
// harmless, or a file that the manifest no longer counts.
//
// A remove is kept as long as another segment may hold an older put of its key. A victim with a record that
// lives and cannot be copied, as it is damaged, stays: gets of its key say so.
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "libpool/segstore/writer.h"

namespace spillway::segstore {

class Compaction {
 public:
  Compaction(Writer& writer, std::vector<uint32_t> victims) : w_(writer), victims_(std::move(victims)) {}
  ~Compaction() {
    for (Victim& victim : mapped_) victim.mapping->unpin();
  }

  StoreStatus run();

 private:
  struct Victim {
    uint32_t row;
    Mapping* mapping;
    uint64_t used;
    bool is_solo;
    bool is_damaged = false;  // it may have to stay
  };
  struct Item {
    Mapping* mapping;
    uint64_t offset, full_hash;
    uint32_t row;
    bool to_remove;           // an expired put that must leave a remove behind
    bool if_others_may_hold;  // a remove, or what becomes one
    uint64_t new_offset = 0, new_bytes = 0;
    uint32_t new_row = 0;
  };
  // One that is being made, and which of items_ go into it.
  struct Output {
    std::shared_ptr<OpenSegment> segment;
    size_t first = 0, end = 0;
    uint64_t least_sequence = UINT64_MAX, max_sequence = 0;
  };

  StoreStatus map_victims();
  void choose();
  bool is_pointed_to(uint32_t hash, Location at) const;
  bool others_may_hold(uint64_t hash, uint64_t sequence);
  StoreStatus copy();
  Output lay_out(size_t first);
  StoreStatus copy(Output& output);
  StoreStatus publish();
  StoreResult<std::shared_ptr<OpenSegment>> create(uint64_t capacity, uint64_t base_sequence);
  void repoint();
  StoreStatus drop();

  Writer& w_;
  std::vector<uint32_t> victims_;
  std::vector<Victim> mapped_;
  std::vector<Item> items_;
  std::vector<std::pair<uint32_t, Location>> expired_;
  std::vector<Output> outputs_;
};

}  // namespace spillway::segstore

// recovery.h - an index made anew from the segments, whatever became of everything else.
//
// Sealed segments say in their footers what they hold; others are read from front to back. The highest
// sequence number of a key wins, wherever it lies. For the writer it also mends: records that do not count
// (a batch without its end, what came after a write that a power cut took) are blotted out, torn ends wiped,
// segments flushed and sealed, files that were dropped or never finished removed.
//
// What counts after a power cut: everything up to the first missing sequence number, and everything that was
// known to be on the device. While the machine has stayed up, nothing can be missing but by damage, and then
// every intact record counts.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "libpool/segstore/control.h"
#include "libpool/segstore/files.h"
#include "libpool/segstore/index.h"
#include "libpool/segstore/manifest.h"
#include "libpool/segstore/scan.h"
#include "spillway/store.hpp"

namespace spillway::segstore {

struct Recovered {
  Manifest manifest;
  Index index;
  uint64_t last_sequence = 0;
  uint64_t next_file_id = 1;
  // Files that are kept, though nothing can be read of them.
  std::vector<uint64_t> unreadable;
  // The segment a clean close left open: its row plus one, and where its records end.
  uint64_t open_row = 0, open_used = 0, open_records = 0;
};

struct RecoveryInput {
  int directory;
  std::string path;
  Files* files = nullptr;                 // null: only look, mend nothing
  const ControlBlock* control = nullptr;  // null: there is none
  std::string boot_id;
  std::function<Result<Index>(uint64_t keys)> make_index;
};

// kNotAStore: no segment and no manifest.
StoreResult<std::unique_ptr<Recovered>> recover(const RecoveryInput& input);
// Whether there is a store at all.
bool is_store(int directory);
// kNotAStore: there is none, or one that another version of this library made; kIo: it is another user's.
StoreStatus check_is_store(int directory, const std::string& path);

}  // namespace spillway::segstore

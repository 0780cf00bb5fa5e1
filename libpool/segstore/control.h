// control.h - the file CONTROL: where the index is now, and how the last writer left the store.
//
// One page in the store's directory, made once and never replaced, that every process maps: readers look at
// `generation` with each get, and so notice a new index whatever became of the old one's file.
// Always: generation is even, or a writer is about to name another index.
#pragma once
#include <string>

#include "base/core/page_range.h"
#include "base/core/result.h"
#include "base/os/directory.h"
#include "libpool/segstore/format.h"
#include "libpool/segstore/index.h"

namespace spillway::segstore {

struct ControlBlock {
  uint64_t magic;
  uint64_t generation;
  char index_path[1024];  // absolute, or a name in the store's directory
  char boot_id[40];       // of the last writer
  StoreId store;
  // What was known to be on the device, at some time. Never too much: it is set after the flush.
  uint64_t durable_sequence;
  // After a clean close: the segment to go on with, where its records end, and the last write.
  uint64_t is_clean;
  uint64_t active_file_id, active_used, active_records, last_sequence;
  // A flush failed: the kernel may call pages clean that are not on the device.
  uint64_t flush_failed;
  // Where other processes hand in writes; as index_path. Odd: the writer will make it soon. "": it serves
  // nobody.
  uint64_t ring_generation;
  char ring_path[1024];
  // Of the last write, or of the writer's close: no record that had expired by then is alive again, whatever
  // the machine's clock says now.
  uint64_t latest_clock_ms;
};
static_assert(sizeof(ControlBlock) <= kPageBytes);

class Control {
 public:
  Control() = default;
  Control(Control&& other) noexcept { *this = std::move(other); }
  Control& operator=(Control&& other) noexcept;
  ~Control();

  static Result<Control> open(int directory);    // read-only. ENOENT, EINVAL
  static Result<Control> create(int directory);  // read-write; a damaged one is begun anew
  bool is_open() const { return !range_.empty(); }
  ControlBlock& block() const { return *reinterpret_cast<ControlBlock*>(range_.base); }
  uint64_t generation() const { return load(block().generation); }
  // The path, if it was not changed meanwhile; the generation it belongs to.
  bool read_index_path(std::string& path, uint64_t& generation) const;
  void write_index_path(const std::string& path, uint64_t generation);
  uint64_t ring_generation() const { return load(block().ring_generation); }
  bool read_ring_path(std::string& path, uint64_t& generation) const;
  void write_ring_path(const std::string& path, uint64_t generation);
  Errno flush() const { return os::flush_data(fd_.get()); }

 private:
  PageRange range_;
  os::Fd fd_;  // the writer's
};

}  // namespace spillway::segstore

// procfs.h - what the kernel tells about this process. Small buffers, no heap: some of it is asked inside
// malloc.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/core/page_range.h"
#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway::os {

// The file's text, cut to bytes - 1, terminated. False: it cannot be read.
bool read_text(const char* path, char* buffer, size_t bytes);
// The number after "key" at the start of a line; 0 when there is none.
uint64_t field(const char* text, const char* key);

struct MemoryUse {
  uint64_t anonymous_bytes = 0;  // resident private memory
  uint64_t file_bytes = 0;       // resident pages of files, shared memory included
};

// Reads /proc/self/statm again and again through one descriptor: opening it each time would take, for a
// moment, the lowest free number, which the program may be about to get from its own open().
class MemoryMeter {
 public:
  MemoryMeter();
  // Zeroes when the kernel does not tell.
  MemoryUse read() const;

 private:
  Fd fd_;
};

struct ProcessTotals {
  uint64_t peak_resident_bytes = 0;
  uint64_t storage_read_bytes = 0;     // by this process, as the kernel accounts it
  uint64_t storage_written_bytes = 0;  // when a page is dirtied, the write is this process's
  uint64_t major_faults = 0;
};
ProcessTotals process_totals();
uint64_t major_faults();

// "/proc/PID/map_files/START-END" of the file mapping around the address, which opens the file also when
// nothing else names it (root, CAP_CHECKPOINT_RESTORE). False: no such mapping, or this user may not.
bool mapped_file_path(const void* address, char* path, size_t bytes);

int process_id();
// Without its directories.
const char* program_name();

// Ids of the threads of this process, without touching the heap: some may stand still while they hold its
// locks.
class ThreadList {
 public:
  ThreadList();
  // The next id, or 0 at the end.
  int next();

 private:
  Fd directory_;
  alignas(8) char buffer_[2048];
  long filled_ = 0;
  long at_ = 0;
};

// The mappings of this process in the order of their addresses, from /proc/self/maps. What changes behind the
// last one that was returned does no harm.
class MappingList {
 public:
  Errno open();
  struct Entry {
    PageRange range;
    int protection = 0;  // PROT_READ and so on
    bool is_shared = false;
    uint64_t inode = 0;  // of the file; 0: none
  };
  // False: that were all.
  bool next(Entry& entry);

 private:
  Fd fd_;
  char buffer_[2048];
  size_t filled_ = 0, at_ = 0;
};

// Which pages of this process are present, from /proc/self/pagemap.
class PageTable {
 public:
  Errno open();
  bool is_open() const { return fd_.valid(); }
  struct Count {
    uint64_t present = 0;
    uint64_t anonymous = 0;  // present or swapped, and not a page of a file: the process's own copy
  };
  // Pages within the range. Zero counts when the kernel does not tell.
  Count count(PageRange range) const;
  // present[i]: page i of the range is; of 512 at most. All false when the kernel does not tell.
  void look(PageRange range, bool* present) const;

 private:
  Fd fd_;
};

}  // namespace spillway::os

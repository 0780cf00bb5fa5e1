// heap_fixture.h - the process's heap of large blocks as a test wants it: a backing, a directory of its own
// for region files, and as good as new afterwards.
//
// Files are kept to 1 GiB, so that a chunk is forgotten with its last block: nothing of one test is left for
// the next.
#pragma once
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "libpreload/backing/directory.h"
#include "libpreload/large.h"
#include "libpreload/settings.h"
#include "tests/support/scratch_dir.h"

namespace spillway::test {

inline bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

// Another value while the object lives.
template <typename T, typename Where = T>
class Set {
 public:
  Set(Where& where, T value) : where_(where), before_(where) { where_ = value; }
  ~Set() { where_ = before_; }
  Set(const Set&) = delete;
  Set& operator=(const Set&) = delete;

 private:
  Where& where_;
  T before_;
};

class SoftLimit {
 public:
  SoftLimit(__rlimit_resource resource, rlim_t value) : resource_(resource) {
    ::getrlimit(resource_, &before_);
    const rlimit now{value, before_.rlim_max};
    ::setrlimit(resource_, &now);
  }
  ~SoftLimit() { ::setrlimit(resource_, &before_); }
  SoftLimit(const SoftLimit&) = delete;
  SoftLimit& operator=(const SoftLimit&) = delete;

 private:
  __rlimit_resource resource_;
  rlimit before_{};
};

using BackingChoice = Settings::BackingChoice;

class HeapFixture {
 public:
  explicit HeapFixture(BackingChoice backing) : backing_(settings.backing, backing) {
    large_heap.trim();
    large_heap.retire_chunks();
    (void)region_directory.change(directory.path().c_str());
  }
  ~HeapFixture() { large_heap.trim(); }

  ScratchDir directory;

 private:
  Set<BackingChoice> backing_;
  SoftLimit small_files_{RLIMIT_FSIZE, kGiB};
};

// A block of the heap, freed with the object.
class Block {
 public:
  explicit Block(uint64_t bytes, uint64_t alignment = kExtentBytes, bool zeroed = false)
      : data_(static_cast<char*>(large_heap.allocate(bytes, alignment, zeroed))) {}
  ~Block() { free(); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  char* data() const { return data_; }
  Region& region() const { return *LargeHeap::block_at(data_); }
  bool grow_or_shrink(uint64_t bytes) { return large_heap.resize_in_place(region(), bytes); }
  bool move(uint64_t bytes) {
    void* moved = large_heap.move(region(), bytes);
    if (moved != nullptr) data_ = static_cast<char*>(moved);
    return moved != nullptr;
  }
  void free() {
    if (data_ != nullptr) large_heap.release(region());
    data_ = nullptr;
  }

 private:
  char* data_;
};

// One word per page: enough to tell every page from every other.
inline void stamp(char* data, uint64_t bytes, uint64_t seed) {
  for (uint64_t at = 0; at + sizeof seed <= bytes; at += kPageBytes) {
    const uint64_t word = seed ^ (at * 0x9E3779B97F4A7C15u);
    memcpy(data + at, &word, sizeof word);
  }
}
inline bool has_stamp(const char* data, uint64_t bytes, uint64_t seed) {
  for (uint64_t at = 0; at + sizeof seed <= bytes; at += kPageBytes) {
    const uint64_t word = seed ^ (at * 0x9E3779B97F4A7C15u);
    if (memcmp(data + at, &word, sizeof word) != 0) return false;
  }
  return true;
}
// Looks at the words that stamp() writes.
inline bool is_zero(const char* data, uint64_t bytes) {
  const uint64_t zero = 0;
  for (uint64_t at = 0; at + sizeof zero <= bytes; at += kPageBytes)
    if (memcmp(data + at, &zero, sizeof zero) != 0) return false;
  return true;
}

}  // namespace spillway::test

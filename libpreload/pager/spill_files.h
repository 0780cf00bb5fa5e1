// spill_files.h - where evicted extents of a chunk are: one sparse file in which every extent has the offset
// it has in the chunk, so that neighbours stay neighbours. A fork freezes it, since the child reads it, too:
// what is evicted later goes to a new file, and the old one goes when no extent needs it any more.
//
// The files are unlinked from birth. Their descriptors are in the table of the pager's threads, so only those
// may use them; the caller holds the pager's lock for everything but read and write.
#pragma once
#include <atomic>
#include <cstdint>

#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway {

class SpillFiles {
 public:
  static constexpr int kMost = 200;
  // Each fork leaves one behind, as long as one of its extents is not written anew; and its child gets them
  // all.
  static constexpr int kMany = 16, kTooMany = kMost / 2;
  // Of an extent whose bytes are in the compressed store instead.
  static constexpr uint8_t kCompressed = 255;

  // The file that is written to now; opened when there is none. 0 and the reason: none can be had.
  uint8_t current(const char* directory, uint64_t bytes, Errno& error);

  Errno read(uint8_t file, char* to, uint64_t bytes, uint64_t offset) const;
  Errno write(uint8_t file, const char* from, uint64_t bytes, uint64_t offset) const;
  int descriptor(uint8_t file) const { return fd_[file] - 1; }
  // Not frozen.
  bool may_write(uint8_t file) const { return file == current_; }
  Errno preallocate(uint8_t file, uint64_t offset, uint64_t bytes) const;

  // An extent's bytes are in the file from now on, or no longer.
  void refer(uint8_t file) {
    count_ += extents_[file]++ == 0;
    if (++on_disk > most_on_disk) most_on_disk = on_disk.load();
  }
  void forget(uint8_t file);
  // Gives space of the current file back.
  void punch(uint64_t offset, uint64_t bytes) const;

  // Nobody writes any more to files that a child may read.
  void freeze() {
    if (extents_[current_] != 0) current_ = 0;
  }
  // Some extent's bytes are in some file.
  bool any() const;
  // Extents that are in files of this process, or were at most, of all chunks.
  static inline std::atomic<uint64_t> on_disk = 0, most_on_disk = 0;
  // That have extents.
  int count() const { return count_; }
  // Of the frozen ones that with the fewest extents; 0: there is none.
  uint8_t smallest() const;
  void close_all();
  // In a child whose parent's they are.
  void forget_all();

  // Around a fork. The thread that forks gets the files into its own table, from where the child's pager
  // fetches them.
  Errno send_for_child(int socket) const;
  Errno receive_for_child(int socket);
  void close_for_child();
  Errno adopt();
  int descriptor_for_child(uint8_t file) const { return for_child_[file] - 1; }

 private:
  int fd_[kMost] = {};         // +1, so that zero is none
  int for_child_[kMost] = {};  // +1
  uint32_t extents_[kMost] = {};
  int count_ = 0;
  uint8_t current_ = 0;
};

// After a write has failed nothing is written for a second: what cannot leave would come back and leave
// again, and a full disk may have room later. Says so in one line, the first time.
class WriteErrors {
 public:
  bool may_write() const;
  void failed(const char* directory, Errno error);

 private:
  uint64_t again_ms_ = 0;
  bool said_ = false;
};

}  // namespace spillway

// loop_disk.h - a small ext4 file system on a loop device, for tests that fill a disk.
//
// Needs root and loop devices: ask LoopDisk::possible() first. The destructor unmounts, detaches and deletes;
// a disk left by a killed runner is removed by the next one (leftovers.h).
#pragma once
#include <cstddef>
#include <string>

#include "tests/support/scratch_dir.h"

namespace spillway::test {

class LoopDisk {
 public:
  explicit LoopDisk(size_t bytes);
  ~LoopDisk();
  LoopDisk(const LoopDisk&) = delete;
  LoopDisk& operator=(const LoopDisk&) = delete;

  static bool possible();  // false: says SKIPPED and why

  const std::string& path() const { return mount_point_; }  // everybody may write
  size_t free_bytes() const;
  // Writes zeros into a file of the disk until only `left` bytes are free.
  void fill_up(size_t left = 0) const;
  // From now on reads and writes fail with EIO.
  void fail() const;

 private:
  ScratchDir dir_;
  std::string mount_point_, device_;
};

// Unmounts and detaches disks whose runner no longer lives.
void remove_stale_loop_disks();

}  // namespace spillway::test

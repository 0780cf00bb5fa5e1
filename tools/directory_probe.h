// directory_probe.h - the directory that spill files would go to: which one, on what, and what it can do.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace spillway::tools {

struct Directory {
  std::string path;
  std::string chosen_by;  // "--dir", "SPILLWAY_DIR", "TMPDIR" or "the default"
  // The directory that was asked for, by which of these, and why it is not used. "": it is, or none was.
  std::string passed_over, passed_over_for;
  int passed_over_error = 0;

  std::string file_system;  // "ext4"; "" when unknown
  std::string source;       // "/dev/sda1", "server:/export"
  std::string mount_point;
  std::string options;      // of the mount and of the file system
  uint64_t free_bytes = 0;  // for this user
  bool in_memory = false;   // tmpfs, ramfs

  // Each tried with a file that never had a name or has none any more: 0, or an errno.
  int create_error = 0;  // nothing below was tried when this is not 0
  int tmpfile_error = 0;
  int length_error = 0;  // of a sparse file as large as the library makes it
  int fallocate_error = 0;
  int punch_error = 0;

  // The block device or the network mount; "" and nullopt when it cannot be told.
  std::string disk;  // "sda", also for a partition of it
  std::string read_ahead_file;
  std::optional<uint64_t> read_ahead_kib;
  bool rotational = false;
};

// As the library chooses: `option` (of --dir), SPILLWAY_DIR or TMPDIR when it can hold files, else the first
// of /var/tmp and /tmp on a disk, else in memory.
Directory choose_directory(const std::string& option);

}  // namespace spillway::tools

// manifest.h - the list of what is on disk, so that a daemon that was killed is found again.
//
// Why a log: adding one record is one append, whole or not at all, and needs nothing else to be consistent. A
// record is its length, its checksum (XXH3) and its bytes; the first one that is damaged ends the log (a kill
// in the middle of an append), and the next start rewrites it whole. Always: an object is acknowledged as on
// disk after its record was appended, as erased after that record was. SIGKILL loses nothing that was
// appended; `sync` is for power cuts. Threads: one at a time, a worker's.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/os/file.h"

namespace spillway::pool {

// An object as it is on disk.
struct ManifestEntry {
  uint64_t id = 0, key = 0, bytes = 0, version = 0;
  uint32_t uid = 0, gid = 0, created_s = 0;
  uint16_t mode = 0;
  uint8_t hint = 0;
  bool durable = false, retained = false, users = false, raw = false;
  std::string name, tag, wanted_filters;
  // Where: a file by its path, or a pack of a directory.
  std::string path;
  std::string directory;
  uint64_t pack = 0, offset = 0, stored_bytes = 0, charge = 0, checksum = 0;
  std::vector<std::string> filters;
  std::vector<std::pair<std::string, std::string>> device_tags;
};

class Manifest {
 public:
  // Reads what is there. Empty: there was none. Says what is wrong, or nothing.
  std::string open(const std::string& path, std::vector<ManifestEntry>& entries);

  Errno add(const ManifestEntry& entry, bool sync);
  Errno remove(uint64_t id);
  Errno unname(uint64_t id);

  // Rewrites it as these entries alone.
  Errno rewrite(const std::vector<ManifestEntry>& entries);
  uint64_t appended_bytes() const { return appended_bytes_; }

 private:
  Errno append(std::string payload, bool sync);
  Errno append_or_owe(std::string payload);
  std::string path_;
  os::Fd fd_;
  uint64_t end_ = 0;
  std::string owed_;  // records that could not be written, to go before the next
  uint64_t appended_bytes_ = 0;
};

}  // namespace spillway::pool

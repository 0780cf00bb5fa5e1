// manifest.h - the list of what is on disk, so that a daemon that was killed is found again.
//
// Why a log: adding one record is one append, whole or not at all, and needs nothing else to be consistent. A
// record is its length, its checksum (XXH3) and its bytes. Before them are 32 bytes: "SPILLMAN", the version,
// the pool's number (directory_identity.h), their checksum; manifests of before had none. What is not whole
// at the end was not finished when its daemon was killed, and was not acknowledged. Damage elsewhere is
// passed over to the next record that is whole, and said, since what its records were about is not known
// then. The next start rewrites the log. Always: an object is acknowledged as on disk after its record was
// appended, as erased after that record was. SIGKILL loses nothing that was appended; `sync` is for power
// cuts. Threads: one at a time, a worker's.
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/os/file.h"
#include "libpool/wire/codec.h"

namespace spillway::pool {

// An object as it is on disk.
struct ManifestEntry {
  uint64_t id = 0, key = 0, bytes = 0, version = 0;
  uint32_t uid = 0, gid = 0, created_s = 0;
  uint16_t mode = 0;
  uint8_t hint = 0;
  bool durable = false, retained = false, users = false, raw = false;
  std::string name, tag, wanted_filters;
  // Where: a file by its path, or, by a daemon before the stores of small objects, a pack of a directory.
  std::string path;
  std::string directory;
  uint64_t pack = 0, offset = 0, stored_bytes = 0, charge = 0, checksum = 0;
  std::vector<std::string> filters;
  std::vector<std::pair<std::string, std::string>> device_tags;
  uint32_t kept_resident = 0;
};

struct ManifestContents {
  bool is_there = false;
  uint64_t pool = 0;  // 0: it does not say
  std::vector<ManifestEntry> entries;
  std::set<uint64_t> removed;  // objects that have gone, for certain
  uint64_t damaged_bytes = 0;
};

// Parts of records: what the object is, without where it is; and what few have, which ends a record. (A
// reader that has failed says so when asked.)
void write_facts(const ManifestEntry& entry, wire::Writer& to);
void read_facts(wire::Reader& from, ManifestEntry& entry);
void write_more(const ManifestEntry& entry, wire::Writer& to);
void read_more(wire::Reader& from, ManifestEntry& entry);

class Manifest {
 public:
  // Changes nothing. Says what is wrong, or nothing: a file that is no manifest, or of a newer version.
  static std::string read(const std::string& path, ManifestContents& contents);
  // It has these entries from now on.
  std::string begin(const std::string& path, uint64_t pool, const std::vector<ManifestEntry>& entries);
  const std::string& path() const { return path_; }

  Errno add(const ManifestEntry& entry, bool sync);
  Errno remove(uint64_t id);
  Errno unname(uint64_t id);

  // Rewrites it as these entries alone.
  Errno rewrite(const std::vector<ManifestEntry>& entries);
  uint64_t appended_bytes() const { return appended_bytes_; }

 private:
  Errno write_into(const os::Fd& fd, const std::vector<ManifestEntry>& entries) const;
  Errno append(std::string payload, bool sync);
  Errno append_or_owe(std::string payload);
  std::string path_;
  uint64_t pool_ = 0;
  os::Fd fd_;
  uint64_t end_ = 0;
  std::string owed_;  // records that could not be written, to go before the next
  uint64_t appended_bytes_ = 0;
};

}  // namespace spillway::pool

// manifest.h - the file MANIFEST: what the store is, and which segments it had when it was last written.
//
// Text, with a CRC in its last line; always replaced whole. It need not name every segment: a file numbered
// `next` or above is newer than the manifest and counts; one below that is not named was dropped, and is
// removed by the next writer. So only dropping segments needs a new manifest.
#pragma once
#include <optional>
#include <set>
#include <string>

#include "libpool/segstore/files.h"
#include "libpool/segstore/format.h"

namespace spillway::segstore {

struct Manifest {
  StoreId store;
  uint64_t hash_seed = 0;
  uint64_t next_file_id = 1;
  std::set<uint64_t> segments;
  std::set<uint64_t> pending;  // large values that were being written: they count like newer files

  bool counts(uint64_t file_id) const { return is_new(file_id) || segments.contains(file_id); }
  bool is_new(uint64_t file_id) const { return file_id >= next_file_id || pending.contains(file_id); }
};

std::string encode_manifest(const Manifest& manifest);
std::optional<Manifest> decode_manifest(const std::string& text);
// nullopt: there is none, or it is damaged (`is_damaged`).
std::optional<Manifest> read_manifest(int directory, bool& is_damaged);
// Of an intact manifest; 0: there is none, or it is damaged. What is not kFormatVersion is for another
// version of this library to read, and nothing of it to be made anew.
uint64_t manifest_format(int directory);
// Why it cannot be opened.
Errno manifest_error(int directory);
Errno write_manifest(Files& files, int directory, const Manifest& manifest);

}  // namespace spillway::segstore

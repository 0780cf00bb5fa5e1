// object_file.h - one object in a file of its own: a header page that says everything about it, then its
// bytes. The same format for what the daemon spills and for what a user saves, so that either can be read by
// mapping it.
//
//   0     magic "SPILLOBJ", version, flags
//   16    bytes of the object, bytes as stored, checksum (XXH3) of the stored bytes, id
//   ..    tag and filters (length and bytes each)
//   ..    of a file of a daemon's: what its manifest says, should that be damaged (Origin)
//   4088  checksum of the header page before it
//   4096  the stored bytes; without filters they are the object's own, so a mapping at 4096 is the object
//
// Threads: any; nothing here has state.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway::format {

inline constexpr uint64_t kDataOffset = 4096;
inline constexpr uint64_t kMaxTag = 2048;

struct Origin {
  uint64_t key = 0, version = 0;
  uint32_t uid = 0, gid = 0, created_s = 0;
  uint16_t mode = 0;
  bool durable = false;
  std::string name;
};

struct ObjectHeader {
  uint64_t id = 0;
  uint64_t bytes = 0;
  uint64_t stored_bytes = 0;
  uint64_t checksum = 0;
  std::string tag;
  std::vector<std::string> filters;
  std::optional<Origin> origin{};
};

// A step that is not built in. False: it failed, `why` says so.
using Filter =
    std::function<bool(std::string_view name, std::string_view in, std::string& out, std::string& why)>;

struct FileError {
  Errno code;        // what the kernel said; success: the bytes are wrong
  std::string what;  // empty: no error
  bool bad() const { return !what.empty(); }
};

// Header page of a file whose stored bytes are in place.
std::string encode_header(const ObjectHeader& header);
// False: not such a page, or a damaged one.
bool decode_header(std::string_view page, ObjectHeader& header);

// The first bytes of an empty file, so that one that is never finished can be told from somebody else's.
Errno begin_object(const os::Fd& file);
// Writes object and header into an empty file. `header` has id, tag and filters; the rest is filled in.
FileError write_object(const os::Fd& file, std::string_view object, ObjectHeader& header,
                       const Filter& users = nullptr);
// Reads header and length of the file, not the object.
FileError read_header(const os::Fd& file, ObjectHeader& header);
// Reads all of it into `object`, which has header.bytes bytes, verified.
FileError read_object(const os::Fd& file, const ObjectHeader& header, char* object,
                      const Filter& users = nullptr);
// A large one without filters into a memory file, verified. `file` is read past the page cache from now on.
FileError copy_object(const os::Fd& file, uint64_t offset, uint64_t bytes, const uint64_t* checksum,
                      const os::Fd& memory);
// The stored bytes are what was written, by reading them all.
FileError verify_object(const os::Fd& file, const ObjectHeader& header);

// Of the first `stored_bytes` behind the header page, which need not be there yet.
FileError checksum_file(const os::Fd& file, uint64_t stored_bytes, uint64_t& checksum);
// It begins like one, whether or not it is whole.
bool looks_like_object(const os::Fd& file);
uint64_t checksum_of(std::string_view bytes);

}  // namespace spillway::format

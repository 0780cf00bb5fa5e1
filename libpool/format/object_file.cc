#include "libpool/format/object_file.h"

#include <xxhash.h>

#include <cstring>

#include "base/os/memfd.h"
#include "base/os/sequential_reader.h"
#include "libpool/format/filters.h"
#include "libpool/wire/codec.h"
#include "libpool/wire/message.h"

namespace spillway::format {
namespace {

constexpr char kMagic[] = "SPILLOBJ";
constexpr uint32_t kVersion = 1;
constexpr uint32_t kOriginMark = 0x4749524f;  // "ORIG"; zeroes where there is none
// Objects are filtered in chunks of this size, each with its length in front, so that a filter's buffers do
// not grow with the object.
constexpr uint64_t kChunkBytes = 1u << 20;
constexpr uint64_t kMaxStoredChunk = 2u << 20;
constexpr size_t kSumAt = kDataOffset - sizeof(uint64_t);

FileError kernel(const char* what, Errno code) {
  return {code, std::string(what) + ": " + ::strerror(code.code())};
}
FileError damaged(const std::string& what) { return {Errno(), what}; }

class Hash {
 public:
  Hash() : state_(XXH3_createState()) {
    CHECK(state_ != nullptr, "no memory for a hash");
    XXH3_64bits_reset(state_);
  }
  ~Hash() { XXH3_freeState(state_); }
  Hash(const Hash&) = delete;
  Hash& operator=(const Hash&) = delete;
  void add(std::string_view piece) { XXH3_64bits_update(state_, piece.data(), piece.size()); }
  uint64_t value() const { return XXH3_64bits_digest(state_); }

 private:
  XXH3_state_t* state_;
};

// The stored bytes as they are written or read, in order, hashed on the way.
class Stream {
 public:
  Stream(const os::Fd& file) : file_(file) {}

  FileError write(std::string_view piece) {
    hash_.add(piece);
    if (Errno e = os::write_all(file_.get(), piece.data(), piece.size(), kDataOffset + at_); !e.ok())
      return kernel("writing", e);
    os::start_writeback(file_.get(), kDataOffset + at_, piece.size());
    at_ += piece.size();
    return {};
  }
  FileError read(char* into, uint64_t bytes, const ObjectHeader& header) {
    if (bytes > header.stored_bytes - at_) return damaged("it is damaged");
    if (Errno e = os::read_all(file_.get(), into, bytes, kDataOffset + at_); !e.ok())
      return kernel("reading", e);
    hash_.add({into, bytes});
    at_ += bytes;
    return {};
  }
  uint64_t at() const { return at_; }
  uint64_t checksum() const { return hash_.value(); }

 private:
  const os::Fd& file_;
  Hash hash_;
  uint64_t at_ = 0;
};

// A chunk of the object through the chain, forwards or backwards.
FileError filter_chunk(const std::vector<std::string>& chain, bool undo, std::string& chunk, uint64_t most,
                       const Filter& users) {
  std::string next, why;
  for (size_t i = 0; i < chain.size(); ++i) {
    const std::string& name = undo ? chain[chain.size() - 1 - i] : chain[i];
    const bool good = !is_builtin_filter(name) ? users && users(name, chunk, next, why)
                      : undo                   ? undo_filter(name, chunk, next, most, why)
                                               : apply_filter(name, chunk, next, why);
    if (!good) return damaged("filter " + name + ": " + (why.empty() ? "no filter of this name" : why));
    chunk.swap(next);
  }
  return {};
}

FileError write_stored(Stream& stream, std::string_view object, const ObjectHeader& header,
                       const Filter& users) {
  for (uint64_t at = 0; at < object.size(); at += kChunkBytes) {
    const std::string_view chunk = object.substr(at, kChunkBytes);
    if (header.filters.empty()) {
      if (FileError e = stream.write(chunk); e.bad()) return e;
      continue;
    }
    std::string filtered(chunk);
    if (FileError e = filter_chunk(header.filters, false, filtered, 0, users); e.bad()) return e;
    const uint32_t length = static_cast<uint32_t>(filtered.size());
    filtered.insert(0, reinterpret_cast<const char*>(&length), sizeof length);
    if (FileError e = stream.write(filtered); e.bad()) return e;
  }
  return {};
}

FileError read_filtered(Stream& stream, const ObjectHeader& header, char* object, const Filter& users) {
  std::string chunk;
  for (uint64_t at = 0; at < header.bytes; at += kChunkBytes) {
    const uint64_t bytes = std::min(kChunkBytes, header.bytes - at);
    uint32_t length = 0;
    if (FileError e = stream.read(reinterpret_cast<char*>(&length), sizeof length, header); e.bad()) return e;
    if (length > kMaxStoredChunk) return damaged("it is damaged");
    chunk.resize(length);
    if (FileError e = stream.read(chunk.data(), length, header); e.bad()) return e;
    if (FileError e = filter_chunk(header.filters, true, chunk, kMaxStoredChunk, users); e.bad()) return e;
    if (chunk.size() != bytes) return damaged("it holds other bytes than its header says");
    memcpy(object + at, chunk.data(), bytes);
  }
  return {};
}

}  // namespace

uint64_t checksum_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string encode_header(const ObjectHeader& header) {
  wire::Writer w;
  w.data() = kMagic;
  w.number(kVersion).number(uint32_t{0}).number(header.bytes).number(header.stored_bytes);
  w.number(header.checksum).number(header.id).bytes(header.tag);
  w.number(static_cast<uint32_t>(header.filters.size()));
  for (const std::string& filter : header.filters) w.bytes(filter);
  if (header.origin) {
    const Origin& o = *header.origin;
    w.number(kOriginMark).number(o.key).number(o.version).number(o.uid).number(o.gid).number(o.created_s);
    w.number(o.mode).number(static_cast<uint8_t>(o.durable)).bytes(o.name);
  }
  std::string page = w.take();
  CHECK(page.size() <= kSumAt, "a header page that is full");
  page.resize(kSumAt);
  const uint64_t sum = checksum_of(page);
  page.append(reinterpret_cast<const char*>(&sum), sizeof sum);
  return page;
}

bool decode_header(std::string_view page, ObjectHeader& header) {
  uint64_t sum = 0;
  if (page.size() != kDataOffset || !page.starts_with(kMagic)) return false;
  memcpy(&sum, page.data() + kSumAt, sizeof sum);
  if (checksum_of(page.substr(0, kSumAt)) != sum) return false;
  wire::Reader r(page.substr(strlen(kMagic)));
  if (r.number<uint32_t>() != kVersion) return false;
  (void)r.number<uint32_t>();
  header.bytes = r.number<uint64_t>();
  header.stored_bytes = r.number<uint64_t>();
  header.checksum = r.number<uint64_t>();
  header.id = r.number<uint64_t>();
  header.tag = r.bytes(kMaxTag);
  const uint32_t filters = r.number<uint32_t>();
  if (filters > 16) return false;
  header.filters.clear();
  for (uint32_t i = 0; i < filters; ++i) header.filters.emplace_back(r.bytes(64));
  header.origin.reset();
  if (r.ok() && r.left() >= sizeof kOriginMark && r.number<uint32_t>() == kOriginMark) {
    Origin o;
    o.key = r.number<uint64_t>();
    o.version = r.number<uint64_t>();
    o.uid = r.number<uint32_t>();
    o.gid = r.number<uint32_t>();
    o.created_s = r.number<uint32_t>();
    o.mode = r.number<uint16_t>();
    o.durable = r.number<uint8_t>() != 0;
    o.name = r.bytes(wire::kMaxNameBytes);
    header.origin = std::move(o);
  }
  return r.ok() && (!header.filters.empty() || header.bytes == header.stored_bytes);
}

Errno begin_object(const os::Fd& file) { return os::write_all(file.get(), kMagic, strlen(kMagic), 0); }

FileError write_object(const os::Fd& file, std::string_view object, ObjectHeader& header,
                       const Filter& users) {
  Stream stream(file);
  if (FileError e = write_stored(stream, object, header, users); e.bad()) return e;
  header.bytes = object.size();
  header.stored_bytes = stream.at();
  header.checksum = stream.checksum();
  const std::string page = encode_header(header);
  if (Errno e = os::write_all(file.get(), page.data(), page.size(), 0); !e.ok()) return kernel("writing", e);
  return {};
}

FileError read_header(const os::Fd& file, ObjectHeader& header) {
  std::string page(kDataOffset, '\0');
  const uint64_t length = os::length_of(file.get());
  if (length < kDataOffset) return damaged("it is too short for an object");
  if (Errno e = os::read_all(file.get(), page.data(), page.size(), 0); !e.ok()) return kernel("reading", e);
  if (!decode_header(page, header)) return damaged("its header is damaged");
  if (length - kDataOffset < header.stored_bytes) return damaged("it is truncated");
  return {};
}

FileError read_object(const os::Fd& file, const ObjectHeader& header, char* object, const Filter& users) {
  Stream stream(file);
  FileError filtered;
  if (!header.filters.empty()) {
    filtered = read_filtered(stream, header, object, users);
  } else {
    for (uint64_t at = 0; at < header.bytes; at += kChunkBytes)
      if (FileError e = stream.read(object + at, std::min(kChunkBytes, header.bytes - at), header); e.bad())
        return e;
  }
  // A damaged byte is what it is, whatever the filter made of it.
  if (filtered.bad()) return filtered;
  if (stream.at() != header.stored_bytes || stream.checksum() != header.checksum)
    return damaged("its checksum differs");
  return {};
}

// Written, not mapped: a page that is written whole need not be zeroed first, nor entered in a page table.
FileError copy_object(const os::Fd& file, uint64_t offset, uint64_t bytes, const uint64_t* checksum,
                      const os::Fd& memory) {
  thread_local os::SequentialReader reader;
  if (Errno e = reader.start(file.get(), offset, bytes); !e.ok()) return kernel("reading", e);
  Hash hash;
  for (uint64_t at = 0; at < bytes;) {
    Result<os::SequentialReader::Piece> piece = reader.next();
    if (!piece) return kernel("reading", piece.error());
    if (checksum) hash.add({piece->data, piece->bytes});
    if (Errno e = os::write_all(memory.get(), piece->data, piece->bytes, at); !e.ok())
      return kernel("memory for it", e);
    at += piece->bytes;
  }
  if (checksum && hash.value() != *checksum) return damaged("its checksum differs");
  return {};
}

FileError checksum_file(const os::Fd& file, uint64_t stored_bytes, uint64_t& checksum) {
  ObjectHeader header;
  header.stored_bytes = stored_bytes;
  Stream stream(file);
  std::string chunk(kChunkBytes, '\0');
  while (stream.at() < stored_bytes) {
    const uint64_t bytes = std::min(kChunkBytes, stored_bytes - stream.at());
    if (FileError e = stream.read(chunk.data(), bytes, header); e.bad()) return e;
  }
  checksum = stream.checksum();
  return {};
}

FileError verify_object(const os::Fd& file, const ObjectHeader& header) {
  uint64_t sum = 0;
  if (FileError e = checksum_file(file, header.stored_bytes, sum); e.bad()) return e;
  return sum == header.checksum ? FileError{} : damaged("its checksum differs");
}

bool looks_like_object(const os::Fd& file) {
  char magic[sizeof kMagic - 1];
  return os::read_all(file.get(), magic, sizeof magic, 0).ok() && memcmp(magic, kMagic, sizeof magic) == 0;
}

}  // namespace spillway::format

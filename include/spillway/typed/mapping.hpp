// mapping.hpp - memory for blobs: a file, or a part of one, mapped; anonymous memory; a memfd, sealed when it
// is written; a copy. Each gives a region that keeps the mapping alive for as long as a blob uses it.
//
// Offsets need not be multiples of a page. A file must not be truncated while it is mapped: the kernel
// answers reads past its end with SIGBUS; publish a new file by rename instead (file_sink does). Errors are
// thrown as `failure`: io, out_of_range.
#pragma once
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "spillway/typed/blob.hpp"
#include "spillway/typed/os_file.hpp"

#ifndef F_GET_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#define F_SEAL_WRITE 8
#endif
#ifndef MFD_ALLOW_SEALING
#define MFD_ALLOW_SEALING 2u
#endif

namespace spillway::typed {

struct map_options {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;  // 0: to the end of the file
  bool writable = false;    // in-place set() reaches the file
};

namespace detail {

inline region map_pages(void* at, std::uint64_t skip, std::uint64_t bytes, sharing access, bool writable) {
  std::shared_ptr<void> owner(at, [total = skip + bytes](void* p) { ::munmap(p, total); });
  return {static_cast<std::byte*>(at) + skip, bytes, access, writable, std::move(owner)};
}

}  // namespace detail

// An open file. The descriptor may be closed afterwards. A memfd sealed against writing counts as memory that
// nobody else can write; any other file does not, whatever its mode says.
inline region map_fd(int file, const map_options& o = {}, const std::string& name = "a file") {
  struct stat st;
  if (::fstat(file, &st) != 0) detail::fail_io("examining " + name);
  if (S_ISDIR(st.st_mode)) detail::fail_io("mapping " + name, EISDIR);
  const auto size = static_cast<std::uint64_t>(st.st_size);
  if (o.offset > size || o.bytes > size - o.offset)
    fail(errc::out_of_range, "mapping " + name + ": it has only " + std::to_string(size) + " bytes");
  const std::uint64_t bytes = o.bytes ? o.bytes : size - o.offset;
  if (bytes == 0) return {};
  const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)), skip = o.offset % page;
  void* at = ::mmap(nullptr, skip + bytes, o.writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, file,
                    static_cast<off_t>(o.offset - skip));
  if (at == MAP_FAILED) detail::fail_io("mapping " + name);
  const int seals = ::fcntl(file, F_GET_SEALS);
  const bool sealed = seals >= 0 && (seals & F_SEAL_WRITE) && (seals & F_SEAL_SHRINK);
  return detail::map_pages(at, skip, bytes, sealed ? sharing::exclusive : sharing::shared, o.writable);
}

inline region map_file(const std::string& path, const map_options& o = {}) {
  const detail::fd file(::open(path.c_str(), (o.writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  if (!file) detail::fail_io("opening " + path);
  return map_fd(file.get(), o, path);
}

// Zeroed memory. `shared_with_children`: forked processes see each other's writes.
inline region map_anonymous(std::uint64_t bytes, bool shared_with_children = false) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_ANONYMOUS | (shared_with_children ? MAP_SHARED : MAP_PRIVATE), -1, 0);
  if (at == MAP_FAILED) detail::fail_io("mapping memory");
  return detail::map_pages(at, 0, bytes, sharing::shared, true);
}

// The same bytes in memory of this program alone, ready to be verified. `mine` must not change meanwhile.
inline region copy_of(std::span<const std::byte> mine) {
  region r = map_anonymous(mine.empty() ? 1 : mine.size());
  if (!mine.empty()) std::memcpy(r.base, mine.data(), mine.size());
  r.bytes = mine.size(), r.access = sharing::exclusive, r.writable = false;
  return r;
}

// A memfd holding these bytes, sealed: whoever receives the descriptor may verify it without a copy. Returns
// the descriptor, which the caller closes.
inline int sealed_memfd(const char* name, std::span<const std::byte> data) {
  detail::fd file(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) detail::fail_io("making a memfd");
  detail::write_at(file.get(), data.data(), data.size(), 0, "a memfd");
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
    detail::fail_io("sealing a memfd");
  return file.release();
}

}  // namespace spillway::typed

// buffers.h - memory of large objects that is used again: a session's erased object leaves its pages to the
// session's next one.
//
// Why: making a page, zeroing it and entering it in page tables costs more than copying into it; a program
// that puts and erases in turn pays for that once. Why by the same session only: nobody can take a writable
// mapping back, and F_SEAL_WRITE, which would refuse one, ends a file's use. So what a session may write to
// holds this session's objects and no others, and only those that their owner alone may read; the library
// write-protects its mapping while an object is published. All others have no writable descriptor. When the
// session ends, the kernel seals what is left for good. Objects of other modes lie in sealed files of their
// own.
//
// Always: idle_bytes() is the memory of buffers that no object lies in; it is counted beside what objects
// were charged, and given up before anything is evicted. Threads: the loop's.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/os/memfd.h"
#include "base/os/process.h"

namespace spillway::pool {

struct Buffer {
  uint32_t id = 0;  // beside those of slabs: the upper half of the numbers
  uint64_t owner = 0;
  uint64_t file_bytes = 0;
  uint64_t warm_bytes = 0;  // at its beginning, that have memory
  uint64_t idle_since_ms = 0;
  os::Fd fd, read_only;
  std::vector<uint64_t> mapped_by;  // sessions that were given the read-only descriptor
};

class Buffers {
 public:
  using Gone = std::function<void(uint64_t session, uint32_t buffer)>;
  // What frees the pages of a file, of which it has so many bytes, sooner or later.
  using Free = std::function<void(os::Fd file, uint64_t file_bytes, uint64_t warm_bytes)>;
  Buffers(Gone gone, Free free) : gone_(std::move(gone)), free_(std::move(free)) {}

  // One of the session's that is idle and fits. Null: none.
  std::unique_ptr<Buffer> take(uint64_t session, uint64_t bytes);
  // A new one. Null without an error: the session has as many as it may.
  Result<std::unique_ptr<Buffer>> make(uint64_t session, uint64_t bytes);
  // Its object is gone. warm_bytes 0: what it has is not known, and it is not used again.
  void give_back(std::unique_ptr<Buffer> buffer, uint64_t now_ms);
  void close(uint64_t session);
  // Gives up what was idle longest, until no more than so much is.
  void shrink_to(uint64_t bytes);
  void drop_idle_since(uint64_t before_ms);
  uint64_t idle_bytes() const { return idle_bytes_; }

 private:
  struct Owned {
    std::vector<Buffer*> busy;
    std::vector<std::unique_ptr<Buffer>> idle;  // oldest first
  };
  void drop(std::unique_ptr<Buffer> buffer);
  void drop_oldest(Owned& owned);

  Gone gone_;
  Free free_;
  std::unordered_map<uint64_t, Owned> owned_;
  uint32_t last_id_ = static_cast<uint32_t>(os::random_number());
  uint64_t idle_bytes_ = 0;
};

}  // namespace spillway::pool

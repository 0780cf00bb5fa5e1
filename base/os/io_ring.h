// io_ring.h - reads and writes that go on by themselves, and one place to wait for them and for a descriptor
// (io_uring). Without io_uring each is done when it is asked for.
//
// For one thread, which opens, uses and waits; only wake() is for others.
#pragma once
#include <liburing.h>

#include <cstdint>

#include "base/core/result.h"

namespace spillway::os {

class IoRing {
 public:
  static constexpr unsigned kDepth = 64;

  // Begins to watch `descriptor` for something to read. `asynchronous` false: without io_uring. EMFILE,
  // ENFILE.
  Errno open(int descriptor, bool asynchronous);

  // Whole: a short read or write is EIO. No more than kDepth at once. They start with submit() or wait().
  void read(int fd, void* to, uint32_t bytes, uint64_t offset, uint32_t tag);
  void write(int fd, const void* from, uint32_t bytes, uint64_t offset, uint32_t tag);
  void submit();

  struct Done {
    uint32_t tag;
    Errno error;
  };
  // Those that are through, without waiting. 0: none.
  int finished(Done* done, int most);
  // Until something is through, or the descriptor can be read, or somebody calls wake(), or the time is over.
  void wait(int timeout_ms);
  void wake();

 private:
  void drain();
  io_uring_sqe* prepare();
  void watch(int descriptor, uint64_t name, bool& is_watched);
  void finish(uint32_t tag, Errno error) { at_once_[at_once_count_++] = {tag, error}; }

  io_uring ring_{};
  bool open_ = false;
  int descriptor_ = -1;
  int event_ = -1;
  bool watches_descriptor_ = false, watches_event_ = false;
  Done at_once_[kDepth] = {};
  int at_once_count_ = 0;
};

}  // namespace spillway::os

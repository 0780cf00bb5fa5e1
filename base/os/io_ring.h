// io_ring.h - reads and writes that go on by themselves, and one place to wait for them and for a descriptor
// (io_uring). Without io_uring each is done when it is asked for.
//
// For one thread, which opens, uses and waits; only wake() is for others.
#pragma once
#include <liburing.h>

#include <cstdint>
#include <utility>

#include "base/core/result.h"

namespace spillway::os {

class IoRing {
 public:
  static constexpr unsigned kDepth = 64;

  // Begins to watch `descriptor` for something to read. `asynchronous` false, or a thread without descriptors
  // of its own: without io_uring. EMFILE, ENFILE.
  Errno open(int descriptor, bool asynchronous);

  // Whole: what ends early or is interrupted is carried on. No more than kDepth at once. They start with
  // submit() or wait().
  void read(int fd, void* to, uint32_t bytes, uint64_t offset, uint32_t tag);
  void write(int fd, const void* from, uint32_t bytes, uint64_t offset, uint32_t tag);
  void submit();

  struct Done {
    uint32_t tag;
    Errno error;
  };
  // Looks what happened, without waiting. True: something did.
  bool look();
  // Reads and writes that are through, as of the last look. 0: none.
  int finished(Done* done, int most);
  // The descriptor became readable since the last call; whoever asks reads all there is.
  bool take_readable() { return std::exchange(readable_, false); }
  // Until something is through, or the descriptor can be read, or somebody calls wake(), or the time is over.
  void wait(int timeout_ms);
  void wake();

 private:
  void drain();
  io_uring_sqe* prepare();
  bool works();
  void watch(int descriptor, uint64_t name, bool& is_watched);
  struct Asked {
    char* data;
    uint64_t offset;
    uint32_t bytes, tag;
    int fd;
    bool is_write;
  };
  void ask(io_uring_sqe* entry, const Asked& asked);
  static Errno result_of(const Asked& asked, int result);
  void finish(uint32_t tag, Errno error) { done_[done_count_++] = {tag, error}; }

  io_uring ring_{};
  bool open_ = false;
  int under_way_ = 0;  // in the ring
  Asked asked_[kDepth] = {};
  uint8_t unused_[kDepth] = {};  // entries of asked_, the first kDepth - under_way_ of these
  int descriptor_ = -1;
  int event_ = -1;
  bool readable_ = false;
  bool watches_descriptor_ = false, watches_event_ = false;
  Done done_[kDepth] = {};
  int done_count_ = 0;
};

}  // namespace spillway::os

// sequential_reader.h - a part of a file from its beginning to its end, piece after piece, while those that
// come next are on their way.
//
// Why not read(2): between two of them the device waits for us. Past the page cache, for what is read once
// need not be there, and copying it out costs as much as the device takes (io_uring; without it, or where the
// file is in the page cache anyway, through that). One thread; to be used again for another file, since its
// buffers are what costs.
#pragma once
#include <liburing.h>

#include <cstdint>

#include "base/core/result.h"
#include "base/os/memfd.h"

namespace spillway::os {

class SequentialReader {
 public:
  // 4 of 1 MiB: with fewer the device waits, with more nothing is gained.
  static constexpr uint64_t kPieceBytes = 1 << 20;
  static constexpr unsigned kDepth = 4;

  SequentialReader() = default;
  SequentialReader(const SequentialReader&) = delete;
  SequentialReader& operator=(const SequentialReader&) = delete;
  ~SequentialReader();

  // `offset` is a multiple of the page. The descriptor is this reader's until the end: its O_DIRECT is
  // changed.
  Errno start(int fd, uint64_t offset, uint64_t bytes);

  struct Piece {
    const char* data = nullptr;
    uint64_t bytes = 0;  // 0: that was all
  };
  // Good until the next call. EIO: the file ends before.
  Result<Piece> next();

 private:
  void ask_for(uint64_t piece);
  void settle();
  bool take_completion();
  uint64_t bytes_of(uint64_t piece) const;
  char* buffer_of(uint64_t piece) const { return buffers_.data() + piece % kDepth * kPieceBytes; }

  Mapping buffers_;
  io_uring ring_{};
  bool has_ring_ = false, tried_ring_ = false, direct_ = false;
  int fd_ = -1;
  uint64_t offset_ = 0, bytes_ = 0, pieces_ = 0;
  uint64_t asked_ = 0, given_ = 0;  // pieces
  unsigned under_way_ = 0;
  int results_[kDepth] = {};
};

}  // namespace spillway::os

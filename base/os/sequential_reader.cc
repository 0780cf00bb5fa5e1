#include "base/os/sequential_reader.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "base/core/units.h"
#include "base/os/file.h"
#include "base/os/keep_errno.h"
#include "base/os/memory.h"

namespace spillway::os {
namespace {

constexpr int kPending = INT_MIN;

// A guess: what was written a moment ago is there from one end to the other.
bool is_cached(int fd, uint64_t offset, uint64_t bytes) {
  for (const uint64_t at : {offset, offset + bytes / 2, offset + bytes - 1}) {
    char byte;
    const iovec to{&byte, 1};
    if (preadv2(fd, &to, 1, static_cast<off_t>(at), RWF_NOWAIT) != 1) return false;
  }
  return true;
}

void set_direct(int fd, bool on) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags >= 0) (void)fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT);
}

}  // namespace

SequentialReader::~SequentialReader() {
  settle();
  if (has_ring_) io_uring_queue_exit(&ring_);
}

Errno SequentialReader::start(int fd, uint64_t offset, uint64_t bytes) {
  KeepErrno keep;
  settle();
  if (!buffers_.valid()) {
    Result<Mapping> buffers = Mapping::anonymous(kPieceBytes * kDepth);
    if (!buffers) return buffers.error();
    buffers_ = std::move(*buffers);
    // In one piece: a request of 256 scattered pages is cut in two. Twice the speed of a virtual disk.
    (void)use_huge_pages({buffers_.data(), buffers_.bytes()});
  }
  fd_ = fd, offset_ = offset, bytes_ = bytes;
  pieces_ = (bytes + kPieceBytes - 1) / kPieceBytes;
  asked_ = given_ = 0;
  direct_ = bytes > 0 && !is_cached(fd, offset, bytes);
  if (!direct_) return {};
  if (!tried_ring_) has_ring_ = io_uring_queue_init(kDepth, &ring_, 0) == 0;
  tried_ring_ = true;
  direct_ = has_ring_;
  if (direct_)
    set_direct(fd, true);
  else
    (void)posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_SEQUENTIAL);
  return {};
}

uint64_t SequentialReader::bytes_of(uint64_t piece) const {
  return std::min(kPieceBytes, bytes_ - piece * kPieceBytes);
}

void SequentialReader::ask_for(uint64_t piece) {
  int& result = results_[piece % kDepth];
  result = -EAGAIN;  // to be read when it is its turn
  io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
  if (entry == nullptr) return;
  io_uring_prep_read(entry, fd_, buffer_of(piece),
                     static_cast<unsigned>(round_up(bytes_of(piece), kPageBytes)),
                     offset_ + piece * kPieceBytes);
  io_uring_sqe_set_data64(entry, piece % kDepth);
  result = kPending;
  ++under_way_;
  // An entry that the kernel did not take now goes with the next submission, or with the wait.
  (void)io_uring_submit(&ring_);
}

bool SequentialReader::take_completion() {
  io_uring_cqe* done = nullptr;
  int error;
  do error = io_uring_submit_and_wait(&ring_, 1);
  while (error == -EINTR || error == -EAGAIN);
  if (error < 0 || io_uring_peek_cqe(&ring_, &done) != 0 || done == nullptr) return false;
  results_[io_uring_cqe_get_data64(done)] = done->res;
  io_uring_cqe_seen(&ring_, done);
  --under_way_;
  return true;
}

// The buffers are ours again.
void SequentialReader::settle() {
  while (under_way_ > 0) CHECK(take_completion(), "io_uring does not end what it began");
}

Result<SequentialReader::Piece> SequentialReader::next() {
  KeepErrno keep;
  if (given_ == pieces_) return Piece{};
  const uint64_t piece = given_++;
  const uint64_t bytes = bytes_of(piece);
  char* const to = buffer_of(piece);
  if (direct_) {
    // The buffer of the piece given before this one is free.
    for (; asked_ < std::min(pieces_, piece + kDepth); ++asked_) ask_for(asked_);
    int& result = results_[piece % kDepth];
    while (result == kPending) CHECK(take_completion(), "io_uring does not end what it began");
    if (result >= static_cast<int>(bytes)) return Piece{to, bytes};
    set_direct(fd_, false);  // some file systems want other pieces: their pages, then
  }
  if (Errno e = read_all(fd_, to, bytes, offset_ + piece * kPieceBytes); !e.ok()) return e;
  return Piece{to, bytes};
}

}  // namespace spillway::os

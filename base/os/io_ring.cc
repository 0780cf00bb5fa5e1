#include "base/os/io_ring.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/os/file.h"

// Newer than the library of Debian 12.
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

namespace spillway::os {
namespace {

constexpr uint64_t kDescriptor = UINT64_MAX, kEvent = UINT64_MAX - 1;

}  // namespace

Errno IoRing::open(int descriptor, bool asynchronous) {
  descriptor_ = descriptor;
  done_count_ = 0;
  under_way_ = 0;
  for (unsigned i = 0; i < kDepth; ++i) unused_[i] = static_cast<uint8_t>(i);
  open_ = watches_descriptor_ = watches_event_ = readable_ = false;
  Fd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) return Errno::last();
  event_ = move_high(std::move(event)).release();
  // The ring's descriptor has a low number.
  if (!asynchronous || !has_own_descriptors()) return {};
  // Completions are dealt with in wait(), and interrupt nothing: Linux 6.1.
  open_ = io_uring_queue_init(kDepth, &ring_, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) == 0 ||
          io_uring_queue_init(kDepth, &ring_, 0) == 0;
  if (open_ && !works()) {
    io_uring_queue_exit(&ring_);
    open_ = false;
  }
  if (open_) io_uring_ring_dontfork(&ring_);
  return {};
}

// A seccomp filter may permit to set up a ring, and nothing else: then nothing would ever complete.
bool IoRing::works() {
  io_uring_prep_nop(io_uring_get_sqe(&ring_));
  io_uring_cqe* done;
  if (io_uring_submit(&ring_) != 1 || io_uring_wait_cqe(&ring_, &done) != 0) return false;
  io_uring_cqe_seen(&ring_, done);
  return true;
}

void IoRing::watch(int descriptor, uint64_t name, bool& is_watched) {
  if (is_watched) return;
  io_uring_sqe* entry = prepare();
  if (entry == nullptr) return;
  io_uring_prep_poll_add(entry, static_cast<unsigned>(descriptor), POLLIN);
  io_uring_sqe_set_data64(entry, name);
  is_watched = true;
}

void IoRing::drain() {
  uint64_t events;
  (void)!::read(event_, &events, sizeof events);
}

void IoRing::wake() {
  const uint64_t one = 1;
  (void)!::write(event_, &one, sizeof one);
}

// The queue has room for every read and write there may be, and for the watch: it is emptied now and then.
io_uring_sqe* IoRing::prepare() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry != nullptr) return entry;
  io_uring_submit(&ring_);
  return io_uring_get_sqe(&ring_);
}

void IoRing::read(int fd, void* to, uint32_t bytes, uint64_t offset, uint32_t tag) {
  io_uring_sqe* entry = open_ ? prepare() : nullptr;
  if (entry == nullptr) return finish(tag, read_all(fd, to, bytes, offset));
  io_uring_prep_read(entry, fd, to, bytes, offset);
  ask(entry, {static_cast<char*>(to), offset, bytes, tag, fd, false});
}

void IoRing::write(int fd, const void* from, uint32_t bytes, uint64_t offset, uint32_t tag) {
  io_uring_sqe* entry = open_ ? prepare() : nullptr;
  if (entry == nullptr) return finish(tag, write_all(fd, from, bytes, offset));
  io_uring_prep_write(entry, fd, from, bytes, offset);
  ask(entry, {static_cast<char*>(const_cast<void*>(from)), offset, bytes, tag, fd, true});
}

void IoRing::ask(io_uring_sqe* entry, const Asked& asked) {
  CHECK(under_way_ < static_cast<int>(kDepth), "more reads and writes at once than agreed");
  const uint8_t number = unused_[kDepth - 1 - static_cast<unsigned>(under_way_++)];
  asked_[number] = asked;
  io_uring_sqe_set_data64(entry, number);
}

// The rest is done at once: that it ends early is rare, and then it is the reason that is wanted (a full
// disk, a file that is too large).
Errno IoRing::result_of(const Asked& a, int result) {
  if (result < 0 && result != -EAGAIN && result != -EINTR) return Errno(-result);
  const auto done = static_cast<uint32_t>(std::max(result, 0));
  if (done == a.bytes) return {};
  return a.is_write ? write_all(a.fd, a.data + done, a.bytes - done, a.offset + done)
                    : read_all(a.fd, a.data + done, a.bytes - done, a.offset + done);
}

void IoRing::submit() {
  if (open_ && io_uring_sq_ready(&ring_) != 0) io_uring_submit(&ring_);
}

bool IoRing::look() {
  io_uring_cqe* entry = nullptr;
  while (open_ && done_count_ < static_cast<int>(kDepth) && io_uring_peek_cqe(&ring_, &entry) == 0 &&
         entry != nullptr) {
    if (entry->user_data == kDescriptor) {
      watches_descriptor_ = false;
      readable_ = true;
    } else if (entry->user_data == kEvent) {
      watches_event_ = false;
      drain();
    } else {
      const auto number = static_cast<uint8_t>(entry->user_data);
      unused_[kDepth - 1 - static_cast<unsigned>(--under_way_)] = number;
      finish(asked_[number].tag, result_of(asked_[number], entry->res));
    }
    io_uring_cqe_seen(&ring_, entry);
  }
  return done_count_ > 0 || readable_;
}

int IoRing::finished(Done* done, int most) {
  int found = 0;
  while (found < most && done_count_ > 0) done[found++] = done_[--done_count_];
  return found;
}

void IoRing::wait(int timeout_ms) {
  if (done_count_ > 0) return;
  // With nothing under way poll(2) does, which wakes twice as fast.
  if (under_way_ > 0) {
    watch(descriptor_, kDescriptor, watches_descriptor_);
    watch(event_, kEvent, watches_event_);
    __kernel_timespec time{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000LL};
    io_uring_cqe* entry = nullptr;
    io_uring_submit_and_wait_timeout(&ring_, &entry, 1, &time, nullptr);
  } else {
    pollfd ready[] = {{descriptor_, POLLIN, 0}, {event_, POLLIN, 0}};
    poll(ready, 2, timeout_ms);
    readable_ = readable_ || ready[0].revents != 0;
    if (ready[1].revents != 0) drain();
  }
}

}  // namespace spillway::os

// io_ring.cc - base/os/io_ring.h over the kernel of a test: what is asked for happens a moment later, in any
// order, in the thread that waits.
#include "base/os/io_ring.h"

#include <algorithm>
#include <map>

#include "base/os/file.h"
#include "tests/simulation/kernel.h"

namespace spillway::os {
namespace {

using simulation::Kernel;

struct Pending {
  bool is_write;
  int fd;
  char* data;
  uint32_t bytes;
  uint64_t offset;
  uint32_t tag;
  uint64_t due_us;
};
struct Queue {
  std::vector<Pending> pending;
  bool woken = false;
};
std::map<const IoRing*, Queue> queues;

constexpr uint64_t kSlowestUs = 300;

}  // namespace

Errno IoRing::open(int descriptor, bool) {
  descriptor_ = descriptor;
  done_count_ = under_way_ = 0;
  readable_ = false;
  queues[this] = {};
  return {};
}

void IoRing::wake() { queues[this].woken = true; }
void IoRing::submit() {}

void IoRing::read(int fd, void* to, uint32_t bytes, uint64_t offset, uint32_t tag) {
  auto& schedule = Kernel::now().schedule;
  ++under_way_;
  queues[this].pending.push_back({false, fd, static_cast<char*>(to), bytes, offset, tag,
                                  schedule.now_us() + schedule.random(kSlowestUs)});
}

void IoRing::write(int fd, const void* from, uint32_t bytes, uint64_t offset, uint32_t tag) {
  auto& schedule = Kernel::now().schedule;
  ++under_way_;
  queues[this].pending.push_back({true, fd, static_cast<char*>(const_cast<void*>(from)), bytes, offset, tag,
                                  schedule.now_us() + schedule.random(kSlowestUs)});
}

bool IoRing::look() {
  Kernel::now().schedule.pause(/*locked=*/false);
  std::vector<Pending>& pending = queues[this].pending;
  const uint64_t now_us = Kernel::now().schedule.now_us();
  while (done_count_ < static_cast<int>(kDepth)) {
    const auto due =
        std::find_if(pending.begin(), pending.end(), [&](const Pending& a) { return a.due_us <= now_us; });
    if (due == pending.end()) break;
    const Pending a = *due;
    pending.erase(due);
    --under_way_;
    finish(a.tag, a.is_write ? write_all(a.fd, a.data, a.bytes, a.offset)
                             : read_all(a.fd, a.data, a.bytes, a.offset));
  }
  readable_ = readable_ || Kernel::now().has_faults();
  return done_count_ > 0 || readable_;
}

int IoRing::finished(Done* done, int most) {
  int found = 0;
  while (found < most && done_count_ > 0) done[found++] = done_[--done_count_];
  return found;
}

void IoRing::wait(int timeout_ms) {
  if (done_count_ > 0) return;
  auto& schedule = Kernel::now().schedule;
  Queue& queue = queues[this];
  uint64_t until_us = schedule.now_us() + static_cast<uint64_t>(timeout_ms) * 1000;
  for (const Pending& a : queue.pending) until_us = std::min(until_us, a.due_us);
  (void)schedule.wait_until([&] { return queue.woken || Kernel::now().has_faults(); }, until_us);
  queue.woken = false;
}

}  // namespace spillway::os

#include "base/os/fault_samples.h"

#include <linux/perf_event.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/core/units.h"
#include "base/os/keep_errno.h"
#include "base/os/procfs.h"

namespace spillway::os {
namespace {

// 8 data pages hold about 1,000 samples: 50 ms of the fastest device's faults.
constexpr uint64_t kDataBytes = 8 * kPageBytes;

struct Record {  // PERF_SAMPLE_TID | PERF_SAMPLE_ADDR
  perf_event_header header;
  uint32_t process, thread;
  uint64_t address;
};

}  // namespace

Errno FaultSamples::open_ring(int thread, int cpu) {
  if (ring_count_ == kMaxRings) return Errno(E2BIG);
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_PAGE_FAULTS_MAJ;
  attributes.sample_period = 1;
  attributes.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_ADDR;
  attributes.inherit = 1;  // threads started later; the kernel wants one event per CPU for that
  attributes.exclude_kernel = 1;
  attributes.exclude_hv = 1;
  attributes.wakeup_events = 256;  // waking for every 16 made random reads a tenth slower
  Ring ring;
  const long fd = syscall(SYS_perf_event_open, &attributes, thread, cpu, -1, PERF_FLAG_FD_CLOEXEC);
  ring.fd = move_high(Fd(static_cast<int>(fd))).release();
  if (ring.fd < 0) return Errno::last();
  ring.pages = mmap(nullptr, kPageBytes + kDataBytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, 0);
  if (ring.pages == MAP_FAILED) {
    const Errno e = Errno::last();
    ::close(ring.fd);
    return e;
  }
  rings_[ring_count_++] = ring;
  return {};
}

Errno FaultSamples::open() {
  KeepErrno keep;
  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  Errno result;
  ThreadList threads;
  while (const int thread = threads.next()) {
    for (int cpu = 0; cpu < cpus && result.ok(); ++cpu) {
      result = open_ring(thread, cpu);
      if (result == ESRCH || result == ENODEV) result = {};  // the thread ended, the CPU is offline
    }
  }
  if (!result.ok()) close();
  return result;
}

void FaultSamples::close_ring(Ring& ring) {
  munmap(ring.pages, kPageBytes + kDataBytes);
  ::close(ring.fd);
}

void FaultSamples::close() {
  for (int i = 0; i < ring_count_; ++i) close_ring(rings_[i]);
  ring_count_ = 0;
}

void FaultSamples::wait(int timeout_ms) {
  // What ended before the last wait has been read by now.
  for (int i = 0; i < ring_count_;) {
    if (!rings_[i].ended) {
      ++i;
      continue;
    }
    close_ring(rings_[i]);
    rings_[i] = rings_[--ring_count_];
  }
  pollfd fds[kMaxRings];
  for (int i = 0; i < ring_count_; ++i) fds[i] = {rings_[i].fd, POLLIN, 0};
  poll(fds, static_cast<nfds_t>(ring_count_), timeout_ms);
  for (int i = 0; i < ring_count_; ++i) rings_[i].ended = (fds[i].revents & POLLHUP) != 0;
}

int FaultSamples::read(FaultSample* samples, int count) {
  int found = 0;
  for (int i = 0; i < ring_count_ && found < count; ++i) {
    Ring& ring = rings_[(next_ring_ + i) % ring_count_];
    auto* control = static_cast<perf_event_mmap_page*>(ring.pages);
    const char* data = static_cast<char*>(ring.pages) + kPageBytes;
    const uint64_t head = __atomic_load_n(&control->data_head, __ATOMIC_ACQUIRE);
    uint64_t tail = control->data_tail;
    while (tail < head && found < count) {
      Record record;
      // A record may wrap around the end of the ring.
      auto copy = [&](void* to, uint64_t offset, uint64_t bytes) {
        for (uint64_t b = 0; b < bytes; ++b)
          static_cast<char*>(to)[b] = data[(tail + offset + b) % kDataBytes];
      };
      copy(&record.header, 0, sizeof record.header);
      if (record.header.size < sizeof record.header) break;  // cannot be; do not loop
      if (record.header.type == PERF_RECORD_SAMPLE && record.header.size >= sizeof record) {
        copy(&record, 0, sizeof record);
        samples[found++] = {reinterpret_cast<char*>(record.address), record.thread};
      }
      tail += record.header.size;
    }
    __atomic_store_n(&control->data_tail, tail, __ATOMIC_RELEASE);
  }
  if (ring_count_ != 0) next_ring_ = (next_ring_ + 1) % ring_count_;
  return found;
}

}  // namespace spillway::os

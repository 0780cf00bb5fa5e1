#include "base/os/userfault.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/os/keep_errno.h"
#include "base/os/memory.h"

// Newer than the kernel headers of Debian 12.
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFDIO_POISON
#define UFFD_FEATURE_POISON (1 << 14)
struct uffdio_poison {
  struct uffdio_range range;
  uint64_t mode;
  int64_t updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif
#ifndef UFFDIO_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#define UFFDIO_MOVE_MODE_DONTWAKE (uint64_t{1} << 0)
#define UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES (uint64_t{1} << 1)
struct uffdio_move {
  uint64_t dst, src, len, mode;
  int64_t move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif

namespace spillway::os {
namespace {

uint64_t number(const void* p) { return reinterpret_cast<uint64_t>(p); }

// By the device first: its permissions are what an administrator sets.
Fd open_full_mode() {
  const Fd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (device.valid()) {
    Fd fd(ioctl(device.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK));
    if (fd.valid()) return fd;
  }
  return Fd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
}

// True: the kernel has all of the features. It refuses those it does not know, and may be asked again; some
// kernels dropped them silently, so the answer is read back.
bool accepts(const Fd& fd, uint64_t features) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = features;
  return ioctl(fd.get(), UFFDIO_API, &api) == 0 && (api.features & features) == features;
}

}  // namespace

Errno Userfault::open(Without without) {
  KeepErrno keep;
  Fd fd = open_full_mode();
  if (!fd.valid()) return Errno::last();
  constexpr uint64_t kNeeded = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_THREAD_ID;  // Linux 5.7
  has_move_ =
      !without.move && !without.poison && accepts(fd, kNeeded | UFFD_FEATURE_POISON | UFFD_FEATURE_MOVE);
  has_poison_ = has_move_ || (!without.poison && accepts(fd, kNeeded | UFFD_FEATURE_POISON));  // 6.6
  if (!has_poison_ && !accepts(fd, kNeeded)) return Errno(EOPNOTSUPP);
  if (!has_move_ && doorstep_ == nullptr) {
    Result<PageRange> doorstep = reserve(kPageBytes, kPageBytes);
    if (!doorstep) return doorstep.error();
    doorstep_ = doorstep->base;
  }
  fd_ = move_high(std::move(fd)).release();
  return {};
}

void Userfault::close() {
  Fd{fd_}.reset();
  fd_ = -1;
}

Errno Userfault::watch(PageRange range) {
  KeepErrno keep;
  uffdio_register request{};
  request.range = {number(range.base), range.bytes};
  request.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
  return ioctl(fd_, UFFDIO_REGISTER, &request) == 0 ? Errno{} : Errno::last();
}

void Userfault::protect(PageRange range) {
  KeepErrno keep;
  protects_ = true;
  uffdio_writeprotect request{{number(range.base), range.bytes}, UFFDIO_WRITEPROTECT_MODE_WP};
  // EAGAIN: the address space is changing.
  while (ioctl(fd_, UFFDIO_WRITEPROTECT, &request) != 0 && errno == EAGAIN) {
  }
}

Errno Userfault::unprotect(PageRange range) {
  KeepErrno keep;
  uffdio_writeprotect request{{number(range.base), range.bytes}, 0};
  while (ioctl(fd_, UFFDIO_WRITEPROTECT, &request) != 0)
    if (errno != EAGAIN) return Errno::last();
  return {};
}

void Userfault::make_own(PageRange range) {
  if (protects_) (void)unprotect(range);
  os::make_own(range);
}

Errno Userfault::add_staging(PageRange range) {
  CHECK(staging_count_ < kMostStaging, "too many staging areas");
  staging_[staging_count_++] = range;
  // UFFDIO_MOVE goes to watched places only.
  return has_move_ ? watch(range) : Errno{};
}

bool Userfault::is_there(char* page) {
  unsigned char present = 0;
  return (cached_pages({page, kPageBytes}, &present).ok() && (present & 1) != 0) || is_swapped_out(page);
}

bool Userfault::is_staging(const char* p) const {
  return std::any_of(staging_, staging_ + staging_count_, [&](PageRange area) { return area.contains(p); });
}

Errno Userfault::move(char* to, PageRange from, uint64_t& done, Holes holes) {
  KeepErrno keep;
  done = 0;
  if (has_move_) return move_by_kernel(to, from, done, holes);
  if (!is_staging(to)) return move_in(to, from, done);
  if (!is_staging(from.base)) return move_out(to, from, done, holes);
  memcpy(to, from.base, from.bytes);
  done = from.bytes;
  return discard(from);
}

// The pages leave in one step, as seen by those who use them; what held them stays, watched, without pages.
Errno Userfault::move_out(char* to, PageRange from, uint64_t& done, Holes holes) {
  if (holes == Holes::kRefuse && !is_there(from.base)) return Errno(ENOENT);
  // Locked memory, which is to stay, is refused by this advice, and would not be by the move.
  if (advise(from, MADV_COLD) == EINVAL) return Errno(EINVAL);
  // Each place that pages were moved to is a mapping of its own: extents may have one each, pages not.
  const bool is_page = from.bytes < kExtentBytes;
  CHECK(!is_page || from.bytes == kPageBytes, "what moves out is an extent or a page");
  const PageRange there{is_page ? doorstep_ : to, from.bytes};
  // EFAULT: several mappings, of different protections as a rule.
  if (Errno e = move_pages(from, there); !e.ok()) return e == EFAULT ? Errno(EINVAL) : e;
  if (Errno e = make_accessible(there); !e.ok()) return e;
  if (is_page) {
    memcpy(to, there.base, kPageBytes);
    (void)discard(there);
  } else {
    (void)not_in_children(there);
  }
  done = from.bytes;
  return {};
}

Errno Userfault::move_in(char* to, PageRange from, uint64_t& done) {
  constexpr uint64_t kAtOnce = 64 * kPageBytes;  // so much is there twice for a moment
  while (done < from.bytes) {
    const PageRange part = from.sub(done, std::min(kAtOnce, from.bytes - done));
    uint64_t copied = 0;
    const Errno e = copy({to + done, part.bytes}, part.base, copied);
    if (copied != 0) (void)discard(part.sub(0, copied));
    done += copied;
    if (!e.ok()) return e;
  }
  return {};
}

Errno Userfault::move_by_kernel(char* to, PageRange from, uint64_t& done, Holes holes) {
  const uint64_t mode =
      UFFDIO_MOVE_MODE_DONTWAKE | (holes == Holes::kMove ? UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES : 0);
  while (done < from.bytes) {
    uffdio_move request{number(to) + done, number(from.base) + done, from.bytes - done, mode, 0};
    if (ioctl(fd_, UFFDIO_MOVE, &request) == 0) break;
    // EAGAIN: the address space is changing, or some moved before something came between.
    const Errno error = Errno::last();
    if (error == EAGAIN)
      done += static_cast<uint64_t>(std::max<int64_t>(request.move, 0));
    else if (is_there(to + done) && !is_there(from.base + done))
      done += kPageBytes;  // Linux 6.18 now and then moves a page more than it says
    else
      return error;
  }
  done = from.bytes;
  return {};
}

bool Userfault::put_back(char* to, PageRange from) {
  uint64_t done = 0;
  if (move(to, from, done).ok()) return true;
  bool is_all = true;
  for (; done < from.bytes; done += kPageBytes) {
    const PageRange page = from.sub(done, kPageBytes);
    uint64_t moved = 0;
    // This thread may be the one that answers faults: it may not touch a hole.
    if (!is_there(page.base) || move(to + done, page, moved).ok()) continue;
    const bool is_copied = copy({to + done, kPageBytes}, page.base, moved).ok();
    if (is_copied) (void)discard(page);
    is_all = is_all && is_copied;
  }
  return is_all;
}

Errno Userfault::copy(PageRange to, const char* from, uint64_t& done, bool wakes) {
  KeepErrno keep;
  done = 0;
  while (done < to.bytes) {
    uffdio_copy request{number(to.base) + done, number(from) + done, to.bytes - done,
                        wakes ? 0 : UFFDIO_COPY_MODE_DONTWAKE, 0};
    if (ioctl(fd_, UFFDIO_COPY, &request) == 0) {
      done = to.bytes;
      return {};
    }
    if (errno != EAGAIN) return Errno::last();
    done += static_cast<uint64_t>(std::max<int64_t>(request.copy, 0));
  }
  return {};
}

Errno Userfault::poison(PageRange range) {
  KeepErrno keep;
  if (!has_poison_) {
    const Errno e = map_nothing(range);
    wake(range);
    return e;
  }
  while (!range.empty()) {
    uffdio_poison request{{number(range.base), range.bytes}, 0, 0};
    if (ioctl(fd_, UFFDIO_POISON, &request) == 0) return {};
    // EAGAIN: some pages are done, and the address space is changing, or the next one is there.
    if (errno != EAGAIN && errno != EEXIST) return Errno::last();
    const uint64_t done = static_cast<uint64_t>(std::max<int64_t>(request.updated, 0));
    const uint64_t skipped = errno == EEXIST && done == 0 ? kPageBytes : 0;
    range = range.sub(done + skipped, range.bytes - done - skipped);
  }
  return {};
}

void Userfault::wake(PageRange range) {
  KeepErrno keep;
  uffdio_range request{number(range.base), range.bytes};
  ioctl(fd_, UFFDIO_WAKE, &request);
}

int Userfault::read(Fault* faults, int most) {
  KeepErrno keep;
  uffd_msg messages[64];
  const ssize_t n = ::read(fd_, messages, sizeof messages[0] * static_cast<size_t>(std::min(most, 64)));
  int found = 0;
  for (ssize_t i = 0; i < n / static_cast<ssize_t>(sizeof messages[0]); ++i) {
    if (messages[i].event != UFFD_EVENT_PAGEFAULT) continue;
    const auto& fault = messages[i].arg.pagefault;
    faults[found++] = {reinterpret_cast<char*>(fault.address), fault.feat.ptid,
                       (fault.flags & UFFD_PAGEFAULT_FLAG_WP) != 0};
  }
  return found;
}

bool Userfault::wait(int timeout_ms) {
  KeepErrno keep;
  pollfd ready{fd_, POLLIN, 0};
  return poll(&ready, 1, timeout_ms) > 0;
}

}  // namespace spillway::os

// userfault.h - userfaultfd(2): page faults of watched memory are answered by this process, and whole pages
// move between places by UFFDIO_MOVE (Linux 6.8), huge ones in one step and without a copy. Where that is
// missing (from Linux 5.7 on) they leave by mremap(2) and come back as copies. mremap does not spare pages
// that are pinned: what a device writes to them after that (O_DIRECT, registered buffers of io_uring, RDMA)
// is lost.
//
// Faults inside system calls and of other processes (process_vm_readv) must be answered, too, which takes the
// full mode: CAP_SYS_PTRACE, access to /dev/userfaultfd, or vm.unprivileged_userfaultfd=1.
#pragma once
#include "base/core/page_range.h"
#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway::os {

// Not closed by a destructor: faults must be answered until the process is gone, after its exit handlers,
// too.
class Userfault {
 public:
  // Of what the kernel has, not to be used: as if it were an older one.
  struct Without {
    bool move = false, poison = false;
  };
  // EPERM: not permitted; ENOSYS: no such system call (or forbidden by seccomp); EOPNOTSUPP: older than 5.7.
  Errno open(Without without);
  void close();
  // In a forked child the number means something else, and there are no staging areas.
  void forget() {
    fd_ = -1;
    staging_count_ = 0;
  }

  // From now on the first touch of a page that is not there waits for an answer. Private anonymous memory.
  Errno watch(PageRange range);
  // Private anonymous memory of this process's own, where pages wait between memory and disk.
  Errno add_staging(PageRange range);
  // Of watched memory: the next write to each page that is there waits for an answer, too.
  void protect(PageRange range);
  // Not any more; who waits is woken. ENOENT: not all of it is watched.
  Errno unprotect(PageRange range);
  // As os::make_own, by a thread that must not wait for an answer.
  void make_own(PageRange range);

  // Moves pages to where nothing is, between watched memory and staging areas or within those; holes move as
  // holes (see fills_holes), or are ENOENT. Waiters are not woken. EBUSY: shared with a forked child, or
  // pinned; EINVAL: protection or locks of the two places differ; EEXIST: something is there; ENOENT: one of
  // the places is gone. `done`: how many bytes moved, also on an error.
  enum class Holes { kMove, kRefuse };
  Errno move(char* to, PageRange from, uint64_t& done, Holes holes = Holes::kMove);
  // Pages that have just left, or wait to come back: what cannot move, because its page is held for a moment
  // or the program has locked the place meanwhile, is copied. Holes stay holes. False: not all of them.
  bool put_back(char* to, PageRange from);
  // What comes out of a staging area has no holes: they are pages of zeroes.
  bool fills_holes() const { return !has_move_; }
  // Pages that a device may be writing to stay.
  bool respects_pins() const { return has_move_; }
  // In memory or swapped out, and no hole.
  static bool is_there(char* page);
  // Copies pages to where nothing is, in watched memory; `wakes`: those who wait for them. `done`: how many
  // bytes, also on an error.
  Errno copy(PageRange to, const char* from, uint64_t& done, bool wakes = false);
  // Pages that are not there can never be had: a touch is SIGBUS (EFAULT in system calls), until the range is
  // mapped anew. Those who wait are woken.
  Errno poison(PageRange range);
  // Whoever waits for a page in the range looks again.
  void wake(PageRange range);

  struct Fault {
    char* address;
    uint32_t thread;
    bool is_protected;  // the page is there, and may not be written to
  };
  // Can be read when a fault came.
  int descriptor() const { return fd_; }
  // Those that came since the last call, without waiting.
  int read(Fault* faults, int most);
  // True: there is something to read.
  bool wait(int timeout_ms);

 private:
  static constexpr int kMostStaging = 4;

  bool is_staging(const char* p) const;
  Errno move_by_kernel(char* to, PageRange from, uint64_t& done, Holes holes);
  Errno move_out(char* to, PageRange from, uint64_t& done, Holes holes);
  Errno move_in(char* to, PageRange from, uint64_t& done);

  int fd_ = -1;
  bool has_move_ = true, has_poison_ = true;
  bool protects_ = false;  // or did
  PageRange staging_[kMostStaging];
  int staging_count_ = 0;
  char* doorstep_ = nullptr;  // where single pages are, on their way out by mremap
};

}  // namespace spillway::os

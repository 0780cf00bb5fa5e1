// kernel.h - a kernel that exists only in a test: what base/os asks of the real one is answered from tables
// here, in this program's own memory. So the pager runs as it is, over a userfaultfd, a disk and a machine
// that do what a test wants: fail, answer EAGAIN half way, run full, be short of memory.
//
// It stands in at two heights. Calls with an answer that our code must read right (ioctl of userfaultfd,
// pread, pwrite, fallocate) are replaced themselves, by the linker's --wrap, so that base/os/userfault.cc and
// file.cc are part of what is tested. The rest of base/os is replaced as a whole.
//
// One kernel at a time. Threads: whoever has the turn (schedule.h).
#pragma once
#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/core/page_range.h"
#include "base/core/result.h"
#include "tests/simulation/schedule.h"

namespace spillway::simulation {

struct Trouble {
  // Each is one in so many; 0: never.
  uint64_t again = 0;        // EAGAIN half way, as when the address space changes
  uint64_t one_more = 0;     // a move ends early, and one page more moved than it says
  uint64_t pinned = 0;       // EBUSY: somebody holds on to the page for a moment
  uint64_t short_io = 0;     // a read or write ends early
  uint64_t interrupted = 0;  // EINTR
  // errno of reads and writes of these bytes of a file, and of what takes room.
  std::function<int(uint64_t offset, uint64_t bytes)> read_error, write_error;
  int room_error = 0;
};

class Kernel {
 public:
  explicit Kernel(uint64_t seed);
  ~Kernel();
  static Kernel& now();
  static bool is_there() { return current_ != nullptr; }

  Schedule schedule;
  Trouble trouble;

  // --- what a thread of the program does
  // A word at an address: waits as long as the page is not there. False: SIGBUS.
  bool load(char* address, uint64_t& value) { return touch(address, false, value); }
  bool store(char* address, uint64_t value) { return touch(address, true, value); }
  // mlock(2), as far as UFFDIO_MOVE is concerned.
  void set_locked(PageRange range, bool locked);
  // A child of a fork maps the same pages, and the files are its own, too, from now on.
  void fork();
  void end_child();

  // --- what a test looks at
  // In watched memory, blocks and staging areas, and not shared.
  uint64_t pages_there() const { return own_pages_; }
  uint64_t most_pages_there() const { return most_own_pages_; }
  void forget_most() { most_own_pages_ = own_pages_; }
  uint64_t pages_there(PageRange range) const;
  bool is_there(const char* page) const;
  // Files without a name that are open, by number.
  static std::set<uint64_t> unnamed_files();
  uint64_t reads = 0, writes = 0, bytes_written = 0;
  bool wrote_to_frozen_file = false;
  std::vector<std::string> said;

  // --- the machine
  // What os::MemoryRoom answers; none: the kernel does not tell.
  std::function<int64_t()> memory_left = [] { return INT64_MAX; };

  // --- memory, for kernel_memory.cc
  PageRange reserve(uint64_t bytes, uint64_t alignment);
  void unreserve(PageRange range);
  void map_anew(PageRange range);
  void discard(PageRange range);
  void make_own(PageRange range);

  // --- userfaultfd: what its ioctl(2) and so on say; -1 and errno
  static constexpr int kUserfault = 1 << 20;  // a descriptor number of its own
  int control(unsigned long request, void* argument);
  bool has_faults() const { return !faults_.empty(); }
  long read_faults(void* to, size_t bytes);

  // --- the disk
  long transfer(int fd, char* data, size_t bytes, int64_t offset, bool is_write);
  int change_file(int fd, int mode, int64_t offset, int64_t bytes);

  void wait_for(const void* word, const std::function<bool()>& has_changed);
  void wake(const void* word, size_t most = SIZE_MAX);

 private:
  struct Page {
    bool there = false, watched = false, is_protected = false, shared = false, poisoned = false,
         locked = false;
  };
  struct Waiter {
    char* address;
    bool woken = false;
  };
  struct Sleeper {
    const void* word;
    bool woken = false;
  };
  struct Fault {
    char* address;
    uint32_t thread;
    bool is_write, is_protected;
    Waiter* waiter;
  };

  static uint64_t number(const char* p) { return reinterpret_cast<uint64_t>(p) >> kPageShift; }
  Page& page(const char* p) { return pages_[number(p)]; }
  const Page* find(const char* p) const;
  void set_there(const char* p, Page& page, bool there);
  void set_shared(Page& page, bool shared);
  bool touch(char* address, bool is_write, uint64_t& value);
  void wake_range(PageRange range);
  int fail(int error);
  int move(char* to, char* from, uint64_t bytes, uint64_t mode, int64_t& moved);
  int copy(char* to, const char* from, uint64_t bytes, uint64_t mode, int64_t& copied);
  int poison(PageRange range, int64_t& updated);

  static Kernel* current_;
  std::unordered_map<uint64_t, Page> pages_;
  std::vector<PageRange> mappings_;
  uint64_t next_place_ = uint64_t{1} << 45;
  std::deque<Fault> faults_;
  std::set<Waiter*> waiters_;
  std::vector<Sleeper*> sleepers_;  // in the order they came
  std::set<uint64_t> frozen_files_;
  uint64_t own_pages_ = 0, most_own_pages_ = 0;
};

}  // namespace spillway::simulation

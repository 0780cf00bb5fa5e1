#include "tests/simulation/kernel.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/simulation/system_calls.h"

namespace spillway::simulation {

Kernel* Kernel::current_ = nullptr;

Kernel::Kernel(uint64_t seed) : schedule(seed) { current_ = this; }

Kernel::~Kernel() {
  // The threads first: they are in here.
  schedule.end();
  for (const PageRange range : mappings_) ::munmap(range.base, range.bytes);
  current_ = nullptr;
}

Kernel& Kernel::now() {
  if (current_ == nullptr) {
    fprintf(stderr, "a system call outside of the simulation\n");
    abort();
  }
  return *current_;
}

int Kernel::fail(int error) {
  errno = error;
  return -1;
}

// --- pages

const Kernel::Page* Kernel::find(const char* p) const {
  const auto found = pages_.find(number(p));
  return found != pages_.end() ? &found->second : nullptr;
}

bool Kernel::is_there(const char* p) const {
  const Page* page = find(p);
  return page != nullptr && page->there;
}

uint64_t Kernel::pages_there(PageRange range) const {
  uint64_t count = 0;
  for (char* at = range.base; at < range.end(); at += kPageBytes) count += is_there(at);
  return count;
}

void Kernel::set_there(const char* p, Page& page, bool there) {
  if (page.there == there) return;
  set_shared(page, false);
  page.there = there;
  page.is_protected = false;
  if (page.watched) own_pages_ += there ? 1 : -1;
  most_own_pages_ = std::max(most_own_pages_, own_pages_);
  if (!there) memset(const_cast<char*>(p), 0, kPageBytes);
}

void Kernel::set_shared(Page& page, bool shared) {
  if (page.shared == shared) return;
  page.shared = shared;
  if (page.watched && page.there) own_pages_ += shared ? -1 : 1;
  most_own_pages_ = std::max(most_own_pages_, own_pages_);
}

PageRange Kernel::reserve(uint64_t bytes, uint64_t alignment) {
  // In each run the same places, where they are free: what is sorted or hashed by address goes the same way
  // again.
  void* at = ::mmap(reinterpret_cast<void*>(next_place_), bytes + alignment, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return {};
  next_place_ += round_up(bytes + alignment, uint64_t{1} << 30);
  ::madvise(at, bytes + alignment, MADV_NOHUGEPAGE);
  const auto base = reinterpret_cast<uint64_t>(at);
  const uint64_t head = round_up(base, alignment) - base;
  const PageRange range{static_cast<char*>(at) + head, bytes};
  if (head != 0) ::munmap(at, head);
  ::munmap(range.end(), alignment - head);
  mappings_.push_back(range);
  return range;
}

void Kernel::unreserve(PageRange range) {
  for (char* at = range.base; at < range.end(); at += kPageBytes) {
    set_there(at, page(at), false);
    pages_.erase(number(at));
  }
  std::erase_if(mappings_, [&](PageRange r) { return r.base == range.base; });
  ::munmap(range.base, range.bytes);
}

// Nothing is left of what was there, nor who watched it.
void Kernel::map_anew(PageRange range) {
  for (char* at = range.base; at < range.end(); at += kPageBytes)
    if (find(at) != nullptr) {
      set_there(at, page(at), false);
      pages_.erase(number(at));
    }
  ::madvise(range.base, range.bytes, MADV_DONTNEED);
}

void Kernel::discard(PageRange range) {
  schedule.pause(/*locked=*/true);
  bool all_known = true;
  for (char* at = range.base; at < range.end(); at += kPageBytes)
    if (find(at) != nullptr)
      set_there(at, page(at), false);
    else
      all_known = false;
  if (!all_known) ::madvise(range.base, range.bytes, MADV_DONTNEED);
}

void Kernel::make_own(PageRange range) {
  for (char* at = range.base; at < range.end(); at += kPageBytes) {
    Page& p = page(at);
    if (!p.there && p.watched) {
      fprintf(stderr, "one of the pager's threads would wait for itself\n");
      abort();
    }
    set_there(at, p, true);
    set_shared(p, false);
  }
}

void Kernel::set_locked(PageRange range, bool locked) {
  for (char* at = range.base; at < range.end(); at += kPageBytes) page(at).locked = locked;
}

void Kernel::fork() {
  for (auto& [at, p] : pages_)
    if (p.watched && p.there) set_shared(p, true);
  frozen_files_.merge(unnamed_files());
}

std::set<uint64_t> Kernel::unnamed_files() {
  std::set<uint64_t> files;
  for (int fd = 3; fd < 2048; ++fd) {
    struct stat st {};
    if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0) files.insert(st.st_ino);
  }
  return files;
}

void Kernel::end_child() {
  for (auto& [at, p] : pages_) set_shared(p, false);
  frozen_files_.clear();
}

// --- the program

bool Kernel::touch(char* address, bool is_write, uint64_t& value) {
  char* const at = reinterpret_cast<char*>(round_down(reinterpret_cast<uint64_t>(address), kPageBytes));
  schedule.pause(/*locked=*/false);
  for (;;) {
    Page& p = page(at);
    if (p.poisoned) return false;
    if (!p.there && !p.watched) set_there(at, p, true);
    const bool may = p.there && !(is_write && p.is_protected);
    if (may) {
      if (is_write) set_shared(p, false);
      auto* word = reinterpret_cast<uint64_t*>(address);
      if (is_write)
        *word = value;
      else
        value = *word;
      return true;
    }
    Waiter me{at};
    waiters_.insert(&me);
    faults_.push_back({at, schedule.thread(), is_write, p.there, &me});
    (void)schedule.wait_until([&me] { return me.woken; });
  }
}

// A fault that nobody has read yet is forgotten with who waited.
void Kernel::wake_range(PageRange range) {
  for (auto i = waiters_.begin(); i != waiters_.end();) {
    Waiter* waiter = *i;
    if (!range.contains(waiter->address)) {
      ++i;
      continue;
    }
    waiter->woken = true;
    std::erase_if(faults_, [&](const Fault& f) { return f.waiter == waiter; });
    i = waiters_.erase(i);
  }
}

long Kernel::read_faults(void* to, size_t bytes) {
  auto* messages = static_cast<uffd_msg*>(to);
  size_t n = 0;
  for (; n < bytes / sizeof messages[0] && !faults_.empty(); ++n) {
    const Fault fault = faults_.front();
    faults_.pop_front();
    messages[n] = {};
    messages[n].event = UFFD_EVENT_PAGEFAULT;
    messages[n].arg.pagefault.address = reinterpret_cast<uint64_t>(fault.address);
    messages[n].arg.pagefault.feat.ptid = fault.thread;
    messages[n].arg.pagefault.flags =
        (fault.is_write ? UFFD_PAGEFAULT_FLAG_WRITE : 0) | (fault.is_protected ? UFFD_PAGEFAULT_FLAG_WP : 0);
    schedule.remember(number(fault.address));
  }
  if (n == 0) return fail(EAGAIN);
  return static_cast<long>(n * sizeof messages[0]);
}

// --- userfaultfd

int Kernel::move(char* to, char* from, uint64_t bytes, uint64_t mode, int64_t& moved) {
  uint64_t done = 0;
  int error = 0;
  for (; done < bytes && error == 0; done += kPageBytes) {
    Page& source = page(from + done);
    Page& target = page(to + done);
    if (!target.watched)
      error = ENOENT;
    else if (target.there)
      error = EEXIST;
    else if (!source.there && (mode & kAllowHoles) == 0)
      error = ENOENT;
    else if (source.there && source.locked != target.locked)
      error = EINVAL;
    else if (source.there && (source.shared || schedule.one_in(trouble.pinned)))
      error = EBUSY;
    else if (schedule.one_in(trouble.again))
      error = EAGAIN;
    if (error != 0) break;
    if (!source.there) continue;
    memcpy(to + done, from + done, kPageBytes);
    set_there(to + done, target, true);
    set_there(from + done, source, false);
    // It forgets to count the last.
    if (schedule.one_in(trouble.one_more)) error = EAGAIN;
    if (error != 0) break;
  }
  schedule.remember(number(to) ^ done);
  moved = done == 0 && error != 0 ? -error : static_cast<int64_t>(done);
  if (done == bytes) return 0;
  return fail(done == 0 ? error : EAGAIN);
}

int Kernel::copy(char* to, const char* from, uint64_t bytes, uint64_t mode, int64_t& copied) {
  uint64_t done = 0;
  int error = 0;
  for (; done < bytes; done += kPageBytes) {
    Page& target = page(to + done);
    error = !target.watched ? ENOENT : target.there ? EEXIST : schedule.one_in(trouble.again) ? EAGAIN : 0;
    if (error != 0) break;
    memcpy(to + done, from + done, kPageBytes);
    target.poisoned = false;
    set_there(to + done, target, true);
  }
  if ((mode & UFFDIO_COPY_MODE_DONTWAKE) == 0 && done != 0) wake_range({to, done});
  copied = done == 0 && error != 0 ? -error : static_cast<int64_t>(done);
  if (done == bytes) return 0;
  return fail(done == 0 ? error : EAGAIN);
}

int Kernel::poison(PageRange range, int64_t& updated) {
  uint64_t done = 0;
  int error = 0;
  for (; done < range.bytes; done += kPageBytes) {
    Page& p = page(range.base + done);
    error = !p.watched ? ENOENT : p.there ? EEXIST : schedule.one_in(trouble.again) ? EAGAIN : 0;
    if (error != 0) break;
    p.poisoned = true;
  }
  if (done != 0) wake_range({range.base, done});
  updated = done == 0 && error != 0 ? -error : static_cast<int64_t>(done);
  if (done == range.bytes) return 0;
  return fail(done == 0 ? error : EAGAIN);
}

int Kernel::control(unsigned long request, void* argument) {
  // The pager holds its lock.
  if (schedule.one_in(8)) schedule.pause(/*locked=*/true);
  const auto address = [](uint64_t n) { return reinterpret_cast<char*>(n); };
  if (request == UFFDIO_API) return 0;
  if (request == UFFDIO_REGISTER) {
    auto& r = *static_cast<uffdio_register*>(argument);
    for (uint64_t at = 0; at < r.range.len; at += kPageBytes) {
      Page& p = page(address(r.range.start + at));
      if (!p.watched && p.there && !p.shared) ++own_pages_;
      p.watched = true;
    }
    return 0;
  }
  if (request == UFFDIO_COPY) {
    auto& r = *static_cast<uffdio_copy*>(argument);
    int64_t copied = 0;
    const int result = copy(address(r.dst), address(r.src), r.len, r.mode, copied);
    r.copy = copied;
    return result;
  }
  if (request == kMove) {
    auto& r = *static_cast<MoveRequest*>(argument);
    return move(address(r.dst), address(r.src), r.len, r.mode, r.move);
  }
  if (request == kPoison) {
    auto& r = *static_cast<PoisonRequest*>(argument);
    return poison({address(r.range.start), r.range.len}, r.updated);
  }
  if (request == UFFDIO_WAKE) {
    auto& r = *static_cast<uffdio_range*>(argument);
    wake_range({address(r.start), r.len});
    return 0;
  }
  if (request == UFFDIO_WRITEPROTECT) {
    auto& r = *static_cast<uffdio_writeprotect*>(argument);
    if (schedule.one_in(trouble.again)) return fail(EAGAIN);
    const PageRange range{address(r.range.start), r.range.len};
    const bool protect = (r.mode & UFFDIO_WRITEPROTECT_MODE_WP) != 0;
    for (char* at = range.base; at < range.end(); at += kPageBytes) {
      const Page* p = find(at);
      if (p == nullptr || !p->watched) return fail(ENOENT);
      page(at).is_protected = protect && p->there;
    }
    if (!protect) wake_range(range);
    return 0;
  }
  return fail(EINVAL);
}

// --- the disk: real files without a name, with what happens to them decided here

long Kernel::transfer(int fd, char* data, size_t bytes, int64_t offset, bool is_write) {
  schedule.pause(/*locked=*/false);
  if (schedule.one_in(trouble.interrupted)) return fail(EINTR);
  const auto& error_of = is_write ? trouble.write_error : trouble.read_error;
  if (error_of)
    if (const int error = error_of(static_cast<uint64_t>(offset), bytes); error != 0) return fail(error);
  if (bytes > kPageBytes && schedule.one_in(trouble.short_io))
    bytes = round_up(schedule.random(bytes - 1) + 1, 512);
  ++(is_write ? writes : reads);
  if (!is_write) return real_pread(fd, data, bytes, offset);
  struct stat st {};
  if (::fstat(fd, &st) == 0 && frozen_files_.contains(st.st_ino)) wrote_to_frozen_file = true;
  bytes_written += bytes;
  return real_pwrite(fd, data, bytes, offset);
}

int Kernel::change_file(int fd, int mode, int64_t offset, int64_t bytes) {
  if (mode == 0 && trouble.room_error != 0) return fail(trouble.room_error);
  struct stat st {};
  if (mode != 0 && ::fstat(fd, &st) == 0 && frozen_files_.contains(st.st_ino)) wrote_to_frozen_file = true;
  if (mode == 0) return 0;  // memory that a test has not written to need not be there
  return real_fallocate(fd, mode, offset, bytes);
}

// --- sleeping

void Kernel::wait_for(const void* word, const std::function<bool()>& has_changed) {
  if (has_changed()) return schedule.pause(/*locked=*/false);
  Sleeper me{word};
  sleepers_.push_back(&me);
  (void)schedule.wait_until([&me] { return me.woken; });
}

void Kernel::wake(const void* word, size_t most) {
  std::erase_if(sleepers_, [&](Sleeper* sleeper) {
    if (sleeper->word != word || most == 0) return false;
    --most;
    return sleeper->woken = true;
  });
}

}  // namespace spillway::simulation

#include "base/os/shared_budget.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "base/os/keep_errno.h"

namespace spillway::os {

struct SharedBudget::Table {
  std::atomic<uint64_t> total_bytes;
  struct Slot {
    std::atomic<uint64_t> wanted_bytes, minimum_bytes;
    std::atomic<uint32_t> weight;
  } slots[kBudgetSlots];  // slot 0 is the daemon's, and claims nothing
};

namespace {

Errno lock_byte(int fd, unsigned byte, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? Errno{} : Errno::last();
}

bool is_held(int fd, unsigned byte) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

}  // namespace

void divide_budget(uint64_t total, const BudgetClaim* claims, uint64_t* shares, unsigned count) {
  // 1. The minimums; when there is not so much, each the same part of its own.
  double minimums = 0;
  for (unsigned i = 0; i < count; ++i)
    if (claims[i].weight > 0) minimums += static_cast<double>(claims[i].minimum_bytes);
  const double part = minimums > static_cast<double>(total) ? static_cast<double>(total) / minimums : 1;
  double left = static_cast<double>(total);
  for (unsigned i = 0; i < count; ++i) {
    shares[i] =
        claims[i].weight > 0 ? static_cast<uint64_t>(static_cast<double>(claims[i].minimum_bytes) * part) : 0;
    left -= static_cast<double>(shares[i]);
  }
  // 2. The rest by weight, until all have what they want: each round satisfies one more, or is the last.
  bool beyond_wanted = false;
  while (left >= 1) {
    double weights = 0;
    for (unsigned i = 0; i < count; ++i)
      if (claims[i].weight > 0 && (beyond_wanted || shares[i] < claims[i].wanted_bytes))
        weights += claims[i].weight;
    if (weights == 0) {
      if (beyond_wanted) return;  // nobody is there
      beyond_wanted = true;       // 3. What nobody wants now somebody may want soon.
      continue;
    }
    double given = 0;
    bool somebody_has_enough = false;
    for (unsigned i = 0; i < count; ++i) {
      if (claims[i].weight == 0 || (!beyond_wanted && shares[i] >= claims[i].wanted_bytes)) continue;
      double more = left * claims[i].weight / weights;
      if (!beyond_wanted) {
        const double lacking = static_cast<double>(claims[i].wanted_bytes - shares[i]);
        if (lacking <= more) more = lacking, somebody_has_enough = true;
      }
      shares[i] += static_cast<uint64_t>(more);
      given += more;
    }
    left -= given;
    if (!somebody_has_enough) return;
  }
}

Errno SharedBudget::map(const char* path, bool create) {
  KeepErrno keep;
  leave();
  Fd fd(open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (create ? O_CREAT : 0), 0600));
  if (!fd.valid()) return Errno::last();
  if (create) {
    // Neither lengthened nor written to when it is somebody's file that happens to have this name.
    struct stat st {};
    if (fstat(fd.get(), &st) != 0) return Errno::last();
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_size != 0 && st.st_size != static_cast<off_t>(sizeof(Table))))
      return Errno(EPERM);
    if (ftruncate(fd.get(), sizeof(Table)) != 0) return Errno::last();
  } else {
    // A file that another made, or that is being made, would be a SIGBUS.
    struct stat st {};
    if (fstat(fd.get(), &st) != 0) return Errno::last();
    if (st.st_size != static_cast<off_t>(sizeof(Table)) || st.st_uid != geteuid()) return Errno(ENOENT);
  }
  void* const base = mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (base == MAP_FAILED) return Errno::last();
  fd_ = std::move(fd);
  table_ = static_cast<Table*>(base);
  return {};
}

Errno SharedBudget::serve(const char* path) {
  if (Errno e = map(path, true); !e.ok()) return e;
  KeepErrno keep;
  if (Errno e = lock_byte(fd_.get(), 0, F_WRLCK); !e.ok()) return e;
  (void)sweep();
  return {};
}

void SharedBudget::set_total(uint64_t bytes) {
  if (table_ != nullptr) table_->total_bytes.store(bytes, std::memory_order_relaxed);
}

unsigned SharedBudget::sweep() {
  KeepErrno keep;
  unsigned living = 0;
  for (unsigned i = 1; table_ != nullptr && i < kBudgetSlots; ++i) {
    if (table_->slots[i].weight.load(std::memory_order_relaxed) == 0) continue;
    if (is_held(fd_.get(), i))
      ++living;
    else
      table_->slots[i].weight.store(0, std::memory_order_relaxed);
  }
  return living;
}

Errno SharedBudget::join(const char* path, uint32_t weight, uint64_t minimum_bytes) {
  if (Errno e = map(path, false); !e.ok()) return e;
  KeepErrno keep;
  if (!is_held(fd_.get(), 0)) return leave(), Errno(ENOENT);
  for (unsigned i = 1; i < kBudgetSlots; ++i) {
    if (!lock_byte(fd_.get(), i, F_WRLCK).ok()) continue;
    slot_ = i;
    table_->slots[i].wanted_bytes.store(0, std::memory_order_relaxed);
    table_->slots[i].minimum_bytes.store(minimum_bytes, std::memory_order_relaxed);
    table_->slots[i].weight.store(std::max(weight, 1u), std::memory_order_relaxed);
    return {};
  }
  return leave(), Errno(EAGAIN);
}

uint64_t SharedBudget::share(uint64_t wanted_bytes) {
  if (slot_ == 0) return UINT64_MAX;
  KeepErrno keep;
  if (!is_held(fd_.get(), 0)) return UINT64_MAX;
  table_->slots[slot_].wanted_bytes.store(wanted_bytes, std::memory_order_relaxed);
  BudgetClaim claims[kBudgetSlots];
  uint64_t shares[kBudgetSlots];
  for (unsigned i = 1; i < kBudgetSlots; ++i) {
    claims[i].wanted_bytes = table_->slots[i].wanted_bytes.load(std::memory_order_relaxed);
    claims[i].minimum_bytes = table_->slots[i].minimum_bytes.load(std::memory_order_relaxed);
    claims[i].weight = table_->slots[i].weight.load(std::memory_order_relaxed);
  }
  divide_budget(table_->total_bytes.load(std::memory_order_relaxed), claims, shares, kBudgetSlots);
  return shares[slot_];
}

void SharedBudget::leave() {
  if (slot_ != 0) table_->slots[slot_].weight.store(0, std::memory_order_relaxed);
  forget();
}

void SharedBudget::forget() {
  KeepErrno keep;
  slot_ = 0;
  if (table_ != nullptr) munmap(table_, sizeof(Table));
  table_ = nullptr;
  fd_.reset();
}

bool default_budget_path(char* path, uint64_t bytes) {
  int length;
  if (const char* socket = getenv("SPILLWAY_SOCKET"); socket != nullptr && *socket)
    length = snprintf(path, bytes, "%s.budget", socket);
  else if (const char* folder = getenv("XDG_RUNTIME_DIR"); folder != nullptr && *folder == '/')
    length = snprintf(path, bytes, "%s/spillway/pool.sock.budget", folder);
  else
    length = snprintf(path, bytes, "/tmp/spillway-%u/pool.sock.budget", geteuid());
  return length > 0 && static_cast<uint64_t>(length) < bytes;
}

}  // namespace spillway::os

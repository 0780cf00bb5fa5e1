#include "base/os/memory.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/os/keep_errno.h"

namespace spillway::os {
namespace {

void* raw_mmap(void* base, uint64_t bytes, int protection, int flags, int fd, uint64_t offset) {
  return reinterpret_cast<void*>(syscall(SYS_mmap, base, bytes, protection, flags, fd, offset));
}

Errno map_fixed(PageRange range, int protection, int flags, int fd, uint64_t offset) {
  KeepErrno keep;
  void* at = raw_mmap(range.base, range.bytes, protection, flags | MAP_FIXED, fd, offset);
  if (at == MAP_FAILED) return Errno::last();
  CHECK(at == range.base, "the kernel placed a fixed mapping elsewhere");
  return {};
}

Errno raw_madvise(PageRange range, int advice) {
  KeepErrno keep;  // free() comes through here
  return syscall(SYS_madvise, range.base, range.bytes, advice) == 0 ? Errno{} : Errno::last();
}

}  // namespace

Result<PageRange> reserve(uint64_t bytes, uint64_t alignment) {
  KeepErrno keep;
  const uint64_t padded = bytes + alignment - kPageBytes;
  if (padded < bytes) return Errno(ENOMEM);
  void* at = raw_mmap(nullptr, padded, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return Errno::last();
  char* base = static_cast<char*>(at);
  char* aligned = reinterpret_cast<char*>(round_up(reinterpret_cast<uint64_t>(base), alignment));
  const uint64_t head = static_cast<uint64_t>(aligned - base);
  if (head != 0) unreserve({base, head});
  if (padded - head - bytes != 0) unreserve({aligned + bytes, padded - head - bytes});
  return PageRange{aligned, bytes};
}

void unreserve(PageRange range) {
  KeepErrno keep;
  // Fails only when splitting a mapping would exceed vm.max_map_count; the address space then stays reserved.
  syscall(SYS_munmap, range.base, range.bytes);
}

Errno make_accessible(PageRange range) {
  KeepErrno keep;
  return syscall(SYS_mprotect, range.base, range.bytes, PROT_READ | PROT_WRITE) == 0 ? Errno{}
                                                                                     : Errno::last();
}
Errno make_inaccessible(PageRange range) {
  return map_fixed(range, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}
Errno map_anonymous(PageRange range) {
  return map_fixed(range, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
Result<PageRange> map_for_family(uint64_t bytes) {
  KeepErrno keep;
  void* at = raw_mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return Errno::last();
  return PageRange{static_cast<char*>(at), bytes};
}
Errno map_file_shared(PageRange range, int fd, uint64_t offset) {
  return map_fixed(range, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
}
Errno map_file_private(PageRange range, int fd, uint64_t offset) {
  // NORESERVE: the copy-on-write charge of a block larger than memory must not make fork fail.
  return map_fixed(range, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, offset);
}

Errno map_nothing(PageRange range) {
  KeepErrno keep;
  const int empty = memfd_create("nothing", MFD_CLOEXEC);
  if (empty < 0) return Errno::last();
  const Errno e = map_file_private(range, empty, 0);
  close(empty);
  return e;
}

Errno move_pages(PageRange from, PageRange to) {
  KeepErrno keep;
  constexpr int kFlags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  return program_mremap(from.base, from.bytes, from.bytes, kFlags, to.base) == MAP_FAILED ? Errno::last()
                                                                                          : Errno{};
}

Errno discard(PageRange range) { return raw_madvise(range, MADV_DONTNEED); }
Errno punch_hole(PageRange range) { return raw_madvise(range, MADV_REMOVE); }
Errno let_go(PageRange range) { return raw_madvise(range, MADV_DONTNEED); }
Errno cached_pages(PageRange range, unsigned char* pages) {
  KeepErrno keep;
  return syscall(SYS_mincore, range.base, range.bytes, pages) == 0 ? Errno{} : Errno::last();
}
Errno page_out(PageRange range) { return raw_madvise(range, MADV_PAGEOUT); }
Errno prefetch(PageRange range) { return raw_madvise(range, MADV_WILLNEED); }
Errno advise(PageRange range, int advice) { return raw_madvise(range, advice); }
Errno use_small_pages(PageRange range) { return raw_madvise(range, MADV_NOHUGEPAGE); }
Errno use_huge_pages(PageRange range) { return raw_madvise(range, MADV_HUGEPAGE); }
Errno make_huge_pages(PageRange range) {
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
  return raw_madvise(range, MADV_COLLAPSE);
}
Errno populate(PageRange range) { return raw_madvise(range, MADV_POPULATE_READ); }

bool is_huge_page(const void* address) {
  KeepErrno keep;
  // linux/fs.h of 6.7.
  struct Region {
    uint64_t start, end, categories;
  } found{};
  struct {
    uint64_t size, flags, start, end, walk_end, regions, regions_count, most_pages, inverted, all_of, any_of,
        returned;
  } scan{};
  constexpr uint64_t kIsHuge = 1 << 6;
  scan.size = sizeof scan;
  scan.start = reinterpret_cast<uint64_t>(address) & ~(kPageBytes - 1);
  scan.end = scan.start + kPageBytes;
  scan.regions = reinterpret_cast<uint64_t>(&found);
  scan.regions_count = 1;
  scan.all_of = scan.returned = kIsHuge;
  const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool is_huge = ioctl(fd, _IOWR('f', 16, decltype(scan)), &scan) == 1;
  close(fd);
  return is_huge;
}

bool is_swapped_out(const void* page) {
  KeepErrno keep;
  // Documentation/admin-guide/mm/pagemap.rst
  constexpr uint64_t kSwapped = uint64_t{1} << 62;
  uint64_t entry = 0;
  const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const auto at = static_cast<off_t>(reinterpret_cast<uint64_t>(page) / kPageBytes * sizeof entry);
  const bool is_swapped = pread(fd, &entry, sizeof entry, at) == sizeof entry && (entry & kSwapped) != 0;
  close(fd);
  return is_swapped;
}

void make_own(PageRange range) {
  if (raw_madvise(range, MADV_POPULATE_WRITE).ok()) return;
  // An older kernel, or some page may not be written to: this adds 0 as an atomic instruction does, and where
  // it cannot it is no signal but an error.
  KeepErrno keep;
  uint32_t nobody = 0;
  for (char* page = range.base; page < range.end(); page += kPageBytes)
    syscall(SYS_futex, &nobody, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, nullptr, page,
            FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_LT, 0));
}
Errno not_in_children(PageRange range) { return raw_madvise(range, MADV_DONTFORK); }

void* program_mmap(void* hint, uint64_t bytes, int protection, int flags, int fd, int64_t offset) {
  return reinterpret_cast<void*>(syscall(SYS_mmap, hint, bytes, protection, flags, fd, offset));
}
int program_madvise(void* base, uint64_t bytes, int advice) {
  return static_cast<int>(syscall(SYS_madvise, base, bytes, advice));
}
int program_mprotect(void* base, uint64_t bytes, int protection) {
  return static_cast<int>(syscall(SYS_mprotect, base, bytes, protection));
}
int program_munmap(void* base, uint64_t bytes) { return static_cast<int>(syscall(SYS_munmap, base, bytes)); }
int program_mlock(const void* base, uint64_t bytes, unsigned flags, bool has_flags) {
  return static_cast<int>(has_flags ? syscall(SYS_mlock2, base, bytes, flags)
                                    : syscall(SYS_mlock, base, bytes));
}
void* program_mremap(void* base, uint64_t old_bytes, uint64_t new_bytes, int flags, void* target) {
  return reinterpret_cast<void*>(syscall(SYS_mremap, base, old_bytes, new_bytes, flags, target));
}

}  // namespace spillway::os

// memory.h - address space and what is behind it, by intent.
// These are raw system calls: the preload library exports madvise, mprotect, mremap and munmap itself, to
// watch the program's own calls, and must not meet its own hooks.
#pragma once
#include "base/core/page_range.h"
#include "base/core/result.h"

namespace spillway::os {

// Address space with nothing in it: a touch is a SIGSEGV; costs no memory and no commit charge.
// `alignment` is a power of two, at least a page. ENOMEM: RLIMIT_AS or no such hole.
Result<PageRange> reserve(uint64_t bytes, uint64_t alignment);
// Gives address space back. The range may be part of a reservation.
void unreserve(PageRange range);
// Zeroed memory of the process, read-write, in a reservation that has nothing there yet.
Errno make_accessible(PageRange range);
// Back to the state after reserve(), whatever was mapped there.
Errno make_inaccessible(PageRange range);

// Zeroed memory of the process, read-write, in place of what was there.
Errno map_anonymous(PageRange range);
// Zeroed memory, anywhere, that this process will share with its children, and they with theirs.
Result<PageRange> map_for_family(uint64_t bytes);
// The file's own bytes: writes reach the file, and everybody who maps it so.
Errno map_file_shared(PageRange range, int fd, uint64_t offset);
// A snapshot: reads come from the file until this process writes the page; writes stay here.
// Exact only while nobody writes to the file any more.
Errno map_file_private(PageRange range, int fd, uint64_t offset);

// A touch is SIGBUS, or EFAULT in a system call.
Errno map_nothing(PageRange range);
// The pages go there, in place of what is there; where they were stays mapped, and reads as zeroes (or, if
// watched, waits for an answer). Of one mapping of private anonymous memory. Linux 5.7.
Errno move_pages(PageRange from, PageRange to);

// The next touch reads zeroes. Private anonymous memory only: a file mapping would give the old bytes back.
Errno discard(PageRange range);
// Shared file mappings: the pages and the disk blocks behind them are gone, the next touch reads zeroes from
// a hole. Needs no descriptor. EOPNOTSUPP: the file system cannot punch holes.
Errno punch_hole(PageRange range);
// Shared file mappings: the process lets go of the pages, the page cache keeps them. The next touch is a
// minor fault, or a read if the kernel needed the memory meanwhile.
Errno let_go(PageRange range);

// Sets bit 0 of pages[i] when page i of the range is in memory, mapped or not. ENOMEM: part of it is not
// mapped.
Errno cached_pages(PageRange range, unsigned char* pages);

Errno page_out(PageRange range);  // MADV_PAGEOUT, Linux 5.4: they leave memory as if it were short
Errno prefetch(PageRange range);  // MADV_WILLNEED: starts the reads and returns
// madvise(2)'s numbers, which exm's interface takes.
enum Advice : int { kAdviceNormal = 0, kAdviceRandom = 1, kAdviceSequential = 2 };
Errno advise(PageRange range, int advice);
Errno use_small_pages(PageRange range);  // a wish; EINVAL on kernels without huge ones
Errno use_huge_pages(PageRange range);   // likewise
// The kernel copies what is there into huge pages now, for all who map it. Linux 6.1, before it EINVAL.
Errno make_huge_pages(PageRange range);
// Maps what is there or can be read, as if it had been. Linux 5.14, before it EINVAL.
Errno populate(PageRange range);
// Whether the address is mapped by a huge page. False also before Linux 6.7, which does not tell.
bool is_huge_page(const void* address);
// The page of private memory is in a swap area. False also where the kernel does not tell.
bool is_swapped_out(const void* page);
Errno not_in_children(PageRange range);
// Every page that may be written to is there and this process's alone, as if it had been.
void make_own(PageRange range);

// What program_mprotect() takes, among others.
enum Protection : int { kNoAccess = 0, kReadWrite = 3 };
// mprotect, mremap and so on as the program meant them, for the exported hooks.
void* program_mmap(void* hint, uint64_t bytes, int protection, int flags, int fd, int64_t offset);
int program_madvise(void* base, uint64_t bytes, int advice);
int program_mprotect(void* base, uint64_t bytes, int protection);
int program_munmap(void* base, uint64_t bytes);
int program_mlock(const void* base, uint64_t bytes, unsigned flags, bool has_flags);
void* program_mremap(void* base, uint64_t old_bytes, uint64_t new_bytes, int flags, void* target);

}  // namespace spillway::os

// base_os.cc - what base/os exports, over the kernel of a test: all that the pager needs of memory, threads,
// /proc and messages. base/os/userfault.cc and file.cc are the real ones; system_calls.cc is what they call.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/os/fatal.h"
#include "base/os/futex.h"
#include "base/os/limits.h"
#include "base/os/memory.h"
#include "base/os/memory_room.h"
#include "base/os/procfs.h"
#include "base/os/shared_budget.h"
#include "base/os/stop_threads.h"
#include "base/os/thread.h"
#include "libpreload/stats.h"
#include "tests/simulation/kernel.h"

namespace spillway {

constinit Stats stats;

namespace os {

using simulation::Kernel;
using simulation::Schedule;

// --- memory

Result<PageRange> reserve(uint64_t bytes, uint64_t alignment) {
  const PageRange range = Kernel::now().reserve(bytes, alignment);
  if (range.empty()) return Errno(ENOMEM);
  return range;
}
void unreserve(PageRange range) { Kernel::now().unreserve(range); }
Errno make_accessible(PageRange) { return {}; }
Errno map_anonymous(PageRange range) { return Kernel::now().map_anew(range), Errno{}; }
Result<PageRange> map_for_family(uint64_t bytes) { return reserve(bytes, kPageBytes); }
Errno map_file_private(PageRange, int, uint64_t) { return Errno(ENOMEM); }
Errno map_nothing(PageRange) { return Errno(ENOMEM); }
Errno move_pages(PageRange, PageRange) { return Errno(ENOSYS); }
Errno discard(PageRange range) { return Kernel::now().discard(range), Errno{}; }
Errno advise(PageRange, int) { return {}; }
Errno use_small_pages(PageRange) { return {}; }
Errno use_huge_pages(PageRange) { return {}; }
Errno not_in_children(PageRange) { return {}; }
void make_own(PageRange range) { Kernel::now().make_own(range); }
bool is_swapped_out(const void*) { return false; }
Errno cached_pages(PageRange range, unsigned char* pages) {
  for (uint64_t i = 0; i < range.bytes / kPageBytes; ++i)
    pages[i] = Kernel::now().is_there(range.base + i * kPageBytes);
  return {};
}

// --- threads

bool start_thread(void* (*body)(void*), void* argument, Urgency) {
  Kernel::now().schedule.start(Schedule::Kind::kPager, [=] { body(argument); });
  return true;
}
void wake_soon() {}
int processor_of(uint32_t) { return -1; }
bool run_on(int) { return false; }
void Processors::remember() {}
void Processors::run_there() const {}
void leave_this_thread_running() {}
void wait(const std::atomic<uint32_t>& word, uint32_t value) {
  Kernel::now().wait_for(&word, [&] { return word != value; });
}
void wake_one(const std::atomic<uint32_t>& word) { Kernel::now().wake(&word, 1); }
void wake_all(const std::atomic<uint32_t>& word) { Kernel::now().wake(&word); }

// --- the machine

uint64_t memory_limit_bytes() { return 64 * kGiB; }
uint64_t address_space_limit() { return UINT64_MAX; }
void MemoryRoom::open() {}
void MemoryRoom::forget() {}
int64_t MemoryRoom::left() const { return Kernel::now().memory_left(); }
MemoryMeter::MemoryMeter() = default;
MemoryUse MemoryMeter::read() const { return {}; }
Errno PageTable::open() { return {}; }
PageTable::Count PageTable::count(PageRange range) const { return {Kernel::now().pages_there(range), 0}; }
int process_id() { return 1; }
const char* program_name() { return "simulation"; }
bool default_budget_path(char*, uint64_t) { return false; }
Errno SharedBudget::join(const char*, uint32_t, uint64_t) { return Errno(ENOENT); }
uint64_t SharedBudget::share(uint64_t) { return UINT64_MAX; }
void SharedBudget::leave() {}
void SharedBudget::forget() {}

// --- words

void say(const char* format, ...) {
  char line[1000];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  Kernel::now().said.push_back(line);
}

void die(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  abort();
}

void check_failed(const char* message, const char* file, int line) { die("%s (%s:%d)", message, file, line); }

}  // namespace os
}  // namespace spillway

#include "base/os/procfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/os/keep_errno.h"

namespace spillway::os {

uint64_t field(const char* text, const char* key) {
  const size_t length = strlen(key);
  for (const char* line = text; line != nullptr; line = strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (strncmp(line, key, length) == 0) return strtoull(line + length, nullptr, 10);
  }
  return 0;
}

bool read_text(const char* path, char* buffer, size_t bytes) {
  KeepErrno keep;
  Fd fd(open(path, O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return false;
  size_t used = 0;
  while (used < bytes - 1) {
    const ssize_t n = read(fd.get(), buffer + used, bytes - 1 - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    if (n == 0) break;
    used += static_cast<size_t>(n);
  }
  buffer[used] = '\0';
  return true;
}

MemoryMeter::MemoryMeter() : fd_(open_high("/proc/self/statm", O_RDONLY)) {}

MemoryUse MemoryMeter::read() const {
  KeepErrno keep;
  char text[128];
  const ssize_t n = pread(fd_.get(), text, sizeof text - 1, 0);
  if (n <= 0) return {};
  text[n] = '\0';
  unsigned long size = 0, resident = 0, shared = 0;
  if (sscanf(text, "%lu %lu %lu", &size, &resident, &shared) != 3) return {};
  return {(resident - shared) * kPageBytes, shared * kPageBytes};
}

ProcessTotals process_totals() {
  ProcessTotals totals;
  char text[4096];
  if (read_text("/proc/self/status", text, sizeof text))
    totals.peak_resident_bytes = field(text, "VmHWM:") * kKiB;
  if (read_text("/proc/self/io", text, sizeof text)) {
    totals.storage_read_bytes = field(text, "read_bytes:");
    totals.storage_written_bytes = field(text, "write_bytes:");
  }
  totals.major_faults = major_faults();
  return totals;
}

uint64_t major_faults() {
  rusage usage{};
  return getrusage(RUSAGE_SELF, &usage) == 0 ? static_cast<uint64_t>(usage.ru_majflt) : 0;
}

bool mapped_file_path(const void* address, char* path, size_t bytes) {
  KeepErrno keep;
  FILE* maps = fopen("/proc/self/maps", "re");
  if (maps == nullptr) return false;
  const auto wanted = reinterpret_cast<unsigned long>(address);
  unsigned long start = 0, end = 0;
  char line[512];
  bool found = false;
  while (!found && fgets(line, sizeof line, maps) != nullptr)
    found = sscanf(line, "%lx-%lx", &start, &end) == 2 && start <= wanted && wanted < end;
  fclose(maps);
  snprintf(path, bytes, "/proc/%d/map_files/%lx-%lx", getpid(), start, end);
  return found && Fd(open(path, O_RDONLY | O_CLOEXEC)).valid();
}

int process_id() { return getpid(); }

const char* program_name() { return program_invocation_short_name; }

ThreadList::ThreadList() : directory_(::open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {}

int ThreadList::next() {
  for (;;) {
    if (at_ == filled_) {
      filled_ = syscall(SYS_getdents64, directory_.get(), buffer_, sizeof buffer_);
      at_ = 0;
      if (filled_ <= 0) {
        filled_ = 0;
        return 0;
      }
    }
    const auto* entry = reinterpret_cast<const dirent64*>(buffer_ + at_);
    at_ += entry->d_reclen;
    if (const int thread = atoi(entry->d_name); thread > 0) return thread;
  }
}

Errno MappingList::open() {
  KeepErrno keep;
  fd_ = open_high("/proc/self/maps", O_RDONLY);
  return fd_.valid() ? Errno{} : Errno::last();
}

bool MappingList::next(Entry& entry) {
  KeepErrno keep;
  // START-END rwxp OFFSET MAJOR:MINOR INODE PATH, of which the path may be long.
  char line[128];
  size_t length = 0;
  for (char byte = 0; byte != '\n'; ++at_) {
    if (at_ == filled_) {
      const ssize_t got = read(fd_.get(), buffer_, sizeof buffer_);
      if (got <= 0) return false;
      filled_ = static_cast<size_t>(got);
      at_ = 0;
    }
    byte = buffer_[at_];
    if (length < sizeof line - 1) line[length++] = byte;
  }
  line[length] = '\0';
  char* at = line;
  const uint64_t start = strtoull(at, &at, 16);
  const uint64_t end = strtoull(at + 1, &at, 16);
  entry.range = {reinterpret_cast<char*>(start), end - start};
  entry.protection =
      (at[1] == 'r' ? PROT_READ : 0) | (at[2] == 'w' ? PROT_WRITE : 0) | (at[3] == 'x' ? PROT_EXEC : 0);
  entry.is_shared = at[4] == 's';
  (void)strtoull(at + 6, &at, 16);
  (void)strtoull(at + 1, &at, 16);
  (void)strtoull(at + 1, &at, 16);
  entry.inode = strtoull(at, &at, 10);
  return true;
}

Errno PageTable::open() {
  KeepErrno keep;
  fd_ = open_high("/proc/self/pagemap", O_RDONLY);
  return fd_.valid() ? Errno{} : Errno::last();
}

namespace {
// Bits of an entry of pagemap: Documentation/admin-guide/mm/pagemap.rst
constexpr uint64_t kPresent = uint64_t{1} << 63, kSwapped = uint64_t{1} << 62, kOfFile = uint64_t{1} << 61;
constexpr size_t kEntries = 512;

// Of so many pages the kernel told, from the range's first on.
size_t read_entries(const Fd& pagemap, PageRange range, uint64_t* entries) {
  const size_t wanted = std::min<uint64_t>(range.bytes / kPageBytes, kEntries) * sizeof entries[0];
  const uint64_t at = reinterpret_cast<uint64_t>(range.base) / kPageBytes * sizeof entries[0];
  const ssize_t got = pread(pagemap.get(), entries, wanted, static_cast<off_t>(at));
  return got <= 0 ? 0 : static_cast<size_t>(got) / sizeof entries[0];
}
}  // namespace

PageTable::Count PageTable::count(PageRange range) const {
  KeepErrno keep;
  Count count;
  uint64_t entries[kEntries];
  while (const size_t n = read_entries(fd_, range, entries)) {
    for (size_t i = 0; i < n; ++i) {
      count.present += (entries[i] & kPresent) != 0;
      count.anonymous += (entries[i] & (kPresent | kSwapped)) != 0 && (entries[i] & kOfFile) == 0;
    }
    range = {range.base + n * kPageBytes, range.bytes - n * kPageBytes};
  }
  return count;
}

void PageTable::look(PageRange range, bool* present) const {
  KeepErrno keep;
  uint64_t entries[kEntries];
  const size_t n = read_entries(fd_, range, entries);
  for (size_t i = 0; i < range.bytes / kPageBytes; ++i) present[i] = i < n && (entries[i] & kPresent) != 0;
}

}  // namespace spillway::os

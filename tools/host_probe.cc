#include "tools/host_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <fstream>

#include "tools/settings.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

namespace spillway::tools {
namespace {

constexpr uint64_t kUffdFeatureMove = 1u << 16;  // newer than Debian 12's kernel headers

std::optional<uint64_t> leading_number(const std::string& text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

void keep_least(std::optional<MemoryLimit>& least, const std::string& root, std::string group,
                const char* file) {
  // Groups of the host may be out of sight in a container: what cannot be read does not count.
  for (;;) {
    const std::string path = root + group + "/" + file;
    const auto bytes = read_number(path);  // "max" is no number
    if (bytes && (!least || *bytes < least->bytes)) least = {*bytes, path};
    if (group.empty()) return;
    group.resize(group.rfind('/'));
  }
}

}  // namespace

std::string read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<uint64_t> read_number(const std::string& path) { return leading_number(read_line(path)); }

std::optional<uint64_t> meminfo_bytes(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key + ":")) continue;
    const size_t digits = line.find_first_of("0123456789");
    const auto kilobytes = digits == std::string::npos ? std::nullopt : leading_number(line.substr(digits));
    return kilobytes ? std::optional(*kilobytes * 1024) : std::nullopt;
  }
  return std::nullopt;
}

std::string chosen_word(const std::string& list) {
  const size_t open = list.find('[');
  const size_t close = list.find(']', open);
  return open == std::string::npos || close == std::string::npos ? list
                                                                 : list.substr(open + 1, close - open - 1);
}

std::optional<MemoryLimit> cgroup_memory_limit() {
  std::optional<MemoryLimit> least;
  std::ifstream file("/proc/self/cgroup");  // lines such as "4:memory:/group" (v1) and "0::/group" (v2)
  for (std::string line; std::getline(file, line);) {
    const size_t controllers = line.find(':');
    const size_t path = controllers == std::string::npos ? controllers : line.find(':', controllers + 1);
    if (path == std::string::npos) continue;
    const std::string names = "," + line.substr(controllers + 1, path - controllers - 1) + ",";
    std::string group = line.substr(path + 1);
    if (group == "/") group.clear();
    if (names == ",,") keep_least(least, "/sys/fs/cgroup", group, "memory.max");
    if (names.find(",memory,") != std::string::npos)
      keep_least(least, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
  }
  // cgroup v1 says "no limit" with a number larger than any machine.
  const auto machine = meminfo_bytes("MemTotal");
  if (least && machine && least->bytes >= *machine) return std::nullopt;
  return least;
}

Userfaultfd probe_userfaultfd() {
  Userfaultfd found;
  if (is_masked("uffd")) {
    found.error = ENOSYS;
    return found;
  }
  constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;
  int fd = static_cast<int>(::syscall(SYS_userfaultfd, kFlags));
  found.error = fd < 0 ? errno : 0;
  if (fd < 0) {
    if (const int device = ::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC); device >= 0) {
      fd = ::ioctl(device, USERFAULTFD_IOC_NEW, kFlags);
      if (fd >= 0) found.error = 0;
      ::close(device);
    }
  }
  if (fd < 0) {
    fd = static_cast<int>(::syscall(SYS_userfaultfd, kFlags | UFFD_USER_MODE_ONLY));
    found.user_mode_only = fd >= 0;
  }
  if (fd < 0) return found;
  uffdio_api api{};
  api.api = UFFD_API;
  found.has_move =
      !is_masked("move") && ::ioctl(fd, UFFDIO_API, &api) == 0 && (api.features & kUffdFeatureMove) != 0;
  ::close(fd);
  return found;
}

int probe_perf_events() {
  if (is_masked("perf")) return ENOSYS;
  perf_event_attr event{};
  event.size = sizeof event;
  event.type = PERF_TYPE_SOFTWARE;
  event.config = PERF_COUNT_SW_PAGE_FAULTS_MAJ;
  event.sample_period = 1;
  event.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_ADDR;
  event.disabled = 1;
  event.exclude_kernel = 1;  // without it, the default paranoid level 2 refuses
  const int fd = static_cast<int>(::syscall(SYS_perf_event_open, &event, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
  if (fd < 0) return errno;
  // The samples come in memory that counts against kernel.perf_event_mlock_kb.
  const size_t bytes = 2 * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  void* ring = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int error = ring == MAP_FAILED ? errno : 0;
  if (!error) ::munmap(ring, bytes);
  ::close(fd);
  return error;
}

}  // namespace spillway::tools

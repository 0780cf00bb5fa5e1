// counters.h - what a row cost: wall time, major faults, bytes moved. The process's own I/O counters miss
// write-back and swapping, which the kernel does in nobody's name; the device's counters see everything,
// other programs included.
#pragma once
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

namespace spillway::bench {

inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Counters {
  double seconds = 0;
  double cpu_seconds = 0;  // user and system, all threads
  uint64_t major_faults = 0;
  uint64_t device_read_bytes = 0;
  uint64_t device_written_bytes = 0;

  static Counters now(const std::string& device_stat) {
    Counters c;
    c.seconds = now_seconds();
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    c.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    c.major_faults = static_cast<uint64_t>(usage.ru_majflt);
    std::ifstream stat(device_stat);
    uint64_t field[7] = {};
    for (uint64_t& f : field) stat >> f;
    c.device_read_bytes = field[2] * 512;
    c.device_written_bytes = field[6] * 512;
    return c;
  }

  Counters since(const Counters& start) const {
    return {seconds - start.seconds, cpu_seconds - start.cpu_seconds, major_faults - start.major_faults,
            device_read_bytes - start.device_read_bytes, device_written_bytes - start.device_written_bytes};
  }
};

// The counters of the block device that holds `dir`; a file that does not exist when there is none.
inline std::string device_stat_of(const std::string& dir) {
  struct stat st {};
  if (::stat(dir.c_str(), &st) != 0) return {};
  return "/sys/dev/block/" + std::to_string(major(st.st_dev)) + ":" + std::to_string(minor(st.st_dev)) +
         "/stat";
}

}  // namespace spillway::bench

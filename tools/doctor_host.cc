// What the doctor says about memory, the kernel and the limits of the process.
#include <errno.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <optional>

#include "tools/finding.h"
#include "tools/host_probe.h"

namespace spillway::tools {
namespace {

using Status = Finding::Status;

Finding memory(uint64_t machine_bytes) {
  return ok("memory", fmt::format("{} of {} available", human_size(meminfo_bytes("MemAvailable").value_or(0)),
                                  human_size(machine_bytes)));
}

Finding memory_limit(const std::optional<MemoryLimit>& limit) {
  if (!limit) return ok("cgroup-limit", "none");
  return ok("cgroup-limit", fmt::format("{} ({})", human_size(limit->bytes), limit->file));
}

Finding swap_space(uint64_t bytes) {
  if (bytes > 0) return ok("swap", human_size(bytes));
  return {
      "swap", Status::kNote, "none", "allocations below the threshold cannot leave memory",
      fmt::format("{} && {} && {} && {}", as_root("fallocate -l 4G /swapfile"),
                  as_root("chmod 600 /swapfile"), as_root("mkswap /swapfile"), as_root("swapon /swapfile"))};
}

Finding dirty_limit() {
  constexpr uint64_t kPlenty = uint64_t{4} << 30;  // a second or more of a fast disk's writing
  const uint64_t bytes = read_number("/proc/sys/vm/dirty_bytes").value_or(0);
  const uint64_t ratio = read_number("/proc/sys/vm/dirty_ratio").value_or(0);  // 0 when bytes are set
  const std::string value = bytes > 0
                                ? "vm.dirty_bytes " + human_size(bytes)
                                : fmt::format("vm.dirty_ratio {} %, background {} %", ratio,
                                              read_number("/proc/sys/vm/dirty_background_ratio").value_or(0));
  if (bytes > 0 ? bytes >= kPlenty : ratio >= 40) return ok("dirty-limit", value);
  return {"dirty-limit", Status::kNote, value,
          fmt::format("a program that fills memory is made to wait once {} is not yet written",
                      bytes > 0 ? human_size(bytes) : fmt::format("{} % of free memory", ratio)),
          set_sysctl("vm.dirty_ratio=60")};
}

Finding overcommit() {
  const auto mode = read_number("/proc/sys/vm/overcommit_memory");
  if (mode != 2) return ok("overcommit", fmt::format("vm.overcommit_memory {}", mode.value_or(0)));
  return {"overcommit", Status::kNote, "vm.overcommit_memory 2 (strict)",
          "the copies that forked children may make count in full; fork may fail with ENOMEM",
          set_sysctl("vm.overcommit_memory=0")};
}

Finding huge_pages() {
  const std::string chosen = chosen_word(read_line("/sys/kernel/mm/transparent_hugepage/enabled"));
  if (chosen == "always" || chosen == "madvise") return ok("huge-pages", chosen);
  return {"huge-pages", Status::kNote, chosen.empty() ? "not in this kernel" : chosen,
          "programs that ask for huge pages get memory 4 KiB at a time: filling it may take longer",
          chosen.empty() ? "" : write_to("/sys/kernel/mm/transparent_hugepage/enabled", "madvise")};
}

Finding map_count() {
  constexpr uint64_t kDefault = 65530;
  const uint64_t most = read_number("/proc/sys/vm/max_map_count").value_or(kDefault);
  if (most >= kDefault) return ok("max-map-count", fmt::format("vm.max_map_count {}", most));
  return {"max-map-count", Status::kWarn, fmt::format("vm.max_map_count {}", most),
          "forks and mprotect of many large blocks run out of mappings: ENOMEM with memory left",
          set_sysctl("vm.max_map_count=262144")};
}

Finding kernel() {
  utsname name{};
  ::uname(&name);
  char* rest = name.release;  // "6.1.0-18-amd64"
  const unsigned long major = ::strtoul(rest, &rest, 10);
  const unsigned long minor = *rest == '.' ? ::strtoul(rest + 1, nullptr, 10) : 0;
  if (major > 5 || (major == 5 && minor >= 7)) return ok("kernel", name.release);
  return {"kernel", Status::kNote, name.release, "older than 5.7: only the file backing will ever work here",
          "upgrade the kernel (6.8 or newer is best)"};
}

Finding userfaultfd() {
  const Userfaultfd found = probe_userfaultfd();
  constexpr const char* kCost =
      "large blocks are in files instead of managed memory: slower once memory is full";
  if (found.error == 0 && found.has_move) return ok("userfaultfd", "permitted, with MOVE");
  if (found.error == 0)
    return {"userfaultfd", Status::kNote, "permitted, without MOVE",
            "auto uses files; --backing managed works, but not for programs that read with O_DIRECT into "
            "large blocks",
            "upgrade the kernel (6.8 or newer)"};
  return {"userfaultfd", Status::kNote,
          fmt::format("{}{}", ::strerror(found.error),
                      found.user_mode_only ? " (user mode only is permitted)" : ""),
          kCost,
          ::access("/dev/userfaultfd", F_OK) == 0 ? "sudo chmod 666 /dev/userfaultfd   (until the next boot; "
                                                    "the udev rule of `sudo make install` lasts)"
                                                  : set_sysctl("vm.unprivileged_userfaultfd=1")};
}

Finding perf_events() {
  const std::string level = read_line("/proc/sys/kernel/perf_event_paranoid");
  const std::string setting = level.empty() ? "not in this kernel" : "kernel.perf_event_paranoid " + level;
  const int error = probe_perf_events();
  if (error == 0) return ok("fault-events", fmt::format("permitted ({})", setting));
  return {"fault-events", Status::kNote, fmt::format("{} ({})", ::strerror(error), setting),
          "streams and random access are recognised later, by comparing what is in memory",
          error == EACCES || error == EPERM ? set_sysctl("kernel.perf_event_paranoid=2") : ""};
}

Finding open_files() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const std::string value = limit.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_cur);
  if (limit.rlim_cur >= 64) return ok("open-files", value);
  return {"open-files", Status::kWarn, value,
          "when the program has all descriptors open, new large blocks do not spill", "ulimit -n 1024"};
}

Finding real_time() {
  rlimit limit{};
  ::getrlimit(RLIMIT_RTPRIO, &limit);
  if (::geteuid() == 0 || limit.rlim_cur > 0) return ok("real-time", "permitted");
  return {
      "real-time", Status::kNote, "not permitted (RLIMIT_RTPRIO 0)",
      "while the pool's daemon writes, one in a hundred of its answers may wait a few ms for a processor",
      "echo \"$USER - rtprio 1\" | sudo tee -a /etc/security/limits.d/spillway.conf   (from the next login "
      "on)"};
}

Finding address_space(uint64_t machine_bytes) {
  rlimit limit{};
  ::getrlimit(RLIMIT_AS, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return ok("address-space", "unlimited");
  Finding finding = ok("address-space", human_size(limit.rlim_cur));
  finding.status = limit.rlim_cur < machine_bytes ? Status::kWarn : Status::kNote;
  finding.cost = "all memory, spilled or not, ends there; malloc then returns NULL";
  finding.remedy = "ulimit -v unlimited";
  return finding;
}

}  // namespace

std::vector<Finding> examine_memory_and_kernel() {
  const uint64_t machine_bytes = meminfo_bytes("MemTotal").value_or(0);
  return {
      kernel(),
      memory(machine_bytes),
      memory_limit(cgroup_memory_limit()),
      swap_space(meminfo_bytes("SwapTotal").value_or(0)),
      dirty_limit(),
      overcommit(),
      huge_pages(),
      map_count(),
      perf_events(),
      real_time(),
      userfaultfd(),
      open_files(),
      address_space(machine_bytes),
  };
}

}  // namespace spillway::tools

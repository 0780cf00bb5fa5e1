// What the doctor says about the directory of spill files.
#include <errno.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tools/directory_probe.h"
#include "tools/finding.h"
#include "tools/host_probe.h"

namespace spillway::tools {
namespace {

using Status = Finding::Status;

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kDefaultThreshold = uint64_t{4} << 20;  // smaller blocks do not spill

const char* or_unknown(const std::string& text) { return text.empty() ? "unknown" : text.c_str(); }

const char* name_a_directory(const Directory& directory) {
  return directory.chosen_by == "--dir" ? "spillway run --dir /a/directory/on/a/disk ..."
                                        : "export SPILLWAY_DIR=/a/directory/on/a/disk";
}

Finding directory_itself(const Directory& directory, bool has_swap) {
  const std::string passed_over =
      directory.passed_over.empty()
          ? ""
          : fmt::format("{} {}: {}", directory.passed_over_for, directory.passed_over,
                        ::strerror(directory.passed_over_error));
  Finding finding =
      ok("directory", fmt::format("{} ({}): {} on {}", directory.path, directory.chosen_by,
                                  or_unknown(directory.file_system), or_unknown(directory.source)));
  auto costs = [&](Status status, const std::string& cost, const std::string& remedy) {
    finding.status = status;
    finding.cost = cost;
    finding.remedy = remedy.empty() ? name_a_directory(directory) : remedy;
    return finding;
  };

  if (directory.create_error != 0) {
    finding.value = passed_over.empty() ? "" : passed_over + "; ";
    finding.value += fmt::format("{}: {}", directory.path, ::strerror(directory.create_error));
    return costs(Status::kFail, "no directory for spill files can be written: nothing can spill", "");
  }
  if (!passed_over.empty()) finding.value += "; not " + passed_over;
  if (directory.in_memory && !has_swap)
    return costs(Status::kFail, "it is in memory and there is no swap: nothing leaves memory", "");
  if (directory.in_memory)
    return costs(Status::kWarn, "it is in memory: data leaves memory by way of swap only", "");
  if (!passed_over.empty()) {
    const bool absent =
        directory.passed_over_error == ENOENT && ::access(directory.passed_over.c_str(), F_OK) != 0;
    return costs(Status::kWarn, "spill files go elsewhere than asked",
                 absent ? "mkdir -p " + directory.passed_over : "");
  }
  if (directory.file_system.starts_with("nfs") || directory.file_system == "cifs" ||
      directory.file_system.starts_with("fuse"))
    return costs(Status::kWarn, "what spills goes through the network or a user process", "");
  if (("," + directory.options + ",").find(",sync,") != std::string::npos)
    return costs(Status::kWarn, "mounted with `sync`: every write waits for the device",
                 as_root("mount -o remount,async " + directory.mount_point));
  if (directory.file_system == "btrfs")
    return costs(Status::kNote, "copy on write: rewritten data is allocated anew and scattered",
                 fmt::format("mkdir {0}/spill && chattr +C {0}/spill && export SPILLWAY_DIR={0}/spill",
                             directory.path));
  return finding;
}

Finding free_space(const Directory& directory, uint64_t machine_bytes) {
  Finding finding = ok("free-space", human_size(directory.free_bytes));
  if (directory.free_bytes >= machine_bytes) return finding;
  finding.status = directory.free_bytes < kDefaultThreshold ? Status::kFail
                   : directory.free_bytes < kGiB            ? Status::kWarn
                                                            : Status::kNote;
  finding.cost =
      fmt::format("spillable memory ends at {}, less than the machine's memory; malloc then returns NULL",
                  human_size(directory.free_bytes));
  finding.remedy = name_a_directory(directory);
  return finding;
}

Finding feature(const char* name, int error, const char* cost, const Directory& directory) {
  if (error == 0) return ok(name, "works");
  return {name, Status::kNote, ::strerror(error), cost, name_a_directory(directory)};
}

Finding file_size(const Directory& directory) {
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  const char* cost = "larger spill files cannot be made; blocks beyond them do not spill";
  if (limit.rlim_cur != RLIM_INFINITY)
    return {"file-size", limit.rlim_cur < kDefaultThreshold ? Status::kFail : Status::kWarn,
            fmt::format("ulimit -f: {}", human_size(limit.rlim_cur)), cost, "ulimit -f unlimited"};
  if (directory.length_error != 0)
    return {"file-size", Status::kWarn,
            fmt::format("no sparse file of 64 GiB: {}", ::strerror(directory.length_error)), cost,
            name_a_directory(directory)};
  return ok("file-size", "sparse files of 64 GiB can be made");
}

Finding read_ahead(const Directory& directory) {
  if (!directory.read_ahead_kib) return ok("read-ahead", "unknown for this file system");
  const uint64_t kib = *directory.read_ahead_kib;
  Finding finding = ok("read-ahead", human_size(kib * 1024));
  if (kib <= 512 && kib >= 64) return finding;
  finding.remedy = write_to(directory.read_ahead_file, "128");
  if (kib > 512) {
    // Measured: 5 to 6.5 thousand random reads a second with 128 KiB, 0.2 thousand with 8 MiB.
    finding.status = kib > 2048 ? Status::kWarn : Status::kNote;
    finding.cost =
        fmt::format("every miss reads {} until random access is recognised; 128 KiB serve streams as well",
                    human_size(kib * 1024));
  } else {
    finding.status = Status::kNote;
    finding.cost = "sequential access reads in small pieces and waits for each";
  }
  return finding;
}

Finding disk_kind(const Directory& directory) {
  if (directory.disk.empty()) return ok("disk", "not a local disk");
  // The kernel calls every disk rotational that does not say otherwise, and virtual ones often do not.
  const bool is_virtual = directory.disk.starts_with("vd") || directory.disk.starts_with("xvd");
  if (!directory.rotational || is_virtual)
    return ok("disk", directory.disk + (is_virtual ? ", virtual" : ", not rotational"));
  return {"disk", Status::kNote, directory.disk + ", rotational",
          "about a hundred random accesses a second; streams are fine",
          "export SPILLWAY_DIR=/a/directory/on/an/SSD"};
}

}  // namespace

std::vector<Finding> examine_directory(const Directory& directory) {
  const bool has_swap = meminfo_bytes("SwapTotal").value_or(0) > 0;
  std::vector<Finding> findings = {directory_itself(directory, has_swap)};
  if (directory.create_error != 0) return findings;
  findings.insert(
      findings.end(),
      {
          free_space(directory, meminfo_bytes("MemTotal").value_or(0)),
          feature("o-tmpfile", directory.tmpfile_error,
                  "spill files have a name for a moment; a kill in that moment leaves an empty one",
                  directory),
          feature("fallocate", directory.fallocate_error,
                  "disk space is reserved by writing zeroes: allocations take as long as the disk needs",
                  directory),
          feature("punch-hole", directory.punch_error,
                  "freed memory keeps its disk space until it is used again", directory),
          file_size(directory),
          read_ahead(directory),
          disk_kind(directory),
      });
  return findings;
}

}  // namespace spillway::tools

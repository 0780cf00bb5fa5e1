// `spillway doctor`: what it finds is tried against hosts that a mount namespace, limits or SPILLWAY_MASK
// make worse.
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/preload/command_helpers.h"
#include "tests/support/loop_disk.h"
#include "tests/support/memory_cap.h"
#include "tests/support/needs.h"

using namespace spillway::test;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

struct Examined {
  int exit_code;
  json report;

  json finding(const std::string& name) const {
    for (const json& finding : report.at("findings"))
      if (finding.at("name") == name) return finding;
    FAIL("no finding named " << name);
    return {};
  }
  std::string status(const std::string& name) const { return finding(name).at("status"); }
  std::string value(const std::string& name) const { return finding(name).at("value"); }
  std::string remedy(const std::string& name) const {
    const json text = finding(name).at("remedy");
    return text.is_null() ? "" : text.get<std::string>();
  }
};

Examined examined(const Command& command) {
  const Outcome got = run(command);
  INFO(got.text());
  REQUIRE(got.signal == 0);
  REQUIRE(got.err.empty());
  json report = json::parse(got.out, nullptr, /*allow_exceptions=*/false);
  REQUIRE_FALSE(report.is_discarded());
  return {got.exit_code, report};
}

Examined doctor(const std::string& options = "", const std::string& variables = "") {
  return examined(spillway_with("doctor --json " + options, variables));
}

// The doctor in a mount namespace that this command line has changed.
Examined doctor_after(const std::string& line, const std::string& options = "") {
  return examined({.argv = {"unshare", "-m", "sh", "-ec",
                            line + "\nexec " + spillway_bin() + " doctor --json " + options}});
}

// The command that gives a file of /proc or /sys another text.
std::string replacing(const ScratchDir& dir, const std::string& file, const std::string& text) {
  std::string name = file;
  std::replace(name.begin(), name.end(), '/', '_');
  return "mount --bind " + dir.write(name, text) + " " + file + "\n";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("doctor's JSON has every finding with status, value, cost and remedy, and a summary that adds up",
          "[command]") {
  const Examined host = doctor();
  REQUIRE(host.report.at("version").is_string());
  std::set<std::string> names;
  std::map<std::string, int> counts = {{"ok", 0}, {"note", 0}, {"warn", 0}, {"fail", 0}};
  for (const json& finding : host.report.at("findings")) {
    INFO(finding.dump());
    REQUIRE(names.insert(finding.at("name")).second);
    const std::string status = finding.at("status");
    REQUIRE(counts.count(status) == 1);
    ++counts[status];
    REQUIRE_FALSE(finding.at("value").get<std::string>().empty());
    // What is well costs nothing and needs no remedy; everything else says what it costs.
    REQUIRE(finding.at("cost").is_null() == (status == "ok"));
    if (status == "ok") REQUIRE(finding.at("remedy").is_null());
  }
  const json& summary = host.report.at("summary");
  for (const auto& [status, count] : counts) REQUIRE(summary.at(status) == count);
  REQUIRE(summary.at("usable") == (counts["fail"] == 0));
  REQUIRE(host.exit_code == (counts["fail"] == 0 ? 0 : 1));
  for (const char* name :
       {"library",     "environment", "directory",     "free-space", "o-tmpfile",     "fallocate",
        "punch-hole",  "file-size",   "read-ahead",    "kernel",     "memory",        "cgroup-limit",
        "swap",        "dirty-limit", "overcommit",    "huge-pages", "max-map-count", "fault-events",
        "userfaultfd", "open-files",  "address-space", "real-time"})
    REQUIRE(names.count(name) == 1);
}

TEST_CASE("doctor's text has the same findings as its JSON, one line each and no colour off a terminal",
          "[command]") {
  const Examined host = doctor();
  const Outcome text = run(spillway_with("doctor"));
  REQUIRE(text.exit_code == host.exit_code);
  REQUIRE(text.out.find('\033') == std::string::npos);
  for (const json& finding : host.report.at("findings")) {
    const std::string start = "\n" + finding.at("status").get<std::string>();
    const std::string name = " " + finding.at("name").get<std::string>() + " ";
    const std::string lines = "\n" + text.out;
    const size_t at = lines.find(name);
    INFO(name << "\n" << text.out);
    REQUIRE(at != std::string::npos);
    REQUIRE(lines.compare(lines.rfind('\n', at), start.size(), start) == 0);
  }
  REQUIRE(text.out.ends_with(host.report.at("summary").at("text").get<std::string>() + "\n"));
}

TEST_CASE("doctor uses colour on a terminal, but not with NO_COLOR or on a dumb one", "[command]") {
  if (!needs_program("script")) return;
  auto on_terminal = [](std::vector<std::string> env) {
    return run({.argv = {"script", "-qec", spillway_bin() + " doctor", "/dev/null"}, .env = std::move(env)})
        .out;
  };
  REQUIRE(on_terminal({"TERM=xterm", "NO_COLOR"}).find("\033[32mok") != std::string::npos);
  REQUIRE(on_terminal({"TERM=xterm", "NO_COLOR=1"}).find('\033') == std::string::npos);
  REQUIRE(on_terminal({"TERM=dumb", "NO_COLOR"}).find('\033') == std::string::npos);
}

TEST_CASE("doctor examines the directory that a run would use, and says who chose it", "[command]") {
  ScratchDir one, two, three;
  const std::string ours = "SPILLWAY_DIR=" + two.path(), system = "TMPDIR=" + three.path();
  REQUIRE(doctor("--dir " + one.path(), ours).value("directory").starts_with(one.path() + " (--dir): "));
  REQUIRE(doctor("", ours + " " + system).value("directory").starts_with(two.path() + " (SPILLWAY_DIR): "));
  REQUIRE(doctor("", system).value("directory").starts_with(three.path() + " (TMPDIR): "));
  REQUIRE(contains(doctor().value("directory"), "(the default): "));
  REQUIRE(one.files().empty());
}

TEST_CASE("doctor says that a directory cannot be used, and which one is used instead", "[command]") {
  const Examined missing = doctor("--dir /no/such/directory");
  REQUIRE(missing.exit_code == 0);
  REQUIRE(missing.status("directory") == "warn");
  REQUIRE(contains(missing.value("directory"), "not --dir /no/such/directory: No such file or directory"));
  REQUIRE(missing.remedy("directory") == "mkdir -p /no/such/directory");

  if (!needs_root()) return;
  ScratchDir dir;
  fs::permissions(dir.path(), fs::perms::owner_all);
  Command command = spillway_with("doctor --json", "TMPDIR=" + dir.path());
  command.uid = kNobody;
  command.limits = {{RLIMIT_RTPRIO, 0}};
  const Examined closed = examined(command);
  REQUIRE(closed.status("real-time") == "note");
  REQUIRE(closed.status("directory") == "warn");
  REQUIRE(contains(closed.value("directory"), "not TMPDIR " + dir.path() + ": Permission denied"));
}

TEST_CASE("doctor's remedies use sudo for users other than root", "[command]") {
  if (!needs_root()) return;
  ScratchDir dir;
  const std::string poor = replacing(dir, "/proc/sys/vm/max_map_count", "1000");
  REQUIRE(doctor_after(poor).remedy("max-map-count") == "sysctl -w vm.max_map_count=262144");
  Command command = {.argv = {"unshare", "-m", "sh", "-ec",
                              poor + "exec setpriv --reuid 65534 --regid 65534 --clear-groups " +
                                  spillway_bin() + " doctor --json"}};
  REQUIRE(examined(command).remedy("max-map-count") == "sudo sysctl -w vm.max_map_count=262144");
}

TEST_CASE("doctor fails a directory in memory when there is no swap, and warns when there is", "[command]") {
  if (!needs_root()) return;
  ScratchDir dir, files;
  const std::string meminfo = read_file("/proc/meminfo");
  const size_t at = meminfo.find("SwapTotal:");
  REQUIRE(at != std::string::npos);
  auto with_swap = [&](const std::string& amount) {
    const std::string text =
        meminfo.substr(0, at) + "SwapTotal: " + amount + " kB\n" + meminfo.substr(meminfo.find('\n', at) + 1);
    return doctor_after(replacing(files, "/proc/meminfo", text) + "mount -t tmpfs none " + dir.path(),
                        "--dir " + dir.path());
  };
  const Examined without = with_swap("0");
  REQUIRE(without.exit_code == 1);
  REQUIRE(without.status("directory") == "fail");
  REQUIRE(contains(without.value("directory"), "tmpfs"));
  REQUIRE(without.report.at("summary").at("usable") == false);
  const Examined with = with_swap("4194304");
  REQUIRE(with.exit_code == 0);
  REQUIRE(with.status("directory") == "warn");
  REQUIRE(with.status("swap") == "ok");
  REQUIRE(with.value("swap") == "4 GiB");
}

TEST_CASE("doctor says what each feature costs that is hidden from it", "[command]") {
  const Examined lacking = doctor("", "SPILLWAY_MASK=tmpfile,fallocate,perf,punch");
  for (const char* name : {"o-tmpfile", "fallocate", "punch-hole", "fault-events"})
    REQUIRE(lacking.status(name) == "note");
}

TEST_CASE("doctor really tries what the file system can do", "[command]") {
  if (!needs_root() || !LoopDisk::possible()) return;
  LoopDisk disk(64 << 20);
  const Examined whole = doctor("--dir " + disk.path());
  for (const char* name : {"directory", "o-tmpfile", "fallocate", "punch-hole", "file-size"})
    REQUIRE(whole.status(name) == "ok");
  REQUIRE(contains(whole.value("directory"), "ext4 on /dev/loop"));

  // ramfs keeps files in memory and cannot preallocate or punch them.
  ScratchDir dir;
  const Examined ramfs = doctor_after("mount -t ramfs none " + dir.path(), "--dir " + dir.path());
  REQUIRE(ramfs.status("directory") != "ok");
  REQUIRE(ramfs.status("fallocate") == "note");
  REQUIRE(ramfs.status("punch-hole") == "note");

  const Examined synchronous = doctor_after("mount -o remount,sync " + disk.path(), "--dir " + disk.path());
  REQUIRE(synchronous.status("directory") == "warn");
  REQUIRE(synchronous.remedy("directory") == "mount -o remount,async " + disk.path());
}

TEST_CASE("doctor warns of a small disk and fails a full one", "[command]") {
  if (!needs_root() || !LoopDisk::possible()) return;
  LoopDisk disk(64 << 20);
  const Examined small = doctor("--dir " + disk.path());
  REQUIRE(small.status("free-space") == "warn");
  REQUIRE(small.exit_code == 0);
  disk.fill_up();
  const Examined full = doctor("--dir " + disk.path());
  REQUIRE(full.status("free-space") == "fail");
  REQUIRE(full.exit_code == 1);
}

TEST_CASE("doctor reads the read-ahead of the directory's device and gives the command that sets it",
          "[command]") {
  if (!needs_root() || !LoopDisk::possible()) return;
  LoopDisk disk(64 << 20);
  const Outcome device = run({.argv = {"sh", "-c", "basename $(findmnt -no SOURCE " + disk.path() + ")"}});
  const std::string file = "/sys/block/" + words_of(device.out).at(0) + "/queue/read_ahead_kb";
  auto examined_at = [&](const std::string& kib) {
    REQUIRE(run({.argv = {"sh", "-c", "echo " + kib + " > " + file}}).exit_code == 0);
    return doctor("--dir " + disk.path());
  };
  const Examined large = examined_at("8192");
  REQUIRE(large.status("read-ahead") == "warn");
  REQUIRE(large.value("read-ahead") == "8 MiB");
  REQUIRE(large.remedy("read-ahead") == "echo 128 | tee " + file);
  // The remedy is what mends it.
  REQUIRE(run({.argv = {"sh", "-c", large.remedy("read-ahead")}}).exit_code == 0);
  const Examined mended = doctor("--dir " + disk.path());
  REQUIRE(mended.status("read-ahead") == "ok");
  REQUIRE(mended.value("read-ahead") == "128 KiB");
  REQUIRE(examined_at("1024").status("read-ahead") == "note");
  REQUIRE(examined_at("0").status("read-ahead") == "note");
}

TEST_CASE("doctor finds what the kernel's settings cost", "[command]") {
  if (!needs_root()) return;
  ScratchDir dir;
  const std::string vm = "/proc/sys/vm/", huge = "/sys/kernel/mm/transparent_hugepage/enabled";
  const Examined poor = doctor_after(
      replacing(dir, vm + "max_map_count", "1000") + replacing(dir, vm + "overcommit_memory", "2") +
      replacing(dir, vm + "dirty_ratio", "10") + replacing(dir, huge, "always madvise [never]"));
  REQUIRE(poor.status("max-map-count") == "warn");
  for (const char* name : {"overcommit", "dirty-limit", "huge-pages"}) REQUIRE(poor.status(name) == "note");
  REQUIRE(contains(poor.value("dirty-limit"), "10 %"));
  REQUIRE(poor.value("huge-pages") == "never");

  const Examined good = doctor_after(
      replacing(dir, vm + "max_map_count", "65530") + replacing(dir, vm + "overcommit_memory", "0") +
      replacing(dir, vm + "dirty_ratio", "60") + replacing(dir, huge, "always [madvise] never"));
  for (const char* name : {"max-map-count", "overcommit", "dirty-limit", "huge-pages"})
    REQUIRE(good.status(name) == "ok");

  const Examined bytes = doctor_after(replacing(dir, vm + "dirty_bytes", "104857600"));
  REQUIRE(bytes.status("dirty-limit") == "note");
  REQUIRE(bytes.value("dirty-limit") == "vm.dirty_bytes 100 MiB");
}

TEST_CASE("doctor reports the limit of the memory cgroup it is in", "[command]") {
  if (!MemoryCap::possible()) return;
  MemoryCap cap(256 << 20);
  Command command = spillway_with("doctor --json");
  command.cap = &cap;
  REQUIRE(examined(command).value("cgroup-limit").starts_with("256 MiB ("));
}

TEST_CASE("doctor reports the limits of the process, and fails when no file may be large enough",
          "[command]") {
  Command command = spillway_with("doctor --json");
  command.limits = {{RLIMIT_NOFILE, 20}, {RLIMIT_AS, rlim_t{512} << 20}, {RLIMIT_FSIZE, rlim_t{1} << 30}};
  const Examined tight = examined(command);
  REQUIRE(tight.status("open-files") == "warn");
  REQUIRE(tight.status("address-space") == "warn");
  REQUIRE(tight.value("address-space") == "512 MiB");
  REQUIRE(tight.status("file-size") == "warn");
  REQUIRE(tight.remedy("file-size") == "ulimit -f unlimited");
  REQUIRE(tight.exit_code == 0);
  command.limits = {{RLIMIT_FSIZE, rlim_t{1} << 20}};
  const Examined hopeless = examined(command);
  REQUIRE(hopeless.status("file-size") == "fail");
  REQUIRE(hopeless.status("fallocate") == "ok");
  REQUIRE(hopeless.exit_code == 1);
}

TEST_CASE("doctor fails settings that a run would refuse, or with which nothing spills", "[command]") {
  const Examined bad = doctor("", "EXM_THRESHOLD=abc");
  REQUIRE(bad.exit_code == 1);
  REQUIRE(bad.status("environment") == "fail");
  REQUIRE(bad.value("environment").starts_with("EXM_THRESHOLD: 'abc'"));
  REQUIRE(bad.remedy("environment") == "unset EXM_THRESHOLD");
  REQUIRE(doctor("", "SPILLWAY_BACKING=plain").status("environment") == "fail");
  const Examined good = doctor("", "SPILLWAY_THRESHOLD=1M");
  REQUIRE(good.status("environment") == "ok");
  REQUIRE(good.value("environment") == "SPILLWAY_THRESHOLD=1048576");
  REQUIRE(doctor("", "SPILLWAY_PRELOAD=/nonexistent.so").status("library") == "fail");
}

TEST_CASE("doctor's JSON is valid whatever bytes a path has", "[command]") {
  ScratchDir dir;
  const std::string odd = dir / "odd\xff\"name";
  REQUIRE(run({.argv = {"mkdir", odd}}).exit_code == 0);
  REQUIRE(doctor("--dir " + odd).status("directory") == "ok");
}

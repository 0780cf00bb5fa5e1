// Hosts that lack something: a directory, permission, a real disk, O_TMPFILE, descriptors, file size, address
// space. The program works as on any other host; at most one line says what could not be had.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "tests/support/catch.h"
#include "tests/support/leftovers.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"

namespace fs = std::filesystem;
using namespace spillway::test;

namespace {

// The library and a victim where any user can reach them: the project may lie in a home directory.
struct PublicCopy {
  ScratchDir dir;
  explicit PublicCopy(const std::string& name) {
    fs::copy_file(preload_lib(), library());
    fs::copy_file(victim(name), program());
    fs::permissions(library(), fs::perms(0755));
    fs::permissions(program(), fs::perms(0755));
  }
  std::string library() const { return dir / "libspillway-preload.so"; }
  std::string program() const { return dir / "victim"; }
};

// The victim's output in an ordinary run.
const std::string& as_usual() {
  static const std::string out = run_plainly("works_as_usual").out;
  return out;
}

void works_in_silence(const Outcome& got) {
  INFO(got.text());
  CHECK(got.exit_code == 0);
  CHECK(got.out == as_usual());
  CHECK(got.err == "");
}

// The one line must name `what`.
void works_with_one_line(const Outcome& got, const std::string& what) {
  INFO(got.text());
  CHECK(got.exit_code == 0);
  CHECK(got.out == as_usual());
  CHECK(got.err.starts_with("spillway: "));
  CHECK(std::count(got.err.begin(), got.err.end(), '\n') == 1);
  CHECK(got.err.find(what) != std::string::npos);
}

void works_with_at_most_one_line(const Outcome& got) {
  INFO(got.text());
  CHECK(got.exit_code == 0);
  CHECK(got.signal == 0);
  CHECK(got.out == as_usual());
  CHECK((got.err.empty() ||
         (got.err.starts_with("spillway: ") && std::count(got.err.begin(), got.err.end(), '\n') == 1)));
}

Command usual(const Words& env) {
  Words all = {"SPILLWAY_BACKING=file"};
  all.insert(all.end(), env.begin(), env.end());
  return preloaded(all, {victim("works_as_usual")});
}

Outcome usual_as_nobody(const Words& env) {
  const PublicCopy copy("works_as_usual");
  Command command = usual(env);
  command.argv = {copy.program()};
  command.env.push_back("LD_PRELOAD=" + copy.library());
  command.uid = kNobody;
  command.dir = "/";
  return run(command);
}

}  // namespace

TEST_CASE("a directory that does not exist is replaced by another, with one line that names it") {
  works_with_one_line(run(usual({"SPILLWAY_DIR=/no/such/directory"})), "/no/such/directory");
  works_with_one_line(run(usual({"TMPDIR=/no/such/tmpdir"})), "/no/such/tmpdir");
}
TEST_CASE("a directory that is a file is replaced by another, with one line that names it") {
  ScratchDir dir;
  const std::string file = dir.write("file", "text");
  works_with_one_line(run(usual({"SPILLWAY_DIR=" + file})), file);
  CHECK(dir.read("file") == "text");
}
TEST_CASE("SPILLWAY_QUIET=1 silences the line") {
  works_in_silence(run(usual({"SPILLWAY_DIR=/no/such/directory", "SPILLWAY_QUIET=1"})));
}
TEST_CASE("SPILLWAY_DIR wins over TMPDIR") {
  ScratchDir dir;
  works_in_silence(run(usual({"SPILLWAY_DIR=" + dir.path(), "TMPDIR=/no/such/tmpdir"})));
}
TEST_CASE("a relative directory is taken from where the program started") {
  ScratchDir dir;
  Command command = usual({"SPILLWAY_DIR=."});
  command.dir = dir.path();
  works_in_silence(run(command));
  CHECK(leftovers(dir.path()) == "");
}
TEST_CASE("without any directory given, none of the host's being missing, there is silence") {
  works_in_silence(run(usual({})));
}
TEST_CASE("an ordinary user has the same results in silence") {
  if (!needs_root()) return;
  ScratchDir dir;
  works_in_silence(usual_as_nobody({"SPILLWAY_DIR=" + dir.path()}));
  works_in_silence(usual_as_nobody({"SPILLWAY_DIR=" + dir.path(), "SPILLWAY_LIMIT=16M"}));
  CHECK(leftovers(dir.path()) == "");
}
TEST_CASE("a directory that the user may not write to is replaced by another, with one line that names it") {
  if (!needs_root()) return;
  ScratchDir dir;
  ::chmod(dir.path().c_str(), 0755);
  works_with_one_line(usual_as_nobody({"SPILLWAY_DIR=" + dir.path()}), dir.path());
}
TEST_CASE("a directory on tmpfs is used, with one line that says so") {
  if (!needs_file("/dev/shm")) return;
  ScratchDir dir("/dev/shm");
  const Outcome got = run(usual({"SPILLWAY_DIR=" + dir.path()}));
  works_with_one_line(got, dir.path());
  CHECK(got.err.find("tmpfs") != std::string::npos);
  works_in_silence(run(usual({"SPILLWAY_DIR=" + dir.path(), "SPILLWAY_QUIET=1"})));
  CHECK(leftovers(dir.path()) == "");
}
TEST_CASE("a kernel or file system without some feature gives the same results in silence") {
  for (const char* mask : {"tmpfile", "fallocate", "perf", "punch", "tmpfile,fallocate,perf,punch"}) {
    for (const char* limit : {"SPILLWAY_LIMIT", "SPILLWAY_LIMIT=16M"}) {
      ScratchDir dir;
      INFO("mask " << mask << ", " << limit);
      works_in_silence(
          run(usual({"SPILLWAY_DIR=" + dir.path(), std::string("SPILLWAY_MASK=") + mask, limit})));
      CHECK(leftovers(dir.path()) == "");
    }
  }
}
TEST_CASE("a small RLIMIT_FSIZE kills nobody") {
  for (rlim_t bytes : {rlim_t{64} << 10, rlim_t{1} << 20, rlim_t{16} << 20}) {
    Command command = usual({});
    command.limits = {{RLIMIT_FSIZE, bytes}};
    INFO("RLIMIT_FSIZE " << bytes);
    works_with_at_most_one_line(run(command));
  }
}
TEST_CASE("a small RLIMIT_NOFILE is lived with") {
  // The dynamic linker itself needs one descriptor besides the standard ones.
  for (rlim_t files : {rlim_t{4}, rlim_t{5}, rlim_t{8}, rlim_t{16}}) {
    Command command = usual({});
    command.limits = {{RLIMIT_NOFILE, files}};
    INFO("RLIMIT_NOFILE " << files);
    works_with_at_most_one_line(run(command));
  }
}
TEST_CASE("a small RLIMIT_AS is lived with") {
  for (rlim_t bytes : {rlim_t{400} << 20, rlim_t{1} << 30, rlim_t{8} << 30}) {
    for (const std::string& backing : kBackings) {
      Command command = usual(environment_of(backing));
      command.limits = {{RLIMIT_AS, bytes}};
      INFO("RLIMIT_AS " << (bytes >> 20) << " MiB, " << backing);
      works_with_at_most_one_line(run(command));
    }
  }
}
TEST_CASE("an RLIMIT_AS that is used up is answered with ENOMEM") {
  for (const std::string& backing : kBackings) {
    ScratchDir dir;
    Command command = preloaded(environment_of(backing, {"SPILLWAY_DIR=" + dir.path()}),
                                {victim("fills_the_disk"), "4M", "100"});
    command.limits = {{RLIMIT_AS, rlim_t{300} << 20}};
    const Outcome got = run(command);
    INFO(backing << ": " << got.text());
    CHECK(got.exit_code == 0);
    CHECK(got.out == "ok\n");
    CHECK(got.err == "");
  }
}
TEST_CASE("a small RLIMIT_DATA is lived with") {
  Command command = usual({});
  command.limits = {{RLIMIT_DATA, rlim_t{400} << 20}};
  works_with_at_most_one_line(run(command));
}
TEST_CASE("a server that gives up its directory, its root and its user goes on") {
  if (!needs_root()) return;
  for (const std::string& backing : kBackings) {
    for (const char* mask : {"SPILLWAY_MASK=", "SPILLWAY_MASK=tmpfile"}) {
      ScratchDir regions, jail;
      const Outcome got = run(preloaded(environment_of(backing, {"SPILLWAY_DIR=" + regions.path(), mask}),
                                        {victim("drops_everything"), jail.path()}));
      INFO(backing << " " << mask << ": " << got.text());
      CHECK(got.exit_code == 0);
      CHECK(got.out == "ok\n");
      CHECK(std::count(got.err.begin(), got.err.end(), '\n') <= 1);
      CHECK(leftovers(regions.path()) == "");
      CHECK(leftovers(jail.path()) == "");
    }
  }
}

// As in a container. What cannot be done without the call is done otherwise, or not at all. Calls fail with
// EPERM and ENOSYS in turn, with both in the soak.
namespace {

void works_with_calls_forbidden(const std::string& backing, bool denied_first) {
  const std::pair<const char*, int> calls[] = {{"fallocate", SYS_fallocate},
                                               {"perf_event_open", SYS_perf_event_open},
                                               {"userfaultfd", SYS_userfaultfd},
                                               {"pidfd_open", SYS_pidfd_open},
                                               {"pidfd_getfd", SYS_pidfd_getfd},
                                               {"unshare", SYS_unshare},
                                               {"getdents64", SYS_getdents64},
                                               {"io_uring_setup", SYS_io_uring_setup},
                                               {"io_uring_enter", SYS_io_uring_enter},
                                               {"socketpair", SYS_socketpair},
                                               {"mincore", SYS_mincore},
                                               {"madvise", SYS_madvise},
                                               {"sched_setattr", SYS_sched_setattr},
                                               {"rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo},
                                               {"tgkill", SYS_tgkill},
                                               {"ftruncate", SYS_ftruncate},
                                               {"clone3", SYS_clone3}};
  const bool both = std::getenv("SPILLWAY_SOAK") != nullptr;
  bool denied = denied_first;
  for (const auto& [name, number] : calls) {
    denied = !denied;
    for (const int error : {EPERM, ENOSYS}) {
      if (!both && (error == EPERM) != denied) continue;
      INFO(backing << " without " << name << ": " << strerror(error));
      Command command = usual({"SPILLWAY_BACKING=" + backing, "SPILLWAY_LIMIT=24M"});
      command.argv.insert(command.argv.begin(),
                          {victim("with_calls_forbidden"), std::to_string(error), std::to_string(number)});
      command.timeout = std::chrono::seconds(60);
      const Outcome got = run(command);
      INFO(got.text());
      CHECK(got.exit_code == 0);
      CHECK(got.out == as_usual());
      CHECK(std::count(got.err.begin(), got.err.end(), '\n') <= 2);
    }
  }
}

}  // namespace

TEST_CASE("a filter that forbids a system call costs files a line or two at most, and no byte") {
  works_with_calls_forbidden("file", true);
}
TEST_CASE("a filter that forbids a system call costs managed memory a line or two at most, and no byte") {
  works_with_calls_forbidden("managed", false);
}

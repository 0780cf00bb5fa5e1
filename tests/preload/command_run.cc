// How `spillway run` and `exm` start a program: it must be as if the program had been started without them.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "tests/preload/command_helpers.h"
#include "tests/support/needs.h"
#include "tests/support/wait.h"

using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

// A file of this name that LD_PRELOAD accepts: a copy of a small library of the system.
std::string harmless_library(const ScratchDir& dir, const std::string& name) {
  for (const char* original :
       {"/lib/x86_64-linux-gnu/libutil.so.1", "/lib/aarch64-linux-gnu/libutil.so.1", "/lib64/libutil.so.1"})
    if (fs::exists(original)) {
      fs::copy_file(original, dir / name);
      return dir / name;
    }
  FAIL("no libutil.so.1 to copy");
  return "";
}

// A place laid out as `make install` does it, with a copy of the command: returns the copy's path.
std::string install_below(const ScratchDir& dir) {
  fs::create_directories(dir / "bin");
  fs::copy_file(spillway_bin(), dir / "bin/spillway");
  return dir / "bin/spillway";
}

}  // namespace

TEST_CASE("the exit status of the program is the exit status of spillway run", "[command]") {
  for (int status : {0, 1, 3, 124, 125, 126, 127, 255}) {
    const Outcome got = run(under_spillway({}, {"sh", "-c", "exit " + std::to_string(status)}));
    INFO(got.text());
    REQUIRE(got.exit_code == status);
    REQUIRE(got.out.empty());
    REQUIRE(got.err.empty());
  }
}

TEST_CASE("a signal that ends the program ends spillway run", "[command]") {
  for (int signal : {SIGTERM, SIGKILL, SIGINT, SIGHUP}) {
    const Outcome got = run(under_spillway({}, {"sh", "-c", "kill -" + std::to_string(signal) + " $$"}));
    INFO(got.text());
    REQUIRE(got.signal == signal);
  }
}

TEST_CASE("the process that spillway run was is the program, so a signal sent to it reaches the program",
          "[command]") {
  Running program(under_spillway(
      {}, {"sh", "-c", "trap 'echo caught; exit 9' TERM; echo $$; while :; do read x < /dev/null; done"}));
  REQUIRE(wait_until([&] { return program.out() == std::to_string(program.pid()) + "\n"; }));
  program.kill(SIGTERM);
  const Outcome got = program.wait();
  REQUIRE(got.exit_code == 9);
  REQUIRE(got.out.ends_with("caught\n"));
}

TEST_CASE("standard input, output and error are the program's", "[command]") {
  Command command = under_spillway({}, {"sh", "-c", "cat; echo oops >&2"});
  command.input = "one\ntwo\n";
  const Outcome got = run(command);
  REQUIRE(got.out == "one\ntwo\n");
  REQUIRE(got.err == "oops\n");
}

TEST_CASE("options after the program are the program's, also without --", "[command]") {
  const std::vector<std::string> tail = {"printf", "%s\\n", "--threshold", "64M", "--help", "--stats", "--",
                                         "-x",     "",      "--version",   "a b"};
  for (const char* start :
       {"run", "run --", "run --quiet", "run --threshold 1M --", "run --stats=/dev/null"}) {
    std::vector<std::string> line = words_of(start);
    line.insert(line.end(), tail.begin(), tail.end());
    const Outcome got = run(spillway_with_words(line));
    INFO(start << "\n" << got.text());
    REQUIRE(got.exit_code == 0);
    REQUIRE(got.out == "--threshold\n64M\n--help\n--stats\n--\n-x\n\n--version\na b\n");
  }
}

TEST_CASE("--stats does not take the program's name for its file", "[command]") {
  REQUIRE(variable_seen("SPILLWAY_STATS", spillway_with("run --stats env")) == "1");
  REQUIRE(variable_seen("SPILLWAY_STATS", spillway_with("run --stats --quiet -- env")) == "1");
}

TEST_CASE("argv[0] of the program is what the user wrote", "[command]") {
  REQUIRE(run(spillway_with_words({"run", "sh", "-c", "echo $0"})).out == "sh\n");
  REQUIRE(run(spillway_with_words({"run", "/bin/sh", "-c", "echo $0"})).out == "/bin/sh\n");
}

TEST_CASE("exm is spillway run: the same options, the same program", "[command]") {
  const Outcome got = run(
      {.argv = {exm_bin(), "--threshold", "1M", "sh", "-c", "echo $SPILLWAY_THRESHOLD $1", "x", "--help"}});
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  REQUIRE(got.out == "1048576 --help\n");
  REQUIRE(run({.argv = {exm_bin(), "sh", "-c", "exit 4"}}).exit_code == 4);
  REQUIRE(run(exm_with("--help")).out.find("Usage: exm ") != std::string::npos);
  // A word that is a subcommand of spillway is a program to exm.
  requires_refusal(exm_with("doctor"), 127, "doctor: command not found");
}

TEST_CASE("a link named exm anywhere is exm, and finds the library", "[command]") {
  ScratchDir dir;
  fs::create_symlink(spillway_bin(), dir / "exm");
  REQUIRE(variable_seen("LD_PRELOAD", {.argv = {dir / "exm", "env"}}) == preload_lib());
}

TEST_CASE("the program is looked up in PATH as a shell does", "[command]") {
  ScratchDir dir;
  for (const char* name : {"first", "second", "third", "first/tool-dir"}) fs::create_directories(dir / name);
  auto script = [&](const std::string& name, const std::string& text, mode_t mode) {
    dir.write(name, "#!/bin/sh\n" + text + "\n");
    ::chmod((dir / name).c_str(), mode);
  };
  script("first/tool", "echo first", 0644);  // not executable: passed over
  script("second/tool", "echo second", 0755);
  script("third/tool", "echo third", 0755);
  script("third/tool-dir", "echo not the directory", 0755);
  script("first/only", "echo only", 0644);
  script("here", "echo here", 0755);
  const std::string path = "PATH=" + dir / "first" + ":/nowhere:" + dir / "second" + ":" + dir / "third";

  REQUIRE(run(spillway_with("run tool", path)).out == "second\n");
  REQUIRE(run(spillway_with("run tool-dir", path)).out == "not the directory\n");
  requires_refusal(spillway_with("run only", path), 126, "first/only*not executable*chmod +x");
  requires_refusal(spillway_with("run here", path), 127, "here: command not found");

  // What the user could not see if it were there is not there.
  if (::geteuid() == 0) {
    fs::permissions(dir / "first", fs::perms::owner_all);
    Command command = spillway_with("run only", path);
    command.uid = kNobody;
    requires_refusal(command, 127, "only: command not found");
  }

  // An empty entry is the current directory.
  for (const char* with_here : {"PATH=", "PATH=:/bin", "PATH=/bin:", "PATH=/bin::/sbin"}) {
    Command command = spillway_with("run here", with_here);
    command.dir = dir.path();
    INFO(with_here);
    REQUIRE(run(command).out == "here\n");
  }
  // Without PATH, the system's directories.
  REQUIRE(run(spillway_with_words({"run", "sh", "-c", "echo found"}, {"PATH"})).out == "found\n");
}

TEST_CASE("the library comes first in LD_PRELOAD, and what the user preloads is kept after it in order",
          "[command]") {
  ScratchDir dir;
  const std::string one = harmless_library(dir, "one.so"), two = harmless_library(dir, "two.so");
  const std::string expected = preload_lib() + ":" + one + ":" + two;
  for (const char* separator : {":", " ", "  ", " :"}) {
    const Outcome got = run(spillway_with_words({"run", "sh", "-c", "echo $LD_PRELOAD; cat /proc/$$/maps"},
                                                {"LD_PRELOAD=" + one + separator + two}));
    INFO(got.text());
    REQUIRE(got.out.starts_with(expected + "\n"));
    REQUIRE(got.out.find(two + "\n") != std::string::npos);  // really loaded
    REQUIRE(got.err.empty());
  }
  REQUIRE(variable_seen("LD_PRELOAD", spillway_with("run env", "LD_PRELOAD=")) == preload_lib());
}

TEST_CASE("a run inside a run preloads the library once, first", "[command]") {
  ScratchDir dir;
  const std::string own = harmless_library(dir, "own.so");
  const std::string expected = preload_lib() + ":" + own;
  REQUIRE(variable_seen("LD_PRELOAD", spillway_with("run " + exm_bin() + " " + spillway_bin() + " run env",
                                                    "LD_PRELOAD=" + own)) == expected);
  // Also when the user put it there by hand, at the end, or another copy of it.
  const std::string copy = dir / "libspillway-preload.so";
  fs::copy_file(preload_lib(), copy);
  for (const std::string& ours : {preload_lib(), copy})
    REQUIRE(variable_seen("LD_PRELOAD", spillway_with("run env", "LD_PRELOAD=" + own + ":" + ours)) ==
            expected);
}

TEST_CASE("programs that the program starts are under Spillway, too", "[command]") {
  const Outcome got = run(spillway_with_words({"run", "sh", "-c", "cd /; env sh -c 'cat /proc/self/maps'"}));
  REQUIRE(got.out.find("libspillway-preload.so") != std::string::npos);
}

TEST_CASE("EXM_HOME names the library's directory, or the one above its lib", "[command]") {
  ScratchDir dir;
  fs::create_directories(dir / "home/lib");
  fs::create_directories(dir / "flat");
  fs::copy_file(preload_lib(), dir / "home/lib/libspillway-preload.so");
  fs::copy_file(preload_lib(), dir / "flat/libspillway-preload.so");
  REQUIRE(variable_seen("LD_PRELOAD", spillway_with("run env", "EXM_HOME=" + dir / "home")) ==
          dir / "home/lib/libspillway-preload.so");
  REQUIRE(variable_seen("LD_PRELOAD", spillway_with("run env", "EXM_HOME=" + dir / "flat")) ==
          dir / "flat/libspillway-preload.so");

  // A relative one must hold after the program has gone elsewhere.
  Command command = spillway_with("run env", "EXM_HOME=flat");
  command.dir = dir.path();
  REQUIRE(variable_seen("LD_PRELOAD", command) == dir / "flat/libspillway-preload.so");
}

TEST_CASE("an EXM_HOME without the library is passed over in silence", "[command]") {
  const ScratchDir empty;
  const std::string somewhere = "EXM_HOME=" + empty.path();
  for (const char* home : {"EXM_HOME=/nonexistent", somewhere.c_str(), "EXM_HOME="}) {
    const Outcome got = run(spillway_with_words({"run", "sh", "-c", "echo $LD_PRELOAD"}, {home}));
    REQUIRE(got.out == preload_lib() + "\n");
    REQUIRE(got.err.empty());
  }
}

TEST_CASE("SPILLWAY_PRELOAD names the library and wins over EXM_HOME", "[command]") {
  ScratchDir dir;
  const std::string library = harmless_library(dir, "named.so");
  fs::copy_file(preload_lib(), dir / "libspillway-preload.so");
  REQUIRE(variable_seen("LD_PRELOAD", spillway_with("run env", "SPILLWAY_PRELOAD=" + library +
                                                                   " EXM_HOME=" + dir.path())) == library);

  requires_refusal(spillway_with("run true", "SPILLWAY_PRELOAD=/nonexistent.so"), 125,
                   "SPILLWAY_PRELOAD*/nonexistent.so*not a file");
  requires_refusal(spillway_with("run true", "SPILLWAY_PRELOAD=/etc/passwd"), 125,
                   "/etc/passwd*not a shared library");
}

TEST_CASE("an installed command finds the library in the lib beside its bin, else says where it looked",
          "[command]") {
  ScratchDir dir;
  const std::string installed = install_below(dir);
  const std::string library = dir / "lib/libspillway-preload.so";
  requires_refusal({.argv = {installed, "run", "true"}}, 125,
                   "preload library was not found*" + library + "*SPILLWAY_PRELOAD");
  requires_refusal({.argv = {installed, "run", "true"}, .env = {"EXM_HOME=/nonexistent"}}, 125,
                   "/nonexistent/libspillway-preload.so*/nonexistent/lib/libspillway-preload.so*" + library);

  fs::create_directories(dir / "lib");
  fs::copy_file(preload_lib(), library);
  REQUIRE(variable_seen("LD_PRELOAD", {.argv = {installed, "run", "env"}}) == library);
}

TEST_CASE("where there is no /proc, the library is found all the same, and not in the current directory",
          "[command]") {
  if (!needs_root() || !needs_program("unshare")) return;
  ScratchDir dir;
  fs::create_directories(dir / "lib");
  fs::copy_file(preload_lib(), dir / "lib/libspillway-preload.so");
  Command command{.argv = {"unshare", "--mount", "sh", "-c",
                           "mount -t tmpfs none /proc && exec \"$0\" run env", spillway_bin()}};
  command.dir = dir.path();
  REQUIRE(variable_seen("LD_PRELOAD", command) == preload_lib());
}

TEST_CASE("a library whose path LD_PRELOAD cannot hold is refused, and a link to it is the way out",
          "[command]") {
  ScratchDir dir;
  for (const char* name : {"with space.so", "with:colon.so"}) {
    const std::string library = harmless_library(dir, name);
    requires_refusal(spillway_with_words({"run", "true"}, {"SPILLWAY_PRELOAD=" + library}), 125,
                     library + "*LD_PRELOAD*link");
    const std::string link = dir / "link.so";
    fs::remove(link);
    fs::create_symlink(library, link);
    REQUIRE(variable_seen("LD_PRELOAD", spillway_with("run env", "SPILLWAY_PRELOAD=" + link)) == link);
  }
}

// Programs that cannot be run, or not under Spillway: each is refused in one line that says why, before it
// starts.
#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>

#include "tests/preload/command_helpers.h"
#include "tests/support/needs.h"

using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

// `text` as an executable file.
std::string executable(const ScratchDir& dir, const std::string& name, const std::string& text) {
  const std::string path = dir.write(name, text);
  REQUIRE(::chmod(path.c_str(), 0755) == 0);
  return path;
}

std::string program_bytes() { return read_file("/bin/true"); }

// A copy of a dynamically linked program that everybody may run, with these bits of its mode.
std::string program_with_mode(const ScratchDir& dir, mode_t mode, uid_t uid = 0, gid_t gid = 0) {
  const std::string path = executable(dir, "program", program_bytes());
  REQUIRE(::chown(path.c_str(), uid, gid) == 0);
  REQUIRE(::chmod(path.c_str(), mode) == 0);  // after chown, which clears the bits
  return path;
}

Command as_nobody(Command command) {
  command.uid = kNobody;
  return command;
}

}  // namespace

TEST_CASE("a missing program ends with 127 and its name", "[command]") {
  requires_refusal(spillway_with("run no-such-program"), 127, "no-such-program: command not found");
  requires_refusal(spillway_with("run ./no-such-program"), 127, "./no-such-program: no such file");
  requires_refusal(spillway_with("run /bin/true/below"), 127, "/bin/true/below: no such file");
  requires_refusal(spillway_with_words({"run", ""}), 127, "command not found");
  ScratchDir dir;
  fs::create_symlink("/nowhere", dir / "dangling");
  requires_refusal(spillway_with("run " + dir / "dangling"), 127, dir / "dangling*no such file");
}

TEST_CASE("what is there but cannot be executed ends with 126 and why", "[command]") {
  ScratchDir dir;
  requires_refusal(spillway_with("run " + dir.path()), 126, dir.path() + "*is a directory");
  requires_refusal(spillway_with("run /dev/null"), 126, "/dev/null*permission denied");
  const std::string text = dir.write("text", "hello\n");
  requires_refusal(spillway_with("run " + text), 126, text + "*not executable*chmod +x " + text);
  const std::string garbage = executable(dir, "garbage", std::string("\1\2\3\0\4", 5));
  requires_refusal(spillway_with("run " + garbage), 126, garbage + "*neither a program nor a script");
  const std::string script = executable(dir, "script", "echo hello\n");
  requires_refusal(spillway_with("run " + script), 126, script + "*#! line*spillway run sh " + script);
  const std::string empty = executable(dir, "empty", "");
  requires_refusal(spillway_with("run " + empty), 126, empty + "*neither a program nor a script");
}

TEST_CASE("a program that another user may not execute is refused to him only", "[command]") {
  if (!needs_root()) return;
  ScratchDir dir;
  const std::string program = program_with_mode(dir, 0700);
  REQUIRE(run(spillway_with("run " + program)).exit_code == 0);
  requires_refusal(as_nobody(spillway_with("run " + program)), 126, program + "*not executable");
  fs::create_directory(dir / "closed");
  fs::rename(program, dir / "closed/program");
  REQUIRE(::chmod((dir / "closed").c_str(), 0700) == 0);
  requires_refusal(as_nobody(spillway_with("run " + dir / "closed/program")), 126, "permission denied");
}

TEST_CASE("a program that may be executed but not read runs", "[command]") {
  if (!needs_root()) return;
  ScratchDir dir;
  REQUIRE(run(as_nobody(spillway_with("run " + program_with_mode(dir, 0711)))).exit_code == 0);
}

TEST_CASE("a program on a noexec file system is refused for that", "[command]") {
  if (!needs_root()) return;
  ScratchDir dir;
  const std::string line = "mount -t tmpfs -o noexec none " + dir.path() + " && cp /bin/true " +
                           dir / "true" + " && exec " + spillway_bin() + " run " + dir / "true";
  requires_refusal({.argv = {"unshare", "-m", "sh", "-c", line}}, 126, dir / "true*noexec");
}

TEST_CASE("a statically linked program is refused, since nothing can be preloaded into it", "[command]") {
  const std::string program = victim("static_program");
  requires_refusal(spillway_with("run " + program), 126,
                   program + "*statically linked*dynamically linked build");
  requires_refusal(exm_with(program), 126, program + "*statically linked");
}

TEST_CASE("a program for another machine is refused by name of both", "[command]") {
  ScratchDir dir;
  const std::string original = program_bytes();
  REQUIRE(original.size() > sizeof(Elf64_Ehdr));

  std::string other_machine = original;
  const uint16_t machine = 0xbeef;
  other_machine.replace(offsetof(Elf64_Ehdr, e_machine), 2, reinterpret_cast<const char*>(&machine), 2);
  requires_refusal(spillway_with("run " + executable(dir, "alien", other_machine)), 126,
                   "alien: is a 64-bit machine 48879 program*preload library is 64-bit");

  std::string smaller = original;
  smaller[EI_CLASS] = ELFCLASS32;
  requires_refusal(spillway_with("run " + executable(dir, "small", smaller)), 126,
                   "small: is a*32-bit*use a 64-bit");
}

TEST_CASE("a program whose dynamic loader is missing ends with 127 and the loader's name", "[command]") {
  ScratchDir dir;
  std::string bytes = program_bytes();
  const size_t at = bytes.find("/ld-linux");
  REQUIRE(at != std::string::npos);
  bytes.replace(at, 9, "/ld-other");
  requires_refusal(spillway_with("run " + executable(dir, "program", bytes)), 127,
                   "dynamic loader*/ld-other");
}

TEST_CASE("a program linked with musl is refused, since the library is for glibc", "[command]") {
  ScratchDir dir;
  std::string bytes = program_bytes();
  const size_t at = bytes.find("/ld-linux");
  REQUIRE(at != std::string::npos);
  bytes.replace(at, 9, "/ld-musl-");
  requires_refusal(spillway_with("run " + executable(dir, "program", bytes)), 126, "musl*glibc build");
}

TEST_CASE("a truncated program is refused or fails to start, and never harms", "[command]") {
  ScratchDir dir;
  const std::string original = program_bytes();
  for (size_t bytes : {4u, 17u, 52u, 64u, 70u, 600u}) {
    const Outcome got = run(spillway_with("run " + executable(dir, "cut", original.substr(0, bytes))));
    INFO(bytes << " bytes: " << got.text());
    REQUIRE(got.signal == 0);
    REQUIRE((got.exit_code == 126 || got.exit_code == 127));
    REQUIRE(got.err.starts_with("spillway: "));
  }
}

TEST_CASE("a setuid or setgid program that would change the user is refused", "[command]") {
  if (!needs_root()) return;
  ScratchDir dir;
  std::string program = program_with_mode(dir, 04755);
  requires_refusal(as_nobody(spillway_with("run " + program)), 126, program + "*is setuid*sudo spillway run");
  program = program_with_mode(dir, 04711);  // cannot be read, as sudo often is
  requires_refusal(as_nobody(spillway_with("run " + program)), 126, program + "*is setuid");
  program = program_with_mode(dir, 04755, kNobody);
  requires_refusal(spillway_with("run " + program), 126, program + "*is setuid");
  program = program_with_mode(dir, 02755, 0, 1);
  requires_refusal(spillway_with("run " + program), 126, program + "*is setgid");
}

TEST_CASE("a setuid program that changes nothing runs", "[command]") {
  if (!needs_root()) return;
  ScratchDir dir;
  // Root's, started by root.
  REQUIRE(run(spillway_with("run " + program_with_mode(dir, 06755))).exit_code == 0);
  // The user's own.
  REQUIRE(run(as_nobody(spillway_with("run " + program_with_mode(dir, 06755, kNobody, kNobody)))).exit_code ==
          0);
  // Without the group's execute bit, setgid is not setgid.
  REQUIRE(run(spillway_with("run " + program_with_mode(dir, 02745, 0, 1))).exit_code == 0);
  // Where the process may not gain privileges.
  Command command = {
      .argv = {"setpriv", "--no-new-privs", spillway_bin(), "run", program_with_mode(dir, 04755)}};
  REQUIRE(run(as_nobody(command)).exit_code == 0);
}

TEST_CASE("a program with file capabilities is refused to users, not to root", "[command]") {
  if (!needs_root() || !needs_program("setcap")) return;
  ScratchDir dir;
  const std::string program = program_with_mode(dir, 0755);
  REQUIRE(run({.argv = {"setcap", "cap_net_raw+ep", program}}).exit_code == 0);
  requires_refusal(as_nobody(spillway_with("run " + program)), 126, program + "*file capabilities");
  REQUIRE(run(spillway_with("run " + program)).exit_code == 0);
}

TEST_CASE("a script runs under Spillway when its interpreter can", "[command]") {
  ScratchDir dir;
  const std::string show = "\necho $LD_PRELOAD; exit 6\n";
  for (const std::string line :
       {"#!/bin/sh", "#! /bin/sh -e ", "#!/usr/bin/env sh", "#!/usr/bin/env -S X=1 sh -e"}) {
    const Outcome got = run(spillway_with("run " + executable(dir, "script", line + show)));
    INFO(line << "\n" << got.text());
    REQUIRE(got.exit_code == 6);
    REQUIRE(got.out == preload_lib() + "\n");
  }
}

TEST_CASE("a script whose interpreter cannot be run under Spillway is refused with the interpreter's name",
          "[command]") {
  ScratchDir dir;
  const std::string static_program = victim("static_program");
  const std::string direct = executable(dir, "direct", "#!" + static_program + "\n");
  requires_refusal(spillway_with("run " + direct), 126,
                   direct + ": its interpreter " + static_program + "*statically linked");

  fs::create_symlink(static_program, dir / "interpreter");
  const std::string by_env = executable(dir, "by_env", "#!/usr/bin/env interpreter\n");
  const std::string path = "PATH=" + dir.path() + ":/bin:/usr/bin";
  requires_refusal(spillway_with("run " + by_env, path), 126,
                   by_env + "*its interpreter*interpreter: is statically linked");

  const std::string of_script = executable(dir, "of_script", "#!" + direct + "\n");
  requires_refusal(spillway_with("run " + of_script), 126,
                   of_script + "*" + static_program + "*statically linked");
}

TEST_CASE("a script whose interpreter is missing ends with 127, as in a shell", "[command]") {
  ScratchDir dir;
  requires_refusal(spillway_with("run " + executable(dir, "script", "#!/no/such/interpreter -x\n")), 127,
                   "its interpreter /no/such/interpreter*no such file");
  requires_refusal(spillway_with("run " + executable(dir, "script", "#!/usr/bin/env no-such-interpreter\n")),
                   127, "its interpreter no-such-interpreter*not found");
}

TEST_CASE("scripts that interpret each other in a circle are an error, not a hang", "[command]") {
  ScratchDir dir;
  executable(dir, "b", "#!" + dir / "a" + "\n");
  const Outcome got = run(spillway_with("run " + executable(dir, "a", "#!" + dir / "b" + "\n")));
  INFO(got.text());
  REQUIRE(got.exit_code == 126);
}

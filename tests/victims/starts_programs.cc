// A program with large blocks starts others in every way there is; they run, they are under Spillway too when
// this one is, and this one's data stay. argv[1]: how. Called with `report`, it is the program that is
// started.
#include <pty.h>
#include <spawn.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "tests/victims/pair.h"

extern char** environ;

using namespace victim;

namespace {

constexpr size_t kBytes = 6 * MiB;

std::string self() { return std::filesystem::read_symlink("/proc/self/exe"); }

// What a started program says. Whether a block is in a file depends on the backing, not on who started it.
int report(bool parent_present) {
  EXPECT((exm_present() != 0) == parent_present, "a started program is %s Spillway",
         exm_present() ? "under" : "not under");
  char* block = must_malloc(kBytes);
  fill(block, kBytes, 4);
  print_checksum("started", block, kBytes);
  free(block);
  return 0;
}

void expect_status(int status, const char* how) { EXPECT(status == 0, "%s: status 0x%x", how, status); }

std::string read_all(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
  return text;
}

void start(const std::string& how, Heap& heap) {
  std::string program = self(), mark = exm_present() ? "1" : "0";
  char* const argv[] = {program.data(), const_cast<char*>("report"), mark.data(), nullptr};
  const std::string line = program + " report " + mark;
  int status = -1;
  if (how == "vfork") {
    const pid_t pid = vfork();
    if (pid == 0) {
      execv(argv[0], argv);
      _exit(127);
    }
    waitpid(pid, &status, 0);
    expect_status(status, "vfork and exec");
  } else if (how == "vfork-and-_exit") {
    const pid_t pid = vfork();
    if (pid == 0) _exit(0);
    waitpid(pid, &status, 0);
    expect_status(status, "vfork and _exit");
  } else if (how == "fork") {
    const pid_t pid = must_fork();
    if (pid == 0) {
      heap.expect(1, "the child before exec");
      execv(argv[0], argv);
      _exit(127);
    }
    waitpid(pid, &status, 0);
    expect_status(status, "fork and exec");
  } else if (how == "posix_spawn") {
    fflush(stdout);
    pid_t pid = -1;
    EXPECT(posix_spawn(&pid, argv[0], nullptr, nullptr, argv, environ) == 0, "posix_spawn");
    waitpid(pid, &status, 0);
    expect_status(status, "posix_spawn");
  } else if (how == "posix_spawn-of-nothing") {
    pid_t pid = -1;
    EXPECT(posix_spawn(&pid, "/no/such/program", nullptr, nullptr, argv, environ) == ENOENT,
           "posix_spawn of nothing");
  } else if (how == "system") {
    fflush(stdout);
    expect_status(system(line.c_str()), "system");
  } else if (how == "popen") {
    FILE* f = popen(line.c_str(), "re");
    EXPECT(f, "popen: %s", strerror(errno));
    const std::string text = read_all(fileno(f));
    fputs(text.c_str(), stdout);
    expect_status(pclose(f), "popen");
  } else if (how == "forkpty") {
    int terminal = -1;
    const pid_t pid = forkpty(&terminal, nullptr, nullptr, nullptr);
    EXPECT(pid >= 0, "forkpty: %s", strerror(errno));
    if (pid == 0) {
      heap.expect(1, "the child on a terminal");
      execv(argv[0], argv);
      _exit(127);
    }
    std::string text = read_all(terminal);
    text.erase(std::remove(text.begin(), text.end(), '\r'), text.end());
    fputs(text.c_str(), stdout);
    waitpid(pid, &status, 0);
    expect_status(status, "forkpty");
  } else if (how == "grandchild") {  // by exec of a shell that starts it
    const std::string twice = "sh -c '" + line + "; exit $?'";
    fflush(stdout);
    expect_status(system(twice.c_str()), "a shell in a shell");
  } else {
    complain("no such way: %s", how.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc > 1, "usage: starts_programs HOW");
  if (strcmp(argv[1], "report") == 0) return report(argc > 2 && strcmp(argv[2], "1") == 0);
  Heap heap;
  heap.make(1);
  heap.send_out();
  for (int round = 0; round < 3; ++round) {
    start(argv[1], heap);
    heap.expect(1, "after a program was started");
    heap.blocks[5] =
        static_cast<char*>(realloc(heap.blocks[5], heap.sizes[5] + static_cast<size_t>(round) * MiB));
    EXPECT(heap.blocks[5], "realloc: %s", strerror(errno));
  }
  heap.write(2);
  heap.expect(2, "written after all programs ended");
  heap.free_all();
  return done();
}

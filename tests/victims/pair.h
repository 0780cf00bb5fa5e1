// pair.h - a parent and a child that take turns, for victims about fork.
#pragma once
#include <signal.h>
#include <sys/wait.h>

#include "tests/victims/spilled.h"

namespace victim {

// Two pipes: each side can wait until the other has done something. The other side's death ends the wait.
class Turns {
 public:
  Turns() { EXPECT(pipe(to_child_) == 0 && pipe(to_parent_) == 0, "pipe: %s", strerror(errno)); }
  void tell_child() { tell(to_child_[1]); }
  void tell_parent() { tell(to_parent_[1]); }
  void wait_for_parent() { wait(to_child_[0], "parent"); }
  void wait_for_child() { wait(to_parent_[0], "child"); }
  // True: the parent spoke; false: it is gone.
  bool wait_for_parent_end(char* token) { return read(to_child_[0], token, 1) == 1; }
  int parents_end() const { return to_child_[1]; }
  // Right after fork, on each side: so that the other's end is the only one.
  void i_am_child() { close(to_child_[1]), close(to_parent_[0]); }
  void i_am_parent() { close(to_child_[0]), close(to_parent_[1]); }

 private:
  static void tell(int fd) { EXPECT(write(fd, "x", 1) == 1, "pipe: %s", strerror(errno)); }
  static void wait(int fd, const char* who) {
    char token;
    EXPECT(read(fd, &token, 1) == 1, "the %s ended early", who);
  }
  int to_child_[2], to_parent_[2];
};

inline pid_t must_fork() {
  fflush(stdout);
  const pid_t pid = fork();
  EXPECT(pid >= 0, "fork: %s", strerror(errno));
  return pid;
}

// The child's complaint is on stdout already when this one follows.
inline void expect_good_end(pid_t pid, const char* who) {
  int status = -1;
  EXPECT(waitpid(pid, &status, 0) == pid, "waitpid: %s", strerror(errno));
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s ended with status 0x%x", who, status);
}

// Blocks on both sides of the threshold, with patterns of their own: what every process of a family should
// have.
struct Heap {
  static constexpr size_t kCount = 6;
  size_t sizes[kCount] = {100, 60000, 300000, 5 * MiB, 9 * MiB + 12345, 12 * MiB};
  char* blocks[kCount] = {};

  void make(uint64_t seed) {
    for (size_t i = 0; i < kCount; ++i) blocks[i] = must_malloc(sizes[i]);
    write(seed);
  }
  void write(uint64_t seed) {
    for (size_t i = 0; i < kCount; ++i) fill(blocks[i], sizes[i], seed + i);
  }
  void expect(uint64_t seed, const char* who) {
    for (size_t i = 0; i < kCount; ++i) EXPECT_FILLED(blocks[i], sizes[i], seed + i, who);
  }
  void send_out() {
    for (size_t i = 0; i < kCount; ++i) victim::send_out(blocks[i], sizes[i]);
  }
  void free_all() {
    for (char* p : blocks) free(p);
  }
};

}  // namespace victim

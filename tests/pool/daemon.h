// daemon.h - a daemon of a test's own in a directory of its own, and clients of it.
#pragma once
#include <spillway/pool.hpp>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/program.h"
#include "tests/support/scratch_dir.h"

namespace spillway::test {

class Daemon {
 public:
  // Flags: {"--memory-limit", "20M"}. It is ready when the constructor returns; throws with its last words.
  // `env`: variables for it, which may depend on its spill directory.
  using Env = std::function<std::vector<std::string>(const std::string& spill_dir)>;
  explicit Daemon(std::vector<std::string> flags = {}, Env env = nullptr);
  ~Daemon();

  Pool pool(uint32_t cached_objects = 4096) const;  // a new session
  const std::string& socket() const { return socket_; }
  std::string spill_dir() const { return dir_ / "spill"; }
  const ScratchDir& dir() const { return dir_; }
  pid_t pid() const { return running_->pid(); }
  std::string log() const { return running_->err(); }

  void kill();  // SIGKILL, and waits
  void stop();  // SIGTERM, and waits
  void start(std::vector<std::string> flags);
  void start() { start(flags_); }

  // obj-* and pack-* in the spill directory: what is in no store.
  std::vector<std::string> spill_files() const;
  // Indexes of its stores in /dev/shm.
  std::vector<std::string> shared_files() const;
  size_t open_fds() const;
  // Pages of all memory files it has open, as the kernel counts them.
  uint64_t memory_file_bytes() const;
  uint64_t private_bytes() const;  // resident, and not shared
  std::map<std::string, uint64_t> stats() const;

 private:
  ScratchDir dir_;
  std::string socket_;
  std::vector<std::string> flags_;
  Env env_;
  std::unique_ptr<Running> running_;
};

// As a daemon's directories must be.
struct Private : ScratchDir {
  Private();
};

std::vector<std::byte> some_bytes(size_t bytes, uint32_t seed);
bool same(std::span<const std::byte> a, std::span<const std::byte> b);

// The call throws an Error of this status; its message is returned.
template <typename Call>
std::string failure_of(spillway_status status, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    if (error.status() == status) return error.what();
    throw;
  }
  throw std::runtime_error("it did not fail");
}

// In a child process, which ends with _exit(0) when `body` returns, with 1 when it throws.
pid_t in_child(const std::function<void()>& body);
// Its exit status; -signal.
int wait_for(pid_t pid);

}  // namespace spillway::test

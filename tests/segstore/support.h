// support.h - stores of a test's own, other processes, and a model of what a store must hold.
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <spillway/store.hpp>
#include <string>
#include <thread>
#include <vector>

#include "libpool/segstore/index.h"
#include "tests/support/catch.h"
#include "tests/support/scratch_dir.h"

namespace spillway::test {

template <typename T>
T must(StoreResult<T> result) {
  INFO(result.status().message());
  REQUIRE(result.ok());
  return std::move(*result);
}
inline void must(const StoreStatus& status) {
  INFO(status.message());
  REQUIRE(status.ok());
}

// Asynchronous writes and an index beside the store: quick, and gone with the directory.
inline StoreOptions quick(const ScratchDir& dir) {
  StoreOptions options;
  options.durability = Durability::kAsync;
  options.index_directory = dir.path();
  return options;
}
inline StoreOptions small_segments(const ScratchDir& dir) {
  StoreOptions options = quick(dir);
  options.segment_bytes = 64 << 10;
  return options;
}

inline std::string key_of(uint64_t n) { return "key-" + std::to_string(n); }

// nullopt: absent.
inline std::optional<std::string> value_of(const Store& store, std::string_view key) {
  Value value = must(store.get(key));
  if (!value.found()) return std::nullopt;
  return value.str();
}
inline std::map<std::string, std::string> all_of(const Store& store) {
  std::map<std::string, std::string> all;
  Snapshot snapshot = must(store.snapshot());
  must(snapshot.for_each([&](std::string_view key, const Value& value) {
    all[std::string(key)] = value.str();
    return true;
  }));
  return all;
}

// The store's clock is at least this far ahead from now on, as if the machine's had been. Of one in quick()'s
// directories, open for writing.
inline void put_clock_on(const Store& store, std::chrono::milliseconds by) {
  const std::string index = must(store.state()).index_file;
  const int fd = ::open(index.c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(fd >= 0);
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  const uint64_t later = static_cast<uint64_t>((now + by).count());
  constexpr off_t kAt = offsetof(segstore::IndexHeader, latest_clock_ms);
  REQUIRE(::pwrite(fd, &later, sizeof later, kAt) == sizeof later);
  ::close(fd);
}

#ifdef __SANITIZE_ADDRESS__
// The address sanitizer of this compiler does not take its allocator's locks around a fork: a child of a
// process with threads can find one taken for ever. Such a child hangs here: all sizes of blocks, and a
// thread, which has a cache of its own.
inline void take_allocator_locks() {
  std::thread([] {
    std::vector<std::unique_ptr<char[]>> blocks;
    for (size_t bytes = 16; bytes <= 256 << 10; bytes += std::max<size_t>(16, bytes / 8))
      for (int count = 0; count < 300 && count * bytes <= 256 << 10; ++count)
        blocks.push_back(std::make_unique<char[]>(bytes));
  }).join();
}

inline pid_t fork_process() {
  for (;;) {
    int ready[2];
    if (::pipe2(ready, O_CLOEXEC) != 0) return -1;
    const pid_t pid = ::fork();
    if (pid == 0) {
      take_allocator_locks();
      if (::write(ready[1], "", 1) != 1) ::_exit(98);
      ::close(ready[0]);
      ::close(ready[1]);
      return 0;
    }
    ::close(ready[1]);
    pollfd it{ready[0], POLLIN, 0};
    const bool is_ready = pid < 0 || ::poll(&it, 1, 5'000) == 1;
    ::close(ready[0]);
    if (is_ready) return pid;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}
#else
inline pid_t fork_process() { return ::fork(); }
#endif

// A forked process that runs `body` and ends with what it returns. Killed with the test.
class Child {
 public:
  explicit Child(const std::function<int()>& body) {
    pid_ = fork_process();
    if (pid_ == 0) {
      int status = 99;
      try {
        status = body();
      } catch (...) {
      }
      ::_exit(status);
    }
  }
  ~Child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      (void)wait();
    }
  }
  Child(const Child&) = delete;
  pid_t pid() const { return pid_; }
  void kill() const { ::kill(pid_, SIGKILL); }
  // The exit status; 1000 + the signal that ended it.
  int wait() {
    int status = 0;
    if (pid_ <= 0 || ::waitpid(pid_, &status, 0) != pid_) return -1;
    pid_ = -1;
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t pid_ = -1;
};

// Memory that a test and its children see alike, zeroed.
template <typename T>
class Shared {
 public:
  Shared()
      : at_(static_cast<T*>(
            ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~Shared() { ::munmap(at_, sizeof(T)); }
  Shared(const Shared&) = delete;
  T* operator->() const { return at_; }
  T& operator*() const { return *at_; }

 private:
  T* at_;
};

}  // namespace spillway::test

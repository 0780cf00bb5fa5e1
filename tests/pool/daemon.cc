#include "tests/pool/daemon.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/support/paths.h"
#include "tests/support/wait.h"

namespace fs = std::filesystem;

namespace spillway::test {

Daemon::Daemon(std::vector<std::string> flags, Env env)
    : socket_(dir_ / "pool.sock"), flags_(std::move(flags)), env_(std::move(env)) {
  fs::permissions(dir_.path(), fs::perms(0700));
  start();
}

Daemon::~Daemon() {
  running_.reset();
  // A killed daemon's index of small names stays until somebody of its user begins a store.
  for (const std::string& file : shared_files()) ::unlink(file.c_str());
}

void Daemon::start(std::vector<std::string> flags) {
  Command command;
  command.argv = {build_dir() + "/bin/spillwayd",
                  "--socket",
                  socket_,
                  "--spill-dirs",
                  spill_dir(),
                  "--disk-least-free",
                  "0"};
  command.argv.insert(command.argv.end(), flags.begin(), flags.end());
  if (env_) command.env = env_(spill_dir());
  command.timeout = std::chrono::minutes(10);
  running_ = std::make_unique<Running>(command);
  const bool ready =
      wait_until([&] { return running_->err().find(" ready ") != std::string::npos || running_->ended(); });
  if (!ready || running_->ended()) throw std::runtime_error("the daemon did not start: " + running_->err());
}

Pool Daemon::pool(uint32_t cached_objects) const {
  Pool::Options options;
  options.socket = socket_;
  options.start = false;
  options.cached_objects = cached_objects;
  return Pool(options);
}

void Daemon::kill() {
  running_->kill(SIGKILL);
  (void)running_->wait();
}
void Daemon::stop() {
  running_->kill(SIGTERM);
  const Outcome end = running_->wait();
  if (end.exit_code != 0) throw std::runtime_error("the daemon did not end in order: " + end.text());
}

std::vector<std::string> Daemon::spill_files() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(spill_dir())) {
    const std::string name = entry.path().filename();
    if (name.starts_with("obj-") || name.starts_with("pack-")) names.push_back(name);
  }
  return names;
}

std::vector<std::string> Daemon::shared_files() const {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator("/dev/shm")) {
    if (!entry.path().filename().string().starts_with("spillway-store-")) continue;
    std::string head(8192, '\0');  // it says where its store is
    std::ifstream(entry.path()).read(head.data(), static_cast<std::streamsize>(head.size()));
    if (head.find(dir_.path() + "/") != std::string::npos) files.push_back(entry.path());
  }
  return files;
}

size_t Daemon::open_fds() const {
  size_t count = 0;
  for ([[maybe_unused]] const auto& fd : fs::directory_iterator("/proc/" + std::to_string(pid()) + "/fd"))
    ++count;
  return count;
}

uint64_t Daemon::memory_file_bytes() const {
  uint64_t sum = 0;
  std::set<ino_t> seen;
  std::error_code gone;  // descriptors come and go
  for (const auto& fd : fs::directory_iterator("/proc/" + std::to_string(pid()) + "/fd", gone)) {
    struct stat st {};
    if (!fs::read_symlink(fd.path(), gone).string().starts_with("/memfd:")) continue;
    if (::stat(fd.path().c_str(), &st) != 0 || !seen.insert(st.st_ino).second) continue;
    sum += static_cast<uint64_t>(st.st_blocks) * 512;
  }
  return sum;
}

uint64_t Daemon::private_bytes() const {
  uint64_t size = 0, resident = 0, shared = 0;
  std::ifstream("/proc/" + std::to_string(pid()) + "/statm") >> size >> resident >> shared;
  return (resident - shared) * 4096;
}

std::map<std::string, uint64_t> Daemon::stats() const {
  Pool p = pool();
  std::map<std::string, uint64_t> all;
  for (auto& [name, value] : p.stats()) all[name] = value;
  return all;
}

Private::Private() { fs::permissions(path(), fs::perms(0700)); }

std::vector<std::byte> some_bytes(size_t bytes, uint32_t seed) {
  std::vector<std::byte> data(bytes);
  uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
  for (std::byte& b : data) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    b = static_cast<std::byte>(x);
  }
  return data;
}

bool same(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
}

pid_t in_child(const std::function<void()>& body) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  int status = 0;
  try {
    body();
  } catch (const std::exception& error) {
    fprintf(stderr, "child: %s\n", error.what());
    status = 1;
  }
  ::_exit(status);
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return -1000;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace spillway::test

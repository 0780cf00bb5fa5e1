// The test plays the service manager: it listens, starts the daemon with the socket, keeps the descriptors
// the daemon sends, and gives them to the next one.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <list>

#include "base/core/units.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/paths.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

class Manager {
 public:
  struct Kept {
    std::string name;
    int fd;
  };

  Manager() {
    fs::permissions(dir_.path(), fs::perms(0700));
    listener_ = bound(SOCK_STREAM, socket());
    notified_ = bound(SOCK_DGRAM, dir_ / "notify");
    if (listener_ < 0 || notified_ < 0 || ::listen(listener_, 64) != 0) throw std::runtime_error("sockets");
  }
  ~Manager() {
    if (pid_ > 0) ::kill(pid_, SIGKILL), (void)wait_for(pid_);
    for (const Kept& kept : kept_) ::close(kept.fd);
    ::close(listener_), ::close(notified_);
  }

  // Returns when the daemon says that it is ready.
  void start(std::vector<std::string> flags, bool with_socket = true) {
    std::vector<std::string> argv = {build_dir() + "/bin/spillwayd", "--spill-dirs", dir_ / "spill",
                                     "--disk-least-free", "0"};
    argv.insert(argv.end(), flags.begin(), flags.end());
    pid_ = in_child([&] { exec(argv, with_socket); });
    hear_until([](const std::string& said) { return said.find("READY=1") != std::string::npos; });
  }
  // In order; the descriptors it leaves are kept.
  void stop() {
    ::kill(pid_, SIGTERM);
    const int ended = static_cast<int>(::syscall(434, pid_, 0));  // pidfd_open
    while (true) {
      pollfd both[] = {{ended, POLLIN, 0}, {notified_, POLLIN, 0}};
      if (::poll(both, 2, 60'000) <= 0) throw std::runtime_error("it does not end");
      if (both[1].revents)
        (void)hear();
      else
        break;
    }
    ::close(ended);
    if (wait_for(std::exchange(pid_, -1)) != 0) throw std::runtime_error("it did not end in order");
  }

  Pool pool() const { return Pool({.socket = socket(), .start = false}); }
  std::string socket() const { return dir_ / "pool.sock"; }
  std::string dir() const { return dir_.path(); }
  std::list<Kept>& kept() { return kept_; }

 private:
  static int bound(int type, const std::string& path) {
    const int fd = ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    ::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    return ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? fd : -1;
  }

  void exec(const std::vector<std::string>& argv, bool with_socket) {
    std::vector<int> fds;
    std::string names;
    if (with_socket) fds.push_back(listener_), names = "spillwayd.socket";
    for (const Kept& kept : kept_) fds.push_back(kept.fd), names += (names.empty() ? "" : ":") + kept.name;
    // Out of the way of 3, 4 ... first.
    for (int& fd : fds) fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 1000);
    for (size_t i = 0; i < fds.size(); ++i) ::dup2(fds[i], static_cast<int>(3 + i));
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", std::to_string(fds.size()).c_str(), 1);
    ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
    ::setenv("NOTIFY_SOCKET", (dir_ / "notify").c_str(), 1);
    std::vector<char*> words;
    for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    ::execv(words[0], words.data());
  }

  std::string hear() {
    char text[512];
    iovec part{text, sizeof text - 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &part, message.msg_iovlen = 1;
    message.msg_control = control, message.msg_controllen = sizeof control;
    const ssize_t bytes = ::recvmsg(notified_, &message, MSG_CMSG_CLOEXEC);
    if (bytes < 0) throw std::runtime_error("recvmsg");
    const std::string said(text, static_cast<size_t>(bytes));
    int fd = -1;
    if (const cmsghdr* const rights = CMSG_FIRSTHDR(&message)) ::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    std::string name;
    if (const size_t at = said.find("FDNAME="); at != std::string::npos)
      name = said.substr(at + 7, said.find('\n', at) - at - 7);
    if (said.starts_with("FDSTORE=1")) {
      kept_.push_front({name, fd});  // as systemd does: the last comes first
    } else if (fd >= 0) {
      ::close(fd);  // BARRIER=1
    }
    if (said.starts_with("FDSTOREREMOVE=1"))
      kept_.remove_if([&](const Kept& kept) { return kept.name == name && ::close(kept.fd) == 0; });
    return said;
  }
  template <typename Until>
  void hear_until(Until until) {
    pollfd readable{notified_, POLLIN, 0};
    do
      if (::poll(&readable, 1, 60'000) <= 0) throw std::runtime_error("nothing is said");
    while (!until(hear()));
  }

  ScratchDir dir_;
  int listener_ = -1, notified_ = -1;
  pid_t pid_ = -1;
  std::list<Kept> kept_;
};

}  // namespace

TEST_CASE("what is in memory stays there when the service manager starts the daemon again", "[fork]") {
  Manager manager;
  manager.start({"--memory-limit", "64M"});
  Pool pool = manager.pool();
  const DRef mine = pool.set(some_bytes(2 * kMiB, 1), {.name = "mine"}),
             others = pool.set(some_bytes(3 * kMiB + 5, 2), {.name = "others", .mode = 0644}),
             unnamed = pool.set(some_bytes(2 * kMiB, 3)),
             small = pool.set(some_bytes(1000, 4), {.name = "small"}),
             packed = pool.set(std::string(4 * kMiB, 'x'), {.name = "packed", .filters = "lz4,checksum"}),
             gone = pool.set(some_bytes(2 * kMiB, 6), {.name = "gone"});
  const Pin held = pool.get(mine);
  pool.erase(gone);
  manager.stop();
  REQUIRE(manager.kept().size() == 4);
  manager.start({"--memory-limit", "64M"});
  REQUIRE(manager.kept().empty());
  // Nothing is read from disk: the same memory is there.
  for (const char* name : {"mine", "others", "packed"})
    REQUIRE(pool.stat(pool.lookup(name)).state == SPILLWAY_BOTH);
  REQUIRE(same(pool.get("mine").bytes(), some_bytes(2 * kMiB, 1)));
  REQUIRE(same(pool.get("others").bytes(), some_bytes(3 * kMiB + 5, 2)));
  REQUIRE(same(pool.get(unnamed).bytes(), some_bytes(2 * kMiB, 3)));
  REQUIRE(pool.get("packed").text() == std::string(4 * kMiB, 'x'));
  REQUIRE(pool.stat_of("loads") == 0);
  REQUIRE(same(held.bytes(), some_bytes(2 * kMiB, 1)));
  REQUIRE(same(pool.get(small).bytes(), some_bytes(1000, 4)));
  // It can be spilled without a write, and goes when it is erased.
  pool.move_to_disk(others);
  REQUIRE(pool.stat(others).state == SPILLWAY_SPILLED);
  REQUIRE(pool.stat_of("spills") == 0);
  for (const DRef* dref : {&mine, &others, &unnamed, &small, &packed}) pool.erase(*dref);
  REQUIRE(wait_until([&] { return pool.stat_of("disk_used_bytes") == 0; }));
}

TEST_CASE("what does not fit any more, or is not what was written, is not taken from the service manager",
          "[fork]") {
  Manager manager;
  manager.start({"--memory-limit", "64M"});
  {
    Pool pool = manager.pool();
    for (uint32_t i = 0; i < 4; ++i)
      (void)pool.set(some_bytes(4 * kMiB, i), {.name = "o" + std::to_string(i), .flags = SPILLWAY_UNCOUNTED});
    (void)pool.get("o1");
  }
  manager.stop();
  REQUIRE(manager.kept().size() == 4);
  // The socket's unit is not there any more; one descriptor is another file, one has no name of ours.
  const auto replace = [](Manager::Kept& kept, size_t bytes) {
    ::close(kept.fd);
    kept.fd = ::memfd_create("other", MFD_CLOEXEC);
    REQUIRE(::ftruncate(kept.fd, static_cast<off_t>(bytes)) == 0);
  };
  for (Manager::Kept& kept : manager.kept())
    if (&kept == &manager.kept().front()) replace(kept, 4 * kMiB);  // the least recently used: o0
  manager.kept().push_back({"object-1-2", ::dup(manager.kept().back().fd)});
  manager.kept().push_back({"rubbish", ::memfd_create("rubbish", MFD_CLOEXEC)});
  const std::string socket = manager.dir() + "/other.sock";
  manager.start({"--memory-limit", "9M", "--socket", socket}, false);
  REQUIRE(manager.kept().empty());
  Pool pool({.socket = socket, .start = false});
  REQUIRE(pool.stat_of("memory_used_bytes") == 8 * kMiB);  // the two used last
  REQUIRE(pool.stat(pool.lookup("o0")).state == SPILLWAY_SPILLED);
  REQUIRE(pool.stat(pool.lookup("o1")).state == SPILLWAY_BOTH);
  REQUIRE(pool.stat(pool.lookup("o2")).state == SPILLWAY_SPILLED);
  REQUIRE(pool.stat(pool.lookup("o3")).state == SPILLWAY_BOTH);
  for (uint32_t i = 0; i < 4; ++i)
    REQUIRE(same(pool.get("o" + std::to_string(i)).bytes(), some_bytes(4 * kMiB, i)));
}

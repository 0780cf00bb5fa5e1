// Where the daemon and its clients find themselves: other users, unusual environments, wrong paths,
// terminals, and whoever asks for its figures.
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/core/units.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

int listening_at(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(fd, 8) != 0)
    throw std::runtime_error("listen");
  return fd;
}

std::string refused_at(const std::string& socket) {
  return failure_of(SPILLWAY_UNAVAILABLE, [&] { Pool({.socket = socket, .start = false}); });
}

// A port that was free a moment ago.
int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), bytes) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0)
    throw std::runtime_error("no port");
  ::close(fd);
  return ntohs(address.sin_port);
}

std::string fetch(int port, const std::string& path) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  std::string answer;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    const std::string request = "GET " + path + " HTTP/1.0\r\nHost: localhost\r\n\r\n";
    (void)!::write(fd, request.data(), request.size());
    char piece[4096];
    for (ssize_t n; (n = ::read(fd, piece, sizeof piece)) > 0;) answer.append(piece, static_cast<size_t>(n));
  }
  ::close(fd);
  return answer;
}

// The command with a terminal of its own for stdin, stdout and stderr; what the terminal showed.
Outcome on_terminal(const Daemon& daemon, const std::string& words, const std::string& keys = "") {
  Command command;
  command.argv = {"script", "-qec", "stty rows 30 cols 100; " + spillway_bin() + " " + words, "/dev/null"};
  command.env = {"SPILLWAY_SOCKET=" + daemon.socket(), "TERM=xterm", "LC_ALL=C.UTF-8"};
  command.input = keys;
  return run(command);
}

}  // namespace

TEST_CASE("a path where no daemon can be says what is there instead") {
  ScratchDir dir;
  fs::permissions(dir.path(), fs::perms(0700));
  REQUIRE(refused_at(dir / "nothing").find("no daemon listens there") != std::string::npos);
  REQUIRE(refused_at(dir / "no/folder").find("no daemon listens there") != std::string::npos);
  dir.write("file", "text");
  REQUIRE(refused_at(dir / "file").find("no daemon listens there") != std::string::npos);
  REQUIRE(refused_at(dir / std::string(120, 'x')).find("at most 107 bytes") != std::string::npos);
  // Somebody listens who speaks otherwise: another version of the protocol, or another program.
  const int other = listening_at(dir / "other");
  const pid_t speaks = in_child([&] {
    const int peer = ::accept(other, nullptr, nullptr);
    char hello[24];
    if (::recv(peer, hello, sizeof hello, MSG_WAITALL) == 24 && hello[3] == '1') {
      const std::string answer("SPL2\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24);
      (void)!::write(peer, answer.data(), answer.size());
    }
    char more;
    (void)!::read(peer, &more, 1);
  });
  const std::string said = refused_at(dir / "other");
  REQUIRE(said.find("other") != std::string::npos);
  REQUIRE(said.find("version") != std::string::npos);
  REQUIRE(wait_for(speaks) == 0);
  ::close(other);
}

TEST_CASE("a message of another version of the protocol closes its connection and no other") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ::strncpy(address.sun_path, daemon.socket().c_str(), sizeof address.sun_path - 1);
  REQUIRE(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  const std::string hello("SPL0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24);
  REQUIRE(::write(fd, hello.data(), hello.size()) == 24);
  char byte;
  REQUIRE(::read(fd, &byte, 1) == 0);
  ::close(fd);
  REQUIRE(pool.get(pool.set(7)).size() > 0);
}

TEST_CASE("another user who was first at the usual path gets nobody's objects", "[fork]") {
  if (!needs_root()) return;
  ScratchDir dir;
  fs::permissions(dir.path(), fs::perms(01777));
  fs::create_directory(dir / "spillway");
  constexpr uid_t kThief = 65533;
  REQUIRE(::chown((dir / "spillway").c_str(), kThief, kThief) == 0);
  fs::permissions(dir / "spillway", fs::perms(0777));
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t thief = in_child([&] {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::setgid(kThief) != 0 || ::setuid(kThief) != 0) throw std::runtime_error("setuid");
    (void)listening_at(dir / "spillway/pool.sock");
    ::chmod((dir / "spillway/pool.sock").c_str(), 0777);
    (void)!::write(ends[1], "r", 1);
    while (true) ::pause();
  });
  char byte;
  REQUIRE(::read(ends[0], &byte, 1) == 1);
  ::close(ends[0]), ::close(ends[1]);
  Command command;
  command.argv = {spillway_bin(), "put", "secret"};
  command.env = {"XDG_RUNTIME_DIR=" + dir.path(), "SPILLWAY_SOCKET"};
  command.input = "my secret";
  command.uid = kNobody;
  const Outcome got = run(command);
  ::kill(thief, SIGKILL);
  (void)wait_for(thief);
  INFO(got.text());
  REQUIRE(got.exit_code == 125);
  REQUIRE(got.err.find("user 65533 listens there") != std::string::npos);
  // Nor does a daemon or a program that would start one use a folder that another user can replace.
  fs::remove(dir / "spillway/pool.sock");
  Command start;
  start.argv = {build_dir() + "/bin/spillwayd", "--socket", dir / "spillway/mine/pool.sock", "--spill-dirs",
                dir / "spill"};
  start.uid = kNobody;
  const Outcome refused = run(start);
  INFO(refused.text());
  REQUIRE(refused.exit_code == 1);
  REQUIRE(refused.err.find("other users own it") != std::string::npos);
}

TEST_CASE("no home, no runtime directory and an unusual umask are no obstacle") {
  if (!needs_root()) return;  // to be a user without anything in /tmp
  constexpr uid_t kUser = 61234;
  const std::string folder = "/tmp/spillway-" + std::to_string(kUser);
  const std::string spills = "/var/tmp/spillway-" + std::to_string(kUser);
  const auto clean = [&] { fs::remove_all(folder), fs::remove_all(spills); };
  clean();
  const auto as_user = [&](const std::string& mask, const std::string& words, const std::string& input = "") {
    Command command;
    command.argv = {"/bin/sh", "-c", "umask " + mask + "; exec " + spillway_bin() + " " + words};
    command.env = {"HOME", "XDG_RUNTIME_DIR", "SPILLWAY_SOCKET", "SPILLWAY_POOL_IDLE_EXIT=60"};
    command.dir = "/";
    command.input = input;
    command.uid = kUser;
    return run(command);
  };
  for (const std::string mask : {"0777", "0000"}) {
    Outcome got = as_user(mask, "put n", "bytes");
    INFO(mask << ": " << got.text());
    REQUIRE(got.exit_code == 0);
    got = as_user(mask, "spill n");
    INFO(got.text());
    REQUIRE(got.exit_code == 0);
    REQUIRE(as_user(mask, "get n").out == "bytes");
    // Nobody else may look, whatever the umask.
    for (const auto& entry : fs::recursive_directory_iterator(spills))
      REQUIRE((fs::status(entry).permissions() & fs::perms(0077)) == fs::perms::none);
    REQUIRE((fs::status(folder + "/pool.sock").permissions() & fs::perms(0077)) == fs::perms::none);
    REQUIRE(as_user(mask, "pool stop").exit_code == 0);
    REQUIRE(wait_until([&] { return !fs::exists(folder + "/pool.sock"); }));
    REQUIRE(wait_for_descendants());
  }
  clean();
}

TEST_CASE("names may have any characters but control characters, and come back as they are") {
  Daemon daemon;
  Pool pool = daemon.pool();
  const std::vector<std::string> names = {" ",
                                          "-rf",
                                          "--help",
                                          "../../etc/passwd",
                                          "a\"b\\c",
                                          "\xc3\xa9\xf0\x9f\x8c\x8a",
                                          "%s%n",
                                          "*",
                                          std::string(1024, 'n'),
                                          "\xff\xfe"};
  for (const std::string& name : names)
    (void)pool.set(name, {.name = name, .flags = SPILLWAY_UNCOUNTED | SPILLWAY_DURABLE});
  for (const std::string& name : names) REQUIRE(pool.get(name).text() == name);
  REQUIRE(pool.list().size() == names.size());
  Command command;
  command.argv = {spillway_bin(), "ls", "--json"};
  command.env = {"SPILLWAY_SOCKET=" + daemon.socket()};
  REQUIRE(nlohmann::json::parse(run(command).out).size() == names.size());
  command.argv = {spillway_bin(), "get", "--", "--help"};
  REQUIRE(run(command).out == "--help");
  daemon.stop();
  daemon.start();
  for (const std::string& name : names) REQUIRE(pool.get(name).text() == name);
  REQUIRE(failure_of(SPILLWAY_INVALID, [&] { (void)pool.set(1, {.name = "tab\t"}); }).find("control") !=
          std::string::npos);
}

TEST_CASE("sizes and times at their ends") {
  Daemon daemon({"--memory-limit", "16M"});
  Pool pool = daemon.pool();
  const DRef empty = pool.set(std::string(), {.name = "empty"});
  REQUIRE(pool.get("empty").size() == 0);
  pool.move_to_disk(empty);
  REQUIRE(pool.get(empty).size() == 0);
  for (const size_t bytes : {SIZE_MAX, SIZE_MAX - 4096, size_t{1} << 63, (size_t{1} << 46) + 1})
    REQUIRE(failure_of(SPILLWAY_TOO_LARGE, [&] { (void)pool.create(bytes); }).find("at most") !=
            std::string::npos);
  // What no disk has.
  try {
    (void)pool.create(size_t{1} << 45);
    FAIL("32 TiB");
  } catch (const Error& error) {
    REQUIRE((error.status() == SPILLWAY_TOO_LARGE || error.status() == SPILLWAY_DISK_FULL));
  }
  failure_of(SPILLWAY_NOT_FOUND, [&] { (void)pool.get("never", {.timeout = Milliseconds(0)}); });
  const DRef nine = pool.set(std::string(9 * kMiB, 'x'));
  const Pin held = pool.get(nine);
  failure_of(SPILLWAY_FULL, [&] {
    (void)pool.set(std::string(9 * kMiB, 'y'), {.when_full = SPILLWAY_WAIT, .timeout = Milliseconds(0)});
  });
  REQUIRE(wait_until([&] { return pool.stat_of("objects") == 2; }));
  REQUIRE(pool.stat_of("memory_used_bytes") == 9 * kMiB);
}

TEST_CASE("/metrics has every counter, on loopback only when asked for") {
  const int port = free_port();
  Daemon daemon({"--metrics-port", std::to_string(port)});
  Pool pool = daemon.pool();
  const DRef a = pool.set(std::string(2 * kMiB, 'a'));
  pool.move_to_disk(a);
  const std::string text = fetch(port, "/metrics");
  INFO(text);
  REQUIRE(text.find("200 OK") != std::string::npos);
  REQUIRE(text.find("# TYPE spillway_pool_spills_total counter") != std::string::npos);
  REQUIRE(text.find("\nspillway_pool_spills_total 1\n") != std::string::npos);
  REQUIRE(text.find("# TYPE spillway_pool_memory_used_bytes gauge") != std::string::npos);
  for (const auto& [name, value] : pool.stats())
    REQUIRE(text.find("spillway_pool_" + name) != std::string::npos);
  REQUIRE_THROWS_WITH(Daemon({"--metrics-port", std::to_string(port)}),
                      Catch::Matchers::Contains("metrics_port " + std::to_string(port) + ": cannot listen"));
}

TEST_CASE("on a terminal put and get show how far they are, and top shows the pool until q is pressed") {
  if (!needs_program("script")) return;
  Daemon daemon({"--memory-limit", "600M"});
  const std::string file = daemon.dir() / "large";
  { std::ofstream(file).put('x'); }
  fs::resize_file(file, 400 * kMiB);
  Outcome got = on_terminal(daemon, "put large " + file);
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  REQUIRE(got.out.find("put [##") != std::string::npos);
  REQUIRE(got.out.find("of 400.0 MiB") != std::string::npos);
  got = on_terminal(daemon, "get large");
  REQUIRE(got.exit_code == 1);
  REQUIRE(got.out.find("the object is binary, and this is a terminal") != std::string::npos);
  (void)daemon.pool().set(1, {.name = "gr\xc3\xb6\xc3\x9f"
                                      "e",
                              .flags = SPILLWAY_UNCOUNTED});
  got = on_terminal(daemon, "top", "aisq");
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  REQUIRE(got.out.find("q quit") != std::string::npos);
  REQUIRE(got.out.find("gr\xc3\xb6\xc3\x9f"
                       "e") != std::string::npos);
  REQUIRE(got.out.find("large") != std::string::npos);
  REQUIRE(got.out.find("memory") != std::string::npos);
}

TEST_CASE("the log has one line for each event, and not one for each of thousands") {
  Daemon daemon({"--memory-limit", "4M"});
  Pool pool = daemon.pool();
  const DRef three = pool.set(std::string(3 * kMiB, 'x'));
  const Pin held = pool.get(three);
  for (int i = 0; i < 500; ++i)
    failure_of(SPILLWAY_FULL,
               [&] { (void)pool.set(std::string(2 * kMiB, 'y'), {.when_full = SPILLWAY_FAIL}); });
  const std::string log = daemon.log();
  INFO(log);
  REQUIRE(log.find("Z full reason=\"no room for 2.0 MiB") != std::string::npos);
  size_t lines = 0;
  for (size_t at = 0; (at = log.find("Z full ", at)) != std::string::npos; ++at) ++lines;
  REQUIRE(lines < 100);
}

TEST_CASE("the thread that answers does not wait for a processor while files are written, and only then") {
  if (!needs_root()) return;
  Daemon daemon({"--memory-limit", "64M"});
  Pool pool = daemon.pool();
  const auto policy = [&] { return ::sched_getscheduler(daemon.pid()) & ~SCHED_RESET_ON_FORK; };
  REQUIRE(policy() == SCHED_OTHER);
  std::vector<DRef> made;
  const std::string data(8 * kMiB, 'w');
  REQUIRE(wait_until([&] {
    made.push_back(pool.set(data));
    return policy() == SCHED_FIFO;
  }));
  for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(daemon.pid()) + "/task"))
    if (const pid_t id = std::stoi(task.path().filename()); id != daemon.pid())
      REQUIRE(::sched_getscheduler(id) == SCHED_OTHER);
  REQUIRE(wait_until([&] {
    (void)pool.stat_of("puts");
    return policy() == SCHED_OTHER;
  }));
}

TEST_CASE("a limit on files' size is an error of the write, and not the daemon's end") {
  Private dir;
  Command command;
  command.argv = {build_dir() + "/bin/spillwayd",
                  "--socket",
                  dir / "s",
                  "--spill-dirs",
                  dir / "spill",
                  "--memory-limit",
                  "16M"};
  command.limits = {{RLIMIT_FSIZE, 2'048'000}};
  Running daemon(command);
  REQUIRE(wait_until([&] { return daemon.err().find(" ready ") != std::string::npos || daemon.ended(); }));
  {
    Pool pool({.socket = dir / "s", .start = false});
    const DRef small = pool.set(some_bytes(1'500'000, 1), {.name = "n"});
    try {
      (void)pool.set(some_bytes(4 * kMiB, 2));
      FAIL("4 MiB");
    } catch (const Error& error) {
      REQUIRE(std::string(error.what()).find("File too large") != std::string::npos);
    }
    pool.move_to_disk(small);
    REQUIRE(same(pool.get(small).bytes(), some_bytes(1'500'000, 1)));
  }
  daemon.kill(SIGTERM);
  REQUIRE(daemon.wait().exit_code == 0);
}

TEST_CASE("the service manager's units are in order") {
  if (!needs_program("systemd-analyze")) return;
  ScratchDir dir;
  fs::permissions(dir.path(), fs::perms(0700));
  for (const std::string unit : {"spillwayd.service", "spillwayd.socket"}) {
    std::ifstream in(source_dir() + "/scripts/systemd/" + unit);
    std::string text((std::istreambuf_iterator<char>(in)), {});
    REQUIRE(!text.empty());
    if (const size_t at = text.find("@PREFIX@"); at != std::string::npos)
      text.replace(at, 8, fs::absolute(build_dir()).string());
    dir.write(unit, text);
  }
  Command command;
  command.argv = {"systemd-analyze",       "--man=no", "--user", "verify", dir / "spillwayd.service",
                  dir / "spillwayd.socket"};
  command.env = {"XDG_RUNTIME_DIR=" + dir.path()};
  const Outcome got = run(command);
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  REQUIRE(got.err.empty());
}

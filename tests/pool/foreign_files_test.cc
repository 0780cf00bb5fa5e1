// What is not the daemon's stays as it is, wherever a path leads it. All of it in scratch directories.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/core/units.h"
#include "tests/pool/daemon.h"
#include "tests/support/catch.h"
#include "tests/support/paths.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;
namespace fs = std::filesystem;

namespace {

// The daemon, which is expected to end by itself.
Outcome daemon_at(const std::string& socket, const std::string& spill_dirs,
                  std::vector<std::string> env = {}) {
  Command command;
  command.argv = {build_dir() + "/bin/spillwayd", "--spill-dirs", spill_dirs, "--idle-exit", "60"};
  if (!socket.empty()) command.argv.insert(command.argv.end(), {"--socket", socket});
  command.env = std::move(env);
  command.timeout = std::chrono::seconds(60);
  return run(command);
}

Outcome spillway_at(const ScratchDir& dir, std::vector<std::string> words) {
  Command command;
  command.argv = {spillway_bin()};
  command.argv.insert(command.argv.end(), words.begin(), words.end());
  command.env = {"SPILLWAY_SOCKET=" + dir / "s", "SPILLWAY_POOL_SPILL_DIRS=" + dir / "spill"};
  return run(command);
}

int other_program_at(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(fd, 8) != 0)
    throw std::runtime_error("listen");
  return fd;
}

}  // namespace

TEST_CASE("a file at the socket's path is refused, by daemon and clients, and stays as it is") {
  Private dir;
  const std::string file = dir.write("s", "precious");
  Outcome got = daemon_at(file, dir / "spill");
  INFO(got.text());
  REQUIRE(got.exit_code == 1);
  REQUIRE(got.err.find(file) != std::string::npos);
  REQUIRE(got.err.find("no socket") != std::string::npos);
  got = daemon_at("", dir / "spill", {"SPILLWAY_SOCKET=" + file});
  REQUIRE(got.exit_code == 1);
  for (const char* verb : {"ls", "top", "drain"}) {
    got = spillway_at(dir, {verb});
    INFO(got.text());
    REQUIRE(got.exit_code == 125);
    REQUIRE(got.err.find(file) != std::string::npos);
    REQUIRE(got.err.find("no socket") != std::string::npos);
    REQUIRE(got.seconds < 5);
  }
  REQUIRE(dir.read("s") == "precious");
  REQUIRE(dir.files() == std::vector<std::string>{"s"});
  // Nor is a link followed.
  fs::remove(file);
  dir.write("elsewhere", "precious");
  fs::create_symlink(dir / "elsewhere", file);
  got = daemon_at(file, dir / "spill");
  INFO(got.text());
  REQUIRE(got.exit_code == 1);
  REQUIRE(fs::is_symlink(file));
  REQUIRE(dir.read("elsewhere") == "precious");
}

TEST_CASE("another program's socket is not taken from it") {
  Private dir;
  const int other = other_program_at(dir / "s");
  const Outcome got = daemon_at(dir / "s", dir / "spill");
  INFO(got.text());
  REQUIRE(got.exit_code == 3);
  REQUIRE(got.err.find("another program listens there") != std::string::npos);
  REQUIRE(fs::is_socket(dir / "s"));
  ::close(other);
}

TEST_CASE("a daemon that ends removes its socket, and nothing that took its place") {
  Daemon daemon;
  fs::remove(daemon.socket());
  daemon.dir().write("pool.sock", "precious");
  daemon.stop();
  REQUIRE(daemon.dir().read("pool.sock") == "precious");
  fs::remove(daemon.socket());
  daemon.start();
  daemon.stop();
  REQUIRE_FALSE(fs::exists(daemon.socket()));
}

TEST_CASE("files beside the socket that are somebody else's stay as they are") {
  Private dir;
  for (const std::string suffix : {".lock", ".log", ".budget", ".settings"}) {
    INFO(suffix);
    // A link: nothing is made or changed where it leads.
    dir.write("elsewhere", "precious");
    fs::create_symlink(dir / "elsewhere", dir / ("s" + suffix));
    Outcome got = spillway_at(dir, {"pool", "start"});
    INFO(got.text());
    const bool does_without = suffix == ".budget" || suffix == ".settings";
    REQUIRE((got.exit_code == 0) == does_without);
    if (suffix == ".log") REQUIRE(got.err.find("s.log") != std::string::npos);
    if (does_without) REQUIRE(spillway_at(dir, {"pool", "stop"}).exit_code == 0);
    REQUIRE(wait_until([&] { return !fs::exists(dir / "s"); }));
    REQUIRE(wait_for_descendants());
    REQUIRE(dir.read("elsewhere") == "precious");
    for (const std::string& name : dir.files())
      if (name != "spill") fs::remove(dir / name);
    if (suffix == ".lock") continue;  // nothing is ever written to it
    dir.write("s" + suffix, "precious");
    got = spillway_at(dir, {"pool", "start"});
    INFO(got.text());
    if (does_without) {
      REQUIRE(spillway_at(dir, {"pool", "stop"}).exit_code == 0);
      REQUIRE(wait_for_descendants());
    }
    REQUIRE(dir.read("s" + suffix) == "precious");
    for (const std::string& name : dir.files())
      if (name != "spill") fs::remove(dir / name);
  }
}

TEST_CASE("a spill directory with files of the user's own loses none of them") {
  Private dir;
  fs::create_directories(dir / "spill/names");
  fs::permissions(dir / "spill", fs::perms(0700));
  const std::vector<std::string> theirs = {
      "obj-list.txt",  "pack-abc.pack",   "obj-0000000100000001",       "obj-0000000100000001.tmp",
      "pack-00000001", "names/phonebook", "names/seg-0000000000000001", "retained"};
  for (const std::string& name : theirs) dir.write("spill/" + name, "precious " + name);
  for (int life = 0; life < 3; ++life) {  // also where the directory is known to be this pool's
    REQUIRE(spillway_at(dir, {"pool", "start"}).exit_code == 0);
    Command put;
    put.argv = {spillway_bin(), "put", "n" + std::to_string(life)};
    put.env = {"SPILLWAY_SOCKET=" + dir / "s"};
    put.input = "bytes";
    REQUIRE(run(put).exit_code == 0);
    put.argv[2] += "large";
    put.input = std::string(2 << 20, 'x');
    REQUIRE(run(put).exit_code == 0);
    REQUIRE(spillway_at(dir, {"pool", "stop"}).exit_code == 0);
    REQUIRE(wait_for_descendants());
    for (const std::string& name : theirs) REQUIRE(dir.read("spill/" + name) == "precious " + name);
  }
  REQUIRE(spillway_at(dir, {"get", "n0large"}).out.size() == 2 << 20);
  REQUIRE(spillway_at(dir, {"get", "n2"}).out == "bytes");
  REQUIRE(spillway_at(dir, {"pool", "stop"}).exit_code == 0);
  REQUIRE(wait_for_descendants());
}

TEST_CASE("what is in the way in a spill directory is refused in words and stays as it is") {
  Private dir;
  for (const std::string name : {"manifest", "manifest.tmp", "spillway-pool"}) {
    fs::create_directories(dir / "spill");
    fs::permissions(dir / "spill", fs::perms(0700));
    dir.write("spill/" + name, "a list of my own\n");
    const Outcome got = daemon_at(dir / "s", dir / "spill");
    INFO(got.text());
    REQUIRE(got.exit_code == 1);
    REQUIRE(got.err.find("spill/" + name) != std::string::npos);
    REQUIRE(got.err.find("stays as it is") != std::string::npos);
    REQUIRE(dir.read("spill/" + name) == "a list of my own\n");
    fs::remove_all(dir / "spill");
  }
}

// main.cc - spillwayd: one daemon per socket. It has the socket as long as it holds the lock beside it, so
// that two that are started at once do not take each other's place.
#include <fmt/format.h>
#include <signal.h>
#include <stdio.h>

#include <cstring>

#include "base/os/clock.h"
#include "base/os/folder.h"
#include "base/os/service_manager.h"
#include "base/os/umask.h"
#include "libpool/wire/socket_path.h"
#include "pooldaemon/kept_settings.h"
#include "pooldaemon/metrics.h"
#include "pooldaemon/options.h"
#include "pooldaemon/server.h"
#include "pooldaemon/socket_file.h"
#include "pooldaemon/store/hosted_stores.h"
#include "spillway/version.h"

namespace spillway::pool {
namespace {

constexpr uint64_t kPatienceMs = 5000;
constexpr uint64_t kKilledPatienceMs = 2000;

enum Exit { kInOrder = 0, kCannotStart = 1, kUsage = 2, kTaken = 3, kLost = 4 };

int refuse(Exit status, const std::string& why) {
  fmt::print(stderr, "spillwayd: {}\n", why);
  return status;
}

// The socket, and the lock that says it is ours. A socket that the service manager opened needs none.
struct Listening {
  os::Fd lock, socket;
  std::string path;
  SocketFile file;  // nothing: not ours to remove
  std::vector<Store::HandedOver> handed_over;
};

// A socket to listen on, and what a daemon before us left there.
void take_passed_descriptors(Listening& listening) {
  os::each_passed_descriptor(
      [](void* context, const char* name, os::Fd fd) {
        auto& l = *static_cast<Listening*>(context);
        if (!os::is_listening_socket(fd.get()))
          l.handed_over.push_back({name, std::move(fd)});
        else if (!l.socket.valid())
          l.socket = std::move(fd);
      },
      &listening);
}

int listen(const Options& options, Listening& listening) {
  take_passed_descriptors(listening);
  if (listening.socket.valid()) {
    os::do_not_wait(listening.socket.get());
    return kInOrder;
  }
  const std::string path = options.socket.empty() ? wire::default_socket_path() : options.socket;
  const std::string folder = wire::folder_of(path);
  // A folder that is there may be shared, if only we may write to it; the socket's own mode keeps others out.
  if (Errno e = os::make_private_directory(folder.c_str()); !e.ok())
    return refuse(
        kCannotStart,
        fmt::format("{}: {}", folder,
                    e == EPERM ? "other users own it or may write to it; the socket would not be safe there"
                               : strerror(e.code())));
  const auto foreign = [&] {
    return refuse(kCannotStart, fmt::format("{}: it is there and no socket; it stays as it is", path));
  };
  if (const os::Kind kind = os::kind_of(path.c_str());
      kind != os::Kind::kNothing && kind != os::Kind::kSocket)
    return foreign();
  Result<os::Fd> lock = os::open_file((path + ".lock").c_str(), os::Open::kOwn);
  if (!lock)
    return refuse(kCannotStart, fmt::format("{}.lock: {}", path,
                                            lock.error() == ELOOP || lock.error() == EPERM
                                                ? "it is there and no file of this user's; it stays as it is"
                                                : strerror(lock.error().code())));
  // One that is just ending has the lock still, but does not listen any more: its clients want us.
  for (const uint64_t patience_ms = os::monotonic_ms() + kPatienceMs;;) {
    Result<bool> locked = os::try_lock_file(lock->get());
    if (locked && *locked) break;
    if (!locked || os::monotonic_ms() > patience_ms || os::is_listened_at(path.c_str()))
      return refuse(kTaken, fmt::format("{}: another daemon listens there", path));
    os::sleep_us(5000);
  }
  // Whose the name was: a daemon's that was killed, if nobody answers. The kernel may close its lock before
  // its socket.
  for (const uint64_t patience_ms = os::monotonic_ms() + kKilledPatienceMs;;) {
    const os::Kind kind = os::kind_of(path.c_str());
    if (kind == os::Kind::kNothing) break;
    if (kind != os::Kind::kSocket) return foreign();
    if (!os::is_listened_at(path.c_str())) {
      (void)os::remove_file(path.c_str()).ok();
      break;
    }
    if (os::monotonic_ms() > patience_ms)
      return refuse(kTaken, fmt::format("{}: another program listens there", path));
    os::sleep_us(5000);
  }
  Result<os::Fd> socket = os::listen_at(path.c_str(), options.config.system_wide);
  if (!socket)
    return refuse(kCannotStart,
                  fmt::format("{}: {}", path,
                              socket.error() == ENAMETOOLONG ? "a socket's path has at most 107 bytes"
                                                             : strerror(socket.error().code())));
  listening.lock = std::move(*lock);
  listening.socket = std::move(*socket);
  listening.path = path;
  listening.file = SocketFile(path);
  return kInOrder;
}

int run(int argc, char** argv) {
  Options options;
  if (std::string why = read_options(argc, argv, options); !why.empty()) return refuse(kUsage, why);
  if (options.help) return fmt::print("{}", help_text()), kInOrder;
  if (options.version) return fmt::print("spillwayd {}\n", SPILLWAY_VERSION_STRING), kInOrder;
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a file that may not grow (ulimit -f) is a write that fails
  os::keep_files_private();
  os::raise_descriptor_limit();
  Listening listening;
  if (int status = listen(options, listening); status != kInOrder) return status;
  // The server's own handlers answer these, in this thread, while it runs. After that its end is under way,
  // and another one must not make a lesser end of it.
  sigset_t ends;
  sigemptyset(&ends);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&ends, signal);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  Server server(options.config, std::move(listening.socket), listening.file);
  if (std::string why = server.open(); !why.empty()) {
    listening.file.remove();
    return refuse(kCannotStart, why);
  }
  HostedStores stores;
  if (std::string why = stores.open(options.config.stores); !why.empty()) {
    listening.file.remove();
    return refuse(kCannotStart, why);
  }
  server.take_over(std::move(listening.handed_over));
  Metrics metrics;
  if (options.config.metrics_port != 0)
    if (std::string why = metrics.serve(server, options.config.metrics_port); !why.empty()) {
      listening.file.remove();
      return refuse(kCannotStart, why);
    }
  const std::string kept = listening.path.empty() ? "" : settings_path(listening.path);
  if (!kept.empty())
    if (Errno e = keep_settings(kept, options.given); !e.ok())
      log_line(fmt::format(
          "settings_not_kept path={} reason={}", quoted(kept),
          quoted(e == EPERM ? "it is there and not what spillwayd writes there" : strerror(e.code()))));
  log_line(fmt::format("ready version={} socket={} memory_limit={} spill_dir={} policy={}",
                       SPILLWAY_VERSION_STRING, listening.path.empty() ? "(service manager)" : listening.path,
                       options.config.memory_limit, options.config.directories.front().path,
                       policy_name(options.config.policy)));
  os::notify_service_manager("READY=1");
  pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);
  server.run();
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  metrics.end();
  if (!kept.empty() && !server.ended_idle()) forget_settings(kept);
  log_line("ended");
  return server.lost() > 0 ? kLost : kInOrder;
}

}  // namespace
}  // namespace spillway::pool

int main(int argc, char** argv) { return spillway::pool::run(argc, argv); }

#include "pooldaemon/server.h"

#include <signal.h>

#include <cstring>

#include "base/os/clock.h"
#include "base/os/limits.h"
#include "base/os/service_manager.h"
#include "base/os/thread.h"

namespace spillway::pool {
namespace {

constexpr size_t kMostNewConnections = 4096;
constexpr unsigned kMostHandedOver = 4096;  // FileDescriptorStoreMax of the unit
constexpr int kManagerPatienceMs = 5000;
constexpr uint64_t kHurryAfterMs = 100;

}  // namespace

Server::Server(Config config, os::Fd listener, SocketFile socket)
    : io_(1),
      listener_(io_, listener.release()),
      timer_(io_),
      idle_(io_),
      signals_(io_, SIGTERM, SIGINT, SIGHUP),
      socket_(std::move(socket)),
      store_(std::move(config),
             [this](std::function<void()> call) { boost::asio::post(io_, std::move(call)); }),
      cells_(store_) {}

Server::~Server() {
  for (auto& [id, session] : sessions_)
    if (Client* const client = store_.client_by(id)) client->tell = [](wire::Verb, std::string) {};
  store_.join();
  // What workers handed back still knows the store.
  io_.restart();
  io_.poll();
}

void Server::run() {
  os::wake_soon();  // the workers compute, and those who ask wait for this thread
  idle_since_ms_ = os::monotonic_ms();
  accept();
  if (const std::string path = socket_.path() + ".budget"; !socket_.path().empty())
    if (Errno e = budget_.serve(path.c_str()); !e.ok())
      log_line("no_shared_budget reason=" +
               quoted(fmt::format("{}: {}", path,
                                  e == ELOOP || e == EPERM ? "it is there and no file of this pool's"
                                                           : strerror(e.code()))));
  look_at_budget();
  look_idle();
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    stop(signal == SIGTERM ? "SIGTERM" : signal == SIGINT ? "SIGINT" : "SIGHUP", Unwritten::kIsLost);
    // A second one: at once, without writing.
    signals_.async_wait([this](const boost::system::error_code& again, int) {
      if (again) return;
      note_lost();
      io_.stop();
    });
  });
  while (!io_.stopped()) {
    hurry_while_others_work();
    // Often the next request of somebody who has just had an answer.
    if (hurrying_ || !short_wait_.until([this] { return io_.poll_one() > 0; })) io_.run_one();
    arm_timer();
  }
}

// Linux may let workers, and the program that fills the pool, compute up to the next tick before this thread
// has its turn. So where that is permitted, it does not wait for one while there is such work, and for a
// moment after. Not always: a thread of that class wakes on the processor where it slept last, which takes
// longer on an idle machine. And then it does not look for the next request before it sleeps, since nobody
// else could run meanwhile.
void Server::hurry_while_others_work() {
  const bool at_work = store_.at_work();
  if (!hurrying_ && !at_work) return;
  const uint64_t now = os::monotonic_ms();
  if (at_work) {
    worked_at_ms_ = now;
    if (!hurrying_ && may_hurry_) may_hurry_ = hurrying_ = os::run_at_once();
  } else if (now - worked_at_ms_ > kHurryAfterMs) {
    hurrying_ = false;
    os::wake_soon();
  }
}

// What is in memory is there for a daemon that the service manager starts next.
void Server::hand_over() {
  const size_t kept = store_.hand_over(
      [](const std::string& name, int fd) { return os::keep_at_service_manager(name.c_str(), fd); },
      os::kept_at_service_manager(kMostHandedOver));
  if (kept == 0) return;
  const bool read = os::wait_for_service_manager(kManagerPatienceMs);
  log_line(fmt::format("handed_over objects={} read={}", kept, read ? "yes" : "not_in_time"));
}

void Server::take_over(std::vector<Store::HandedOver> all) {
  if (all.empty()) return;
  const size_t offered = all.size();
  std::vector<std::string> names;
  for (const auto& handed : all) names.push_back(handed.name);
  const size_t taken = store_.take_over(std::move(all));
  // From here on the memory is ours to free.
  for (const std::string& name : names) os::let_go_at_service_manager(name.c_str());
  log_line(fmt::format("taken_over objects={} offered={}", taken, offered));
}

void Server::accept() {
  listener_.async_wait(listener_.wait_read, [this](const boost::system::error_code& error) {
    if (error || phase_ == Phase::kEnding) return;
    for (int i = 0; i < 64; ++i) {
      Result<os::Fd> fd = os::accept_one(listener_.native_handle());
      if (!fd) {
        // Out of descriptors: the kernel would wake us again at once, for ever.
        if (fd.error() == EMFILE || fd.error() == ENFILE || fd.error() == ENOMEM) os::sleep_us(1000);
        break;
      }
      Result<os::Peer> peer = os::peer_of(fd->get());
      const bool ours = peer && (peer->uid == os::user_id() || peer->uid == 0 || store_.config().system_wide);
      if (!ours || new_.size() > kMostNewConnections) continue;
      boost::asio::local::stream_protocol::socket socket(io_, boost::asio::local::stream_protocol(),
                                                         fd->release());
      auto connection = std::make_shared<Connection>(*this, std::move(socket), *peer);
      new_.insert(connection);
      connection->start();
    }
    accept();
  });
}

void Server::arm_timer() {
  const uint64_t next = store_.timers().next_ms();
  if (next == armed_ms_) return;
  armed_ms_ = next;
  if (next == UINT64_MAX) {
    timer_.cancel();
    return;
  }
  const uint64_t now = os::monotonic_ms();
  timer_.expires_after(std::chrono::milliseconds(std::min<uint64_t>(next > now ? next - now : 0, 3'600'000)));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    armed_ms_ = UINT64_MAX;
    store_.timers().run(os::monotonic_ms());
  });
}

void Server::look_idle() {
  idle_.expires_after(std::chrono::seconds(1));
  idle_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    look_at_budget();
    const uint64_t limit_s = store_.config().idle_exit_s;
    if (!sessions_.empty()) idle_since_ms_ = os::monotonic_ms();
    if (limit_s > 0 && os::monotonic_ms() - idle_since_ms_ > limit_s * 1000)
      stop("idle", Unwritten::kKeepsIt);
    look_idle();
  });
}

// What programs that spill may have together, less what the pool's objects take. Of the machine: the daemon
// may be in a control group that is none of theirs, and they know their own.
void Server::look_at_budget() {
  const uint64_t wanted = store_.config().programs_limit;
  const uint64_t all = wanted != 0 ? wanted : os::machine_memory_bytes() / 10 * 8;
  budget_.set_total(all - std::min(all, store_.used_bytes()));
  if (budget_.sweep() > 0) idle_since_ms_ = os::monotonic_ms();  // they need somebody who keeps it
}

void Server::hello(Connection& connection, uint64_t request) {
  Failure failure;
  Client& client = store_.open_client(
      connection.peer(), [](wire::Verb, std::string) {}, failure);
  const uint64_t id = client.id;
  Session& session = sessions_[id];
  client.tell = [this, id](wire::Verb verb, std::string payload) {
    const auto found = sessions_.find(id);
    if (found == sessions_.end()) return;
    if (const auto notify = found->second.notify.lock())
      notify->tell(verb, payload);
    else
      found->second.early.push_back({verb, std::move(payload)});
  };
  const auto self = connection.shared_from_this();
  new_.erase(self);
  session.connections.insert(self);
  connection.role = Connection::Role::kMain;
  connection.client = id;
  // A forked child may keep the socket open: the process itself is watched, too.
  if (Result<os::Fd> process = os::watch_process(connection.peer().pid)) {
    session.process = std::make_unique<boost::asio::posix::stream_descriptor>(io_, process->release());
    session.process->async_wait(session.process->wait_read,
                                [this, id](const boost::system::error_code& error) {
                                  if (!error) end_session(id);
                                });
  }
  wire::Writer w(wire::kHeaderBytes);
  if (failure.bad()) {
    w.bytes(failure.what);
    wire::finish_frame(w.data(), request, static_cast<uint16_t>(wire::Verb::kHello), failure.status, 0);
    connection.send(w.take());
    return end_session(id);
  }
  w.number(id).number(client.key).number(os::host_identity()).number(pool_id_);
  wire::finish_frame(w.data(), request, static_cast<uint16_t>(wire::Verb::kHello), SPILLWAY_OK, 1);
  connection.send(w.take(), client.lease_table.get());
}

bool Server::attach(Connection& connection, uint64_t client_id, uint64_t key, bool notify) {
  Client* const client = store_.client_by(client_id);
  const auto found = sessions_.find(client_id);
  if (client == nullptr || found == sessions_.end() || client->key != key ||
      client->peer.uid != connection.peer().uid)
    return false;
  const auto self = connection.shared_from_this();
  new_.erase(self);
  Session& session = found->second;
  session.connections.insert(self);
  connection.client = client_id;
  connection.role = notify ? Connection::Role::kNotify : Connection::Role::kCall;
  return true;
}

void Server::attached(Connection& connection) {
  const auto found = sessions_.find(connection.client);
  if (connection.role != Connection::Role::kNotify || found == sessions_.end()) return;
  found->second.notify = connection.weak_from_this();
  for (auto& [verb, payload] : std::exchange(found->second.early, {})) connection.tell(verb, payload);
}

void Server::closed(Connection& connection) {
  const auto self = connection.shared_from_this();
  new_.erase(self);
  const auto found = sessions_.find(connection.client);
  if (found == sessions_.end()) return;
  found->second.connections.erase(self);
  if (connection.role == Connection::Role::kMain) end_session(connection.client);
}

void Server::end_session(uint64_t id) {
  auto session = sessions_.extract(id);
  if (session.empty()) return;
  for (const auto& connection : std::set(session.mapped().connections)) connection->close();
  // What it referred to is for a daemon to come, or for this one, should it go on.
  if (phase_ != Phase::kServing) return ended_meanwhile_.push_back(id);
  forget_client(id);
}

void Server::forget_client(uint64_t id) {
  Client* const client = store_.client_by(id);
  if (client == nullptr) return;
  cells_.close(*client);
  store_.close_client(*client);
  idle_since_ms_ = os::monotonic_ms();
}

}  // namespace spillway::pool

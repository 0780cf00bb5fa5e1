// session.cc - the session with the daemon, and what happens when that was gone.
#include <cstring>

#include "base/os/clock.h"
#include "base/os/folder.h"
#include "base/os/process.h"
#include "libpool/client/client.h"
#include "libpool/client/unavailable.h"
#include "libpool/wire/socket_path.h"

namespace spillway::client {
namespace {

constexpr const char* kRefused =
    "closed the connection (is this user permitted, and has it the same version?)";

constexpr const char* kEnding =
    "closed the new connection (it is ending, or does not permit this user any more)";

// The last line of what was added to the log since it had so many bytes. Empty: none.
std::string last_line(const std::string& path, uint64_t from) {
  Result<os::Fd> log = os::open_file(path.c_str(), os::Open::kRead);
  if (!log) return "";
  const uint64_t end = os::length_of(log->get());
  if (end <= from) return "";
  std::string text(std::min<uint64_t>(end - from, 2048), '\0');
  if (!os::read_all(log->get(), text.data(), text.size(), end - text.size()).ok()) return "";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

uint64_t log_bytes(const std::string& path) {
  Result<os::Fd> log = os::open_file(path.c_str(), os::Open::kRead);
  return log ? os::length_of(log->get()) : 0;
}

}  // namespace

Deadline::Deadline(std::optional<uint64_t> timeout_ms) : waits_(timeout_ms.has_value()) {
  timeout_ms_ = timeout_ms.value_or(SPILLWAY_FOREVER);
  const uint64_t now = os::monotonic_ms() + 1;  // rounded up, for a wait must not end too early
  if (timeout_ms_ < SPILLWAY_FOREVER - now) end_ms_ = now + timeout_ms_;
}

uint64_t Deadline::left_ms() const {
  const uint64_t now = os::monotonic_ms();
  return !has_end() ? SPILLWAY_FOREVER : end_ms_ > now ? end_ms_ - now : 0;
}

Client::Client(Options options) : options_(std::move(options)), state_(new State(options_)) {}

Client::~Client() {
  State* const state = state_.load();
  // A parent's state has threads that this process has not, and locks that nobody here holds.
  if (state->generation() == os::fork_generation()) delete state;
}

State& Client::state() {
  State* state = state_.load(std::memory_order_acquire);
  if (__builtin_expect(state->generation() != os::fork_generation(), 0)) {
    State* const fresh = new State(options_);
    if (state_.compare_exchange_strong(state, fresh)) return *fresh;  // the parent's stays where it is
    delete fresh;
  }
  return *state_.load(std::memory_order_acquire);
}

State::State(const Options& options) : options_(options), generation_(os::fork_generation()) {}

State::~State() {
  std::shared_ptr<Session> session;
  {
    std::lock_guard lock(session_mutex_);
    session = std::move(session_);
  }
  // Before the daemon knows that we go: it seals what is still an object's.
  forget_buffers();
  if (session) end_session(std::move(session));
  {
    std::lock_guard lock(callbacks_mutex_);
    ending_ = true;
  }
  callbacks_more_.notify_all();
  if (caller_.joinable()) caller_.join();
  std::lock_guard lock(leases_mutex_);
  for (auto& [slot, lease] : by_slot_) delete lease;
  for (Lease* lease : old_) delete lease;
}

Failure State::connect() {
  std::shared_ptr<Session> session;
  return ensure_session(session);
}

Failure State::connect_socket(os::Fd& socket, const Deadline& deadline) {
  Result<os::Fd> connected = os::connect_to(options_.socket.c_str());
  if (connected) {
    socket = std::move(*connected);
    return {};
  }
  const Errno first = connected.error();
  const bool nobody = first == ENOENT || first == ECONNREFUSED;
  // A daemon would refuse, too, but nobody would hear why.
  if (const os::Kind kind = os::kind_of(options_.socket.c_str());
      first == ECONNREFUSED && kind != os::Kind::kSocket && kind != os::Kind::kNothing)
    return {SPILLWAY_UNAVAILABLE,
            options_.socket + ": no daemon listens there, what is there is no socket, and it stays as it is"};
  if (!nobody || !options_.start)
    return {SPILLWAY_UNAVAILABLE, options_.socket + ": " +
                                      (nobody                  ? "no daemon listens there"
                                       : first == ENAMETOOLONG ? "a socket's path has at most 107 bytes"
                                                               : strerror(first.code()))};
  // One is started, or somebody else's start is waited for.
  const uint64_t end = os::monotonic_ms() + std::min(options_.start_timeout_ms, deadline.left_ms());
  uint64_t start_again = 0;
  const std::string log = options_.socket + ".log";
  const uint64_t log_before = log_bytes(log);
  while (true) {
    const uint64_t now = os::monotonic_ms();
    if (now >= start_again) {
      if (Failure f = start_daemon(options_); f.bad()) return f;
      start_again = now + 2000;
    }
    connected = os::connect_to(options_.socket.c_str());
    if (connected) {
      socket = std::move(*connected);
      return {};
    }
    if (now > end)
      return {SPILLWAY_UNAVAILABLE, "a daemon was started, but does not listen at " + options_.socket +
                                        "; its last words, in " + log + ": " + last_line(log, log_before)};
    os::sleep_us(2000);
  }
}

Failure State::start_session(std::shared_ptr<Session>& result, const Deadline& deadline) {
  auto session = std::make_shared<Session>();
  os::Fd socket;
  if (Failure f = connect_socket(socket, deadline); f.bad()) return f;
  // Anybody may have been first to make the usual path, in /tmp at least.
  if (Result<os::Peer> peer = os::peer_of(socket.get());
      peer && !options_.others && peer->uid != os::user_id() && peer->uid != 0)
    return {SPILLWAY_UNAVAILABLE,
            options_.socket + ": user " + std::to_string(peer->uid) +
                " listens there, not this user; to use another user's pool, name its socket "
                "($SPILLWAY_SOCKET)"};
  session->main = std::make_unique<wire::Channel>(std::move(socket));
  wire::Writer hello(wire::kHeaderBytes);
  wire::finish_frame(hello.data(), 1, static_cast<uint16_t>(wire::Verb::kHello), 0, 0);
  wire::Frame frame{};
  Errno error = session->main->send(hello.data());
  if (error.ok()) error = session->main->receive(frame, hello_ms(deadline));
  if (error == ETIMEDOUT) return no_answer(options_.socket, deadline);
  if (!error.ok()) return unavailable(options_.socket, has_connected_ ? kEnding : kRefused);
  wire::Reader r(frame.payload);
  if (frame.header.status != SPILLWAY_OK)
    return {static_cast<spillway_status>(frame.header.status), std::string(r.bytes(16 << 10))};
  session->id = r.number<uint64_t>();
  session->key = r.number<uint64_t>();
  host_ = r.number<uint64_t>();
  (void)r.number<uint64_t>();
  if (!r.ok() || frame.fds.size() != 1) return unavailable(options_.socket, "speaks another protocol");
  Result<os::Mapping> table = os::Mapping::read_write(frame.fds[0].get(), 0, wire::kSharedBytes);
  if (!table)
    return {SPILLWAY_NO_MEMORY,
            std::string("mapping the table of leases: ") + strerror(table.error().code())};
  session->table = std::make_shared<LeaseTable>();
  session->table->mapping = std::move(*table);

  // The connection for what the daemon says by itself, and the thread that hears it.
  std::unique_ptr<wire::Channel> notify;
  Result<os::Fd> wakeup = os::make_wakeup();
  if (!wakeup) return {SPILLWAY_NO_MEMORY, strerror(wakeup.error().code())};
  session->wakeup = std::move(*wakeup);
  Result<os::Fd> second = os::connect_to(options_.socket.c_str());
  if (!second) return unavailable(options_.socket, kWentAway);
  notify = std::make_unique<wire::Channel>(std::move(*second));
  wire::Writer attach(wire::kHeaderBytes);
  attach.number(session->id).number(session->key).number(uint8_t{1});
  wire::finish_frame(attach.data(), 1, static_cast<uint16_t>(wire::Verb::kAttach), 0, 0);
  error = notify->send(attach.data());
  if (error.ok()) error = notify->receive(frame, hello_ms(deadline));
  if (error == ETIMEDOUT) return no_answer(options_.socket, deadline);
  if (!error.ok() || frame.header.status != SPILLWAY_OK) return unavailable(options_.socket, kWentAway);
  learn_names(*session, frame);
  prepare_names(true);
  session->notify_fd = notify->fd();
  session->listener = std::thread(
      [this, session, channel = std::move(notify)]() mutable { listen(session, std::move(channel)); });
  result = std::move(session);
  return {};
}

// One of them starts a new session; what the program refers to is claimed before the old one ends.
Failure State::ensure_session(std::shared_ptr<Session>& session, const Deadline& deadline) {
  if ((session = living_session())) return {};
  std::unique_lock connecting(connecting_mutex_, std::defer_lock);
  if (!deadline.has_end())
    connecting.lock();
  else if (!connecting.try_lock_for(std::chrono::milliseconds(hello_ms(deadline))))
    return no_answer(options_.socket, deadline);
  if ((session = living_session())) return {};
  std::shared_ptr<Session> fresh;
  Failure failure = start_session(fresh, deadline);
  // A daemon may end between accepting us and answering (idle, stopped, one of several that started at once).
  const uint64_t end = os::monotonic_ms() + std::min(options_.start_timeout_ms, deadline.left_ms());
  for (int tries = 0; options_.start; ++tries) {
    if (!failure.what.ends_with(kWentAway) && !failure.what.ends_with(kRefused) &&
        !failure.what.ends_with(kEnding))
      break;
    if (tries >= 3) {
      if (!has_connected_ || os::monotonic_ms() >= end) break;
      os::sleep_us(20'000);
    }
    failure = start_session(fresh, deadline);
  }
  if (failure.bad()) return failure;
  has_connected_ = true;
  std::shared_ptr<Session> old = fresh;
  {
    std::lock_guard lock(session_mutex_);  // so that nothing is let go of meanwhile
    forget_leases();
    claim_again(*fresh);
    std::swap(session_, old);
  }
  session = fresh;
  if (old) end_session(std::move(old));
  return {};
}

void State::end_session(std::shared_ptr<Session> session) {
  session->dead = true;
  os::wake(session->wakeup.get());
  if (session->listener.joinable()) {
    // A callback may be what ends it.
    if (session->listener.get_id() == std::this_thread::get_id())
      session->listener.detach();
    else
      session->listener.join();
  }
  std::lock_guard lock(session_mutex_);
  session->main.reset();
  session->idle.clear();
  session->late.clear();
}

void State::claim_again(Session& session) {
  std::vector<std::pair<uint64_t, uint64_t>> refs;
  std::vector<std::pair<uint32_t, std::string>> watches;
  {
    std::lock_guard lock(refs_mutex_);
    pending_.clear();
    has_pending_ = false;
    for (const auto& [id, counted] : refs_) refs.push_back({id, counted.key});
  }
  {
    std::lock_guard lock(callbacks_mutex_);
    for (const auto& [id, watch] : watches_) watches.push_back({id, watch.first});
  }
  wire::Frame frame{};
  for (const auto& [id, key] : refs) {
    wire::Writer w(wire::kHeaderBytes);
    w.number(id).number(key).bytes("");
    wire::finish_frame(w.data(), id, static_cast<uint16_t>(wire::Verb::kRef), 0, 0);
    if (!session.main->send(w.data()).ok() || !session.main->receive(frame, 30'000).ok()) {
      session.dead = true;
      return;
    }
    if (frame.header.status != SPILLWAY_OK) {
      std::lock_guard lock(refs_mutex_);
      refs_.erase(id);
      lost_.insert(id);
    }
  }
  for (const auto& [id, prefix] : watches) {
    wire::Writer w(wire::kHeaderBytes);
    w.number(id).bytes(prefix);
    wire::finish_frame(w.data(), 1, static_cast<uint16_t>(wire::Verb::kWatch), 0, 0);
    if (!session.main->send(w.data()).ok() || !session.main->receive(frame, 30'000).ok()) return;
    // What happened meanwhile nobody saw.
    std::lock_guard lock(callbacks_mutex_);
    if (auto found = watches_.find(id); found != watches_.end())
      callbacks_.push_back([call = found->second.second] { call(SPILLWAY_RESYNC, "", 0); });
  }
  callbacks_more_.notify_all();
}

}  // namespace spillway::client

// session.cc - connections, calls, and what happens when the daemon was gone.
#include <cstring>

#include "base/os/clock.h"
#include "base/os/folder.h"
#include "base/os/process.h"
#include "libpool/client/client.h"
#include "libpool/wire/socket_path.h"

namespace spillway::client {
namespace {

constexpr const char* kWentAway = "went away";
constexpr const char* kRefused =
    "closed the connection (is this user permitted, and has it the same version?)";

constexpr size_t kMostIdleChannels = 8;

Failure unavailable(const std::string& socket, const char* what) {
  return {SPILLWAY_UNAVAILABLE, "the daemon at " + socket + " " + what};
}

wire::Frame no_frame() { return {}; }

}  // namespace

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

Failure State::connect_socket(os::Fd& socket) {
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
  const uint64_t deadline = os::monotonic_ms() + options_.start_timeout_ms;
  uint64_t start_again = 0;
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
    if (now > deadline)
      return {SPILLWAY_UNAVAILABLE, "a daemon was started, but does not listen at " + options_.socket +
                                        "; its last words are in " + options_.socket + ".log"};
    os::sleep_us(2000);
  }
}

Failure State::start_session(std::shared_ptr<Session>& result) {
  auto session = std::make_shared<Session>();
  os::Fd socket;
  if (Failure f = connect_socket(socket); f.bad()) return f;
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
  wire::Frame frame = no_frame();
  Errno error = session->main->send(hello.data());
  if (error.ok()) error = session->main->receive(frame, 30'000);
  if (error == ETIMEDOUT) return unavailable(options_.socket, "does not answer");
  if (!error.ok()) return unavailable(options_.socket, kRefused);
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
  if (!notify->send(attach.data()).ok() || !notify->receive(frame, 30'000).ok() ||
      frame.header.status != SPILLWAY_OK)
    return unavailable(options_.socket, kWentAway);
  learn_names(*session, frame);
  prepare_names(true);
  session->notify_fd = notify->fd();
  session->listener = std::thread(
      [this, session, channel = std::move(notify)]() mutable { listen(session, std::move(channel)); });
  result = std::move(session);
  return {};
}

// One of them starts a new session; what the program refers to is claimed before the old one ends.
Failure State::ensure_session(std::shared_ptr<Session>& session) {
  std::lock_guard lock(session_mutex_);
  if (session_ && !session_->dead.load(std::memory_order_acquire)) {
    session = session_;
    return {};
  }
  std::shared_ptr<Session> fresh;
  Failure failure = start_session(fresh);
  // A daemon may end between accepting us and answering (idle, stopped, one of several that started at once).
  for (int tries = 0; options_.start && tries < 3; ++tries) {
    if (!failure.what.ends_with(kWentAway) && !failure.what.ends_with(kRefused)) break;
    failure = start_session(fresh);
  }
  if (failure.bad()) return failure;
  forget_leases();
  claim_again(*fresh);
  std::shared_ptr<Session> old = std::exchange(session_, fresh);
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
  session->main.reset();
  session->idle.clear();
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
  wire::Frame frame = no_frame();
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

Failure State::take_channel(Session& session, std::unique_ptr<wire::Channel>& channel) {
  {
    std::lock_guard lock(session_mutex_);
    if (session.main && session.main->open()) {
      channel = std::move(session.main);
      return {};
    }
    if (!session.idle.empty()) {
      channel = std::move(session.idle.back());
      session.idle.pop_back();
      return {};
    }
  }
  Result<os::Fd> socket = os::connect_to(options_.socket.c_str());
  if (!socket) return unavailable(options_.socket, kWentAway);
  channel = std::make_unique<wire::Channel>(std::move(*socket));
  wire::Writer attach(wire::kHeaderBytes);
  attach.number(session.id).number(session.key).number(uint8_t{0});
  wire::finish_frame(attach.data(), 1, static_cast<uint16_t>(wire::Verb::kAttach), 0, 0);
  wire::Frame frame = no_frame();
  if (!channel->send(attach.data()).ok() || !channel->receive(frame, 30'000).ok() ||
      frame.header.status != SPILLWAY_OK)
    return unavailable(options_.socket, kWentAway);
  channel->is_main = false;
  return {};
}

void State::give_channel(const std::shared_ptr<Session>& session, std::unique_ptr<wire::Channel> channel) {
  std::lock_guard lock(session_mutex_);
  if (session->dead) return;
  if (channel->is_main)
    session->main = std::move(channel);
  else if (session->idle.size() < kMostIdleChannels)
    session->idle.push_back(std::move(channel));
}

Failure State::call(wire::Verb verb, wire::Writer& request, Answer& answer, bool again, const os::Fd* fd) {
  for (int tries = 0;; ++tries) {
    std::shared_ptr<Session> session;
    if (Failure f = ensure_session(session); f.bad()) return f;
    std::unique_ptr<wire::Channel> channel;
    if (Failure f = take_channel(*session, channel); f.bad()) {
      session->dead = true;
      if (tries < 3) continue;
      return f;
    }
    std::string& frame = request.data();
    wire::finish_frame(frame, 1, static_cast<uint16_t>(verb), 0, fd ? 1 : 0);
    Errno error;
    if (has_pending_.load(std::memory_order_relaxed)) {
      std::lock_guard lock(refs_mutex_);
      if (!pending_.empty()) error = channel->send(pending_);
      pending_.clear();
      has_pending_ = false;
    }
    const int raw = fd ? fd->get() : -1;
    if (error.ok()) error = channel->send(frame, fd ? &raw : nullptr, fd ? 1 : 0);
    wire::Frame reply = no_frame();
    if (error.ok()) error = channel->receive(reply);
    if (!error.ok()) {
      session->dead = true;
      if (again && tries < 3) continue;
      return unavailable(options_.socket, "ended during this call; what it did is not known");
    }
    give_channel(session, std::move(channel));
    answer.fds = std::move(reply.fds);
    answer.payload = std::move(reply.payload);
    if (reply.header.status == SPILLWAY_OK) return {};
    wire::Reader r(answer.payload);
    return {static_cast<spillway_status>(reply.header.status), std::string(r.bytes(16 << 10))};
  }
}

Failure State::call_many(wire::Verb verb, std::vector<wire::Writer>& requests,
                         const std::function<void(size_t, Failure, Answer&)>& each) {
  std::shared_ptr<Session> session;
  if (Failure f = ensure_session(session); f.bad()) return f;
  std::unique_ptr<wire::Channel> channel;
  if (Failure f = take_channel(*session, channel); f.bad()) {
    session->dead = true;
    return f;
  }
  std::string frames;
  for (size_t i = 0; i < requests.size(); ++i) {
    wire::finish_frame(requests[i].data(), i, static_cast<uint16_t>(verb), 0, 0);
    frames += requests[i].data();
  }
  Errno error = channel->send(frames);
  // Answers come as the daemon has them, not in order.
  for (size_t i = 0; i < requests.size() && error.ok(); ++i) {
    wire::Frame reply = no_frame();
    error = channel->receive(reply);
    if (!error.ok()) break;
    Answer answer{std::move(reply.payload), std::move(reply.fds)};
    Failure failure;
    if (reply.header.status != SPILLWAY_OK) {
      wire::Reader r(answer.payload);
      failure = {static_cast<spillway_status>(reply.header.status), std::string(r.bytes(16 << 10))};
    }
    if (reply.header.request < requests.size()) each(reply.header.request, failure, answer);
  }
  if (!error.ok()) {
    session->dead = true;
    return unavailable(options_.socket, "ended during this call; what it did is not known");
  }
  give_channel(session, std::move(channel));
  return {};
}

}  // namespace spillway::client

// calls.cc - requests and their answers, and how long a program waits for them.
//
// A request that has a deadline takes it to the daemon, which keeps it. The client gives up by itself only
// where the daemon does not: when the time is over it asks whether the daemon lives at all. One that does may
// be reading the object from disk and is waited for; one that is stopped or hangs is not. The answer may come
// nevertheless: its connection is left to the thread that listens, and is used again when the answer is there
// and was undone.
#include <cstring>

#include "base/os/clock.h"
#include "libpool/client/unavailable.h"

namespace spillway::client {
namespace {

constexpr size_t kMostIdleChannels = 8;
constexpr uint64_t kAskAgainMs = 1000;

std::atomic<uint64_t> last_request{0};

Failure failure_in(const wire::Frame& reply, std::string_view payload) {
  if (reply.header.status == SPILLWAY_OK) return {};
  wire::Reader r(payload);
  return {static_cast<spillway_status>(reply.header.status), std::string(r.bytes(16 << 10))};
}

// An abort of nothing: whoever lives says yes.
Errno ask_whether_alive(wire::Channel& channel, uint64_t request) {
  wire::Writer w(wire::kHeaderBytes);
  w.number(uint64_t{0});
  wire::finish_frame(w.data(), request, static_cast<uint16_t>(wire::Verb::kAbort), 0, 0);
  return channel.send(w.data());
}

}  // namespace

Failure State::take_channel(Session& session, std::unique_ptr<wire::Channel>& channel,
                            const Deadline& deadline) {
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
  wire::Frame frame{};
  Errno error = channel->send(attach.data());
  if (error.ok()) error = channel->receive(frame, hello_ms(deadline));
  if (error == ETIMEDOUT) return no_answer(options_.socket, deadline);
  if (!error.ok() || frame.header.status != SPILLWAY_OK) return unavailable(options_.socket, kWentAway);
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

// The answer to this request; answers to others on this connection are of questions whether the daemon lives.
// ETIMEDOUT: the deadline is over, and it does not.
Errno State::await(wire::Channel& channel, uint64_t id, const Deadline& deadline, wire::Frame& reply) {
  uint64_t asked = 0, next_look_ms = deadline.has_end() ? deadline.end_ms() + kGraceMs / 4 : 0;
  while (true) {
    int wait = -1;
    if (deadline.has_end()) {
      const uint64_t now = os::monotonic_ms();
      wait = static_cast<int>(std::min<uint64_t>(next_look_ms > now ? next_look_ms - now : 0, 1 << 30));
    }
    const Errno e = channel.receive(reply, wait);
    if (e.ok()) {
      if (reply.header.request == id) return {};
      if (reply.header.request == asked) {
        asked = 0;
        next_look_ms = os::monotonic_ms() + kAskAgainMs;
      }
      continue;
    }
    if (!(e == ETIMEDOUT)) return e;
    if (os::monotonic_ms() < next_look_ms) continue;
    if (asked != 0) return e;
    asked = ++last_request;
    if (Errno s = ask_whether_alive(channel, asked); !s.ok()) return s;
    next_look_ms = os::monotonic_ms() + kGraceMs;
  }
}

void State::abort_late(wire::Channel& channel, uint64_t id) {
  wire::Writer w(wire::kHeaderBytes);
  w.number(id);
  wire::finish_frame(w.data(), ++last_request, static_cast<uint16_t>(wire::Verb::kAbort), 0, 0);
  (void)channel.send(w.data()).ok();  // if it ends, so does what is to be aborted
}

// Once. `again`: the daemon was gone, and what was asked for may be asked of the next.
Failure State::try_call(wire::Verb verb, wire::Writer& request, Answer& answer, const CallOptions& options,
                        const Deadline& deadline, bool& again) {
  std::shared_ptr<Session> session;
  if (Failure f = ensure_session(session, deadline); f.bad()) {
    again = deadline.waits_for_daemon();
    // Where no daemon is, there are none.
    if (options.ends_with_daemon && f.status == SPILLWAY_UNAVAILABLE && !f.what.ends_with(kNoAnswer))
      return {SPILLWAY_OWNER_DIED, "events and futures end with their daemon: " + f.what};
    return f;
  }
  again = true;
  std::unique_ptr<wire::Channel> channel;
  if (Failure f = take_channel(*session, channel, deadline); f.bad()) {
    if (f.what.ends_with(kWentAway)) session->dead = true;
    return f;
  }
  std::string& frame = request.data();
  const uint64_t id = ++last_request;
  wire::finish_frame(frame, id, static_cast<uint16_t>(verb), 0, options.fd ? 1 : 0);
  if (options.timeout_at != 0 && deadline.has_end()) {
    const uint64_t left = std::min(deadline.left_ms(), deadline.timeout_ms());
    memcpy(frame.data() + options.timeout_at, &left, sizeof left);
  }
  Errno error;
  if (has_pending_.load(std::memory_order_relaxed)) {
    std::lock_guard lock(refs_mutex_);
    if (!pending_.empty()) error = channel->send(pending_);
    pending_.clear();
    has_pending_ = false;
  }
  const int raw = options.fd ? options.fd->get() : -1;
  if (error.ok()) error = channel->send(frame, options.fd ? &raw : nullptr, options.fd ? 1 : 0);
  const bool sent = error.ok();
  wire::Frame reply{};
  if (sent) error = await(*channel, id, deadline, reply);
  if (error == ETIMEDOUT) {
    std::lock_guard lock(session_mutex_);
    session->late.push_back({std::move(channel), id, options.late});
    session->has_late = true;
    os::wake(session->wakeup.get());
    return no_answer(options_.socket, deadline);
  }
  if (!error.ok()) {
    session->dead = true;
    again = options.again;
    if (sent && options.ends_with_daemon) {
      again = false;
      return {SPILLWAY_OWNER_DIED, "the daemon at " + options_.socket +
                                       " ended during this call, and its events and futures with it"};
    }
    return unavailable(options_.socket, "ended during this call; what it did is not known");
  }
  give_channel(session, std::move(channel));
  answer.session = session;
  answer.fds = std::move(reply.fds);
  answer.payload = std::move(reply.payload);
  again = false;
  return failure_in(reply, answer.payload);
}

Failure State::call(wire::Verb verb, wire::Writer& request, Answer& answer, const CallOptions& options) {
  const Deadline deadline(options.timeout_ms);
  for (int tries = 0;; ++tries) {
    bool again = false;
    Failure f = try_call(verb, request, answer, options, deadline, again);
    if (f.status != SPILLWAY_UNAVAILABLE) return f;
    if (!again) return f;
    if (deadline.waits_for_daemon()) {
      if (deadline.is_over()) {
        if (deadline.timeout_ms() > 0)
          f.what += fmt::format("; none has taken its place within {} ms", deadline.timeout_ms());
        return f;
      }
      os::sleep_us(20'000);
    } else if (tries >= 3) {
      return f;
    }
  }
}

// Those that have come are undone, and their connections free.
void State::take_late(const std::shared_ptr<Session>& session) {
  std::vector<LateAnswer> waiting;
  {
    std::lock_guard lock(session_mutex_);
    waiting.swap(session->late);
    session->has_late = false;
  }
  for (LateAnswer& late : waiting) {
    wire::Frame reply{};
    Errno e;
    do e = late.channel->receive(reply, 0);
    while (e.ok() && reply.header.request != late.request);
    if (e.ok()) {
      Answer answer{std::move(reply.payload), std::move(reply.fds), session};
      if (late.take && reply.header.status == SPILLWAY_OK) late.take(*session, *late.channel, answer);
      give_channel(session, std::move(late.channel));
    } else if (e == ETIMEDOUT) {
      std::lock_guard lock(session_mutex_);
      session->late.push_back(std::move(late));
      session->has_late = true;
    }
  }
}

Failure State::call_many(wire::Verb verb, std::vector<wire::Writer>& requests,
                         const std::function<void(size_t, Failure, Answer&)>& each) {
  std::shared_ptr<Session> session;
  if (Failure f = ensure_session(session); f.bad()) return f;
  std::unique_ptr<wire::Channel> channel;
  if (Failure f = take_channel(*session, channel, {}); f.bad()) {
    if (f.what.ends_with(kWentAway)) session->dead = true;
    return f;
  }
  const uint64_t first = last_request.fetch_add(requests.size()) + 1;
  std::string frames;
  for (size_t i = 0; i < requests.size(); ++i) {
    wire::finish_frame(requests[i].data(), first + i, static_cast<uint16_t>(verb), 0, 0);
    frames += requests[i].data();
  }
  Errno error = channel->send(frames);
  // Answers come as the daemon has them, not in order.
  for (size_t to_come = requests.size(); to_come > 0 && error.ok();) {
    wire::Frame reply{};
    error = channel->receive(reply);
    const uint64_t which = reply.header.request - first;
    if (!error.ok() || which >= requests.size()) continue;  // not of ours
    --to_come;
    Answer answer{std::move(reply.payload), std::move(reply.fds)};
    each(which, failure_in(reply, answer.payload), answer);
  }
  if (!error.ok()) {
    session->dead = true;
    return unavailable(options_.socket, "ended during this call; what it did is not known");
  }
  give_channel(session, std::move(channel));
  return {};
}

}  // namespace spillway::client

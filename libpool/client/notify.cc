// notify.cc - what the daemon says by itself, and the program's functions that are called for it.
#include "libpool/client/client.h"

namespace spillway::client {
namespace {

// Makes the daemon look at the ring.
void append_nudge(std::string& to) {
  wire::Writer w(wire::kHeaderBytes);
  wire::finish_frame(w.data(), 0, static_cast<uint16_t>(wire::Verb::kUnref), 0, 0);
  to += w.data();
}

}  // namespace

void State::listen(std::shared_ptr<Session> session, std::unique_ptr<wire::Channel> channel) {
  prepare_names(false);
  wire::Frame frame{};
  constexpr int kTickMs = 2, kLateTickMs = 20, kQuietTicks = 50;
  int quiet = 0;
  while (!session->dead) {
    if (!channel->has_frame_begun()) {
      // Releases of references are sent soon, several at once, also when the program makes no call. While
      // there are some again and again this thread looks by itself, and need not be woken for each.
      if (quiet >= kQuietTicks) ticking_ = false;
      const bool waits = !ticking_ && !has_pending_;
      const unsigned ready = os::wait_either(channel->fd(), session->wakeup.get(),
                                             urgent_ ? 0
                                             : waits ? (session->has_late ? kLateTickMs : -1)
                                                     : kTickMs);
      if (session->dead) return;
      if (session->has_late) take_late(session);
      if (ready & 2) os::clear_wakeup(session->wakeup.get());
      // What it was woken for may have gone with a call of the program's by now.
      if (has_pending_ || ready & 2) {
        quiet = 0;
        ticking_ = true;
      }
      if (has_pending_) {
        if (ready == 0 || urgent_) {
          std::lock_guard lock(refs_mutex_);
          urgent_ = false;
          if (pending_.empty()) append_nudge(pending_);
          if (!channel->send(pending_).ok()) session->dead = true;
          pending_.clear();
          has_pending_ = false;
        }
      } else {
        urgent_ = false;
        ++quiet;
      }
      if (!(ready & 1)) continue;
    }
    if (!channel->receive(frame).ok()) {
      session->dead = true;  // the next call finds out more
      return;
    }
    hear(*session, frame);
  }
}

void State::hear(Session& session, wire::Frame& frame) {
  wire::Reader r(frame.payload);
  switch (static_cast<wire::Verb>(frame.header.verb)) {
    case wire::Verb::kRevoke: {
      const uint32_t slot = r.number<uint32_t>();
      std::unique_ptr<Lease> lease;
      {
        std::lock_guard lock(leases_mutex_);
        const auto found = by_slot_.find(slot);
        if (found == by_slot_.end() || found->second->session != session.id) return;
        if (!(found->second->word().load() & wire::kRevoked)) return;  // another lease has the slot by now
        lease.reset(found->second);
        by_slot_.erase(found);
        if (auto id = by_id_.find(lease->ref.id); id != by_id_.end() && id->second == lease.get())
          by_id_.erase(id);
      }
      lease.reset();  // unmapped before we say so
      tell_released(session.id, slot);
      return;
    }
    case wire::Verb::kSlabGone: {
      const uint32_t id = r.number<uint32_t>();
      forget_buffer(id);
      std::shared_ptr<os::Mapping> last;  // declared first: it is unmapped, which takes long, after the lock
      std::lock_guard lock(leases_mutex_);
      if (const auto found = slabs_.find(id); found != slabs_.end()) {
        last = std::move(found->second);
        slabs_.erase(found);
      }
      return;
    }
    case wire::Verb::kChanged: {
      const uint32_t id = r.number<uint32_t>();
      const auto change = static_cast<spillway_change>(r.number<uint8_t>());
      const uint64_t version = r.number<uint64_t>();
      std::string name(r.bytes(wire::kMaxNameBytes));
      std::lock_guard lock(callbacks_mutex_);
      for (const auto& [watch, entry] : watches_)
        if (watch == id || id == 0)
          callbacks_.push_back([this, watch = watch, change, name, version] {
            Change call;
            {
              std::lock_guard inner(callbacks_mutex_);
              const auto found = watches_.find(watch);
              if (found == watches_.end()) return;
              call = found->second.second;
              in_callback_of_ = watch;
            }
            call(change, name, version);
            std::lock_guard inner(callbacks_mutex_);
            in_callback_of_ = 0;
            callbacks_more_.notify_all();
          });
      callbacks_more_.notify_all();
      return;
    }
    case wire::Verb::kDestroyed: {
      const uint64_t cookie = r.number<uint64_t>();
      std::lock_guard lock(callbacks_mutex_);
      const auto found = destroy_calls_.find(cookie);
      if (found == destroy_calls_.end()) return;
      callbacks_.push_back(std::move(found->second));
      destroy_calls_.erase(found);
      callbacks_more_.notify_all();
      return;
    }
    default:
      return;  // of a newer daemon
  }
}

// In a thread of their own: they may call the pool, which may need what listen() does.
void State::run_callbacks() {
  std::unique_lock lock(callbacks_mutex_);
  while (true) {
    callbacks_more_.wait(lock, [this] { return ending_ || !callbacks_.empty(); });
    if (callbacks_.empty()) return;
    std::vector<std::function<void()>> calls = std::move(callbacks_);
    callbacks_.clear();
    lock.unlock();
    for (auto& call : calls) call();
    lock.lock();
  }
}

uint64_t State::on_destroy(std::function<void()> call) {
  std::lock_guard lock(callbacks_mutex_);
  if (!caller_.joinable()) caller_ = std::thread([this] { run_callbacks(); });
  destroy_calls_[++last_cookie_] = std::move(call);
  return last_cookie_;
}

void State::cancel_destroy(uint64_t cookie) {
  std::lock_guard lock(callbacks_mutex_);
  destroy_calls_.erase(cookie);
}

Failure State::watch(const std::string& prefix, Change call, uint32_t& id) {
  {
    std::lock_guard lock(callbacks_mutex_);
    if (!caller_.joinable()) caller_ = std::thread([this] { run_callbacks(); });
    id = static_cast<uint32_t>(++last_cookie_);
    watches_[id] = {prefix, std::move(call)};
  }
  wire::Writer w(wire::kHeaderBytes);
  w.number(id).bytes(prefix);
  Answer answer;
  Failure failure = this->call(wire::Verb::kWatch, w, answer);
  if (failure.bad()) {
    std::lock_guard lock(callbacks_mutex_);
    watches_.erase(id);
  }
  return failure;
}

void State::unwatch(uint32_t id) {
  wire::Writer w(wire::kHeaderBytes);
  w.number(id);
  Answer answer;
  (void)call(wire::Verb::kUnwatch, w, answer);
  std::unique_lock lock(callbacks_mutex_);
  watches_.erase(id);
  if (caller_.get_id() == std::this_thread::get_id()) return;
  callbacks_more_.wait(lock, [&] { return in_callback_of_ != id; });
}

}  // namespace spillway::client

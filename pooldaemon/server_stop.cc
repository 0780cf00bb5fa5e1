// server_stop.cc - how the daemon ends: everything is written first, and what is acknowledged meanwhile, too.
//
// While it drains, requests that make something are not answered; their connections end with the daemon, and
// the clients take them to the next one. Sealing what was begun before goes on, and so do rings of those who
// have leased slots. Neither begins anything new, so after some rounds nothing is left, and in the same turn
// of the loop the last request was answered: what was acknowledged is on disk. When something cannot be
// written, it depends on who asked: the daemon goes on, and answers what was held, or it tries for a while
// and ends with a status that says so.
#include <algorithm>

#include "base/os/clock.h"
#include "base/os/service_manager.h"
#include "pooldaemon/server.h"

namespace spillway::pool {
namespace {

constexpr unsigned kTriesWithoutProgress = 3;
constexpr uint64_t kTryAgainMs = 300;

bool makes_something(wire::Verb verb) {
  switch (verb) {
    case wire::Verb::kPut:
    case wire::Verb::kCreate:
    case wire::Verb::kRestore:
    case wire::Verb::kLeaseSlots:
    case wire::Verb::kCellNew:
    case wire::Verb::kCellPut:
      return true;
    default:
      return false;
  }
}

}  // namespace

void Server::handle(Connection& connection, wire::Frame& frame) {
  if (phase_ == Phase::kEnding) return;
  if (phase_ == Phase::kDraining && makes_something(static_cast<wire::Verb>(frame.header.verb))) {
    connection.hold();
    held_.push_back({connection.shared_from_this(), std::move(frame)});
    return;
  }
  dispatch(*this, connection, frame);
}

void Server::stop(const char* why, Unwritten unwritten, Done done) {
  const bool is_idle = std::string_view(why) == "idle";
  if (!is_idle) idle_stop_ = false;  // somebody wants it now, whatever began it
  if (done) told_when_stopped_.push_back(std::move(done));
  if (unwritten == Unwritten::kIsLost) may_lose_ = true;
  if (phase_ == Phase::kEnding) return;
  // A daemon that certainly ends lets the next one know that it may wait for its place.
  if (may_lose_) stop_listening();
  if (phase_ == Phase::kDraining) return;
  phase_ = Phase::kDraining;
  idle_stop_ = is_idle;
  if (!idle_stop_ || !said_not_stopped_) log_line(fmt::format("stopping reason={}", quoted(why)));
  tries_ = 0;
  least_left_ = ~uint64_t{0};
  store_.keep_copies(true);
  write_out(false);
}

void Server::stop_listening() {
  os::notify_service_manager("STOPPING=1");
  boost::system::error_code ignored;
  if (listener_.is_open()) listener_.close(ignored);
  socket_.remove();
}

void Server::write_out(bool each_alone) {
  store_.drain([this](Failure failure) { written_out(std::move(failure)); }, each_alone);
}

void Server::written_out(Failure failure) {
  store_.hear_all();
  const Store::Unwritten left = store_.unwritten();
  if (left.objects == 0) {
    // A client that came meanwhile is a reason to stay for a daemon that nobody seemed to need.
    if (idle_stop_ && !may_lose_ && !sessions_.empty()) return go_on({});
    return end();
  }
  if (!failure.bad()) return write_out(false);  // it came after the look at what there is
  tries_ = left.objects < least_left_ ? 0 : tries_ + 1;
  least_left_ = std::min(least_left_, left.objects);
  failure.what = fmt::format("{} object{} ({}) cannot be written: {}", left.objects,
                             left.objects == 1 ? "" : "s", size_text(left.bytes), failure.what);
  if (!may_lose_) return go_on(std::move(failure));
  if (tries_ == 0) log_line("not_all_written reason=" + quoted(failure.what));
  if (tries_ < kTriesWithoutProgress) {
    store_.timers().add(os::monotonic_ms() + kTryAgainMs, [this] { write_out(true); });
    return;
  }
  note_lost();
  end();
}

void Server::note_lost() {
  const Store::Unwritten left = store_.unwritten();
  lost_ = left.objects;
  if (lost_ > 0) log_line(fmt::format("lost objects={} bytes={}", lost_, left.bytes));
}

// From here on nothing is answered any more.
void Server::end() {
  phase_ = Phase::kEnding;
  stop_listening();
  store_.give_no_room();
  for (Done& done : std::exchange(told_when_stopped_, {})) done({});
  hand_over();
  // The answers that are on their way go out first.
  boost::asio::post(io_, [this] { io_.stop(); });
}

// As if nobody had asked.
void Server::go_on(Failure failure) {
  phase_ = Phase::kServing;
  store_.keep_copies(false);
  const bool again = idle_stop_ && said_not_stopped_;
  if (failure.bad()) {
    if (!again) log_line("not_stopped reason=" + quoted(failure.what));
    said_not_stopped_ = said_not_stopped_ || idle_stop_;
    failure.what += "; the daemon goes on";
  }
  for (Done& done : std::exchange(told_when_stopped_, {})) done(failure);
  for (const uint64_t id : std::exchange(ended_meanwhile_, {})) forget_client(id);
  idle_since_ms_ = os::monotonic_ms();
  for (auto& [connection, frame] : std::exchange(held_, {})) {
    if (!connection->is_open()) continue;
    dispatch(*this, *connection, frame);
    connection->go_on();
  }
}

}  // namespace spillway::pool

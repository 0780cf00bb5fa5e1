// server.h - the daemon's loop: who connects, which session a connection belongs to, when it all ends.
// Threads: one, but for post(), which any may call.
#pragma once
#include <map>
#include <set>

#include "base/os/shared_budget.h"
#include "base/os/short_wait.h"
#include "pooldaemon/log.h"
#include "pooldaemon/session.h"
#include "pooldaemon/socket_file.h"
#include "pooldaemon/store/cells.h"

namespace spillway::pool {

class Server {
 public:
  Server(Config config, os::Fd listener, SocketFile socket);
  ~Server();
  std::string open() { return store_.open(); }
  // Memory that a daemon before this one left with the service manager.
  void take_over(std::vector<Store::HandedOver> all);
  void run();
  // What is only in memory is written, then run() returns. What cannot be written keeps the daemon, and
  // `done` has the reason, or is lost.
  enum class Unwritten { kKeepsIt, kIsLost };
  void stop(const char* why, Unwritten unwritten, Done done = nullptr);
  // After run(): objects that were only in memory.
  uint64_t lost() const { return lost_; }
  // And not because somebody wanted it to end.
  bool ended_idle() const { return idle_stop_ && !may_lose_; }

  void handle(Connection& connection, wire::Frame& frame);
  void closed(Connection& connection);
  Store& store() { return store_; }
  Cells& cells() { return cells_; }
  boost::asio::io_context& io() { return io_; }

  // A connection's first message.
  void hello(Connection& connection, uint64_t request);
  bool attach(Connection& connection, uint64_t client, uint64_t key, bool notify);
  void attached(Connection& connection);  // after it was told so

 private:
  enum class Phase { kServing, kDraining, kEnding };
  struct Session {
    std::set<std::shared_ptr<Connection>> connections;
    std::weak_ptr<Connection> notify;
    std::unique_ptr<boost::asio::posix::stream_descriptor> process;  // the client's
    std::vector<std::pair<wire::Verb, std::string>> early;           // before there was a connection for it
  };
  // server_stop.cc
  void stop_listening();
  void write_out(bool each_alone);
  void written_out(Failure failure);
  void note_lost();
  void end();
  void go_on(Failure failure);

  void accept();
  void forget_client(uint64_t id);
  void hand_over();
  void arm_timer();
  void end_session(uint64_t client);
  void look_idle();
  void hurry_while_others_work();
  void look_at_budget();

  boost::asio::io_context io_;
  boost::asio::posix::stream_descriptor listener_;
  boost::asio::steady_timer timer_, idle_;
  boost::asio::signal_set signals_;
  SocketFile socket_;
  Store store_;
  Cells cells_;
  os::SharedBudget budget_;  // of this user's programs under `spillway run`
  std::map<uint64_t, Session> sessions_;
  std::set<std::shared_ptr<Connection>> new_;
  uint64_t pool_id_ = os::random_number();
  uint64_t armed_ms_ = UINT64_MAX;
  uint64_t idle_since_ms_ = 0;
  os::ShortWait short_wait_;
  bool may_hurry_ = true, hurrying_ = false;
  uint64_t worked_at_ms_ = 0;

  Phase phase_ = Phase::kServing;
  bool may_lose_ = false, idle_stop_ = false, said_not_stopped_ = false;
  unsigned tries_ = 0;
  uint64_t least_left_ = 0, lost_ = 0;
  std::vector<Done> told_when_stopped_;
  std::vector<std::pair<std::shared_ptr<Connection>, wire::Frame>> held_;
  std::vector<uint64_t> ended_meanwhile_;  // sessions
};

// Decodes a request, asks the store, encodes the answer.
void dispatch(Server& server, Connection& connection, wire::Frame& frame);

}  // namespace spillway::pool

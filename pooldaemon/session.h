// session.h - one connection: bytes in, frames to the dispatcher, frames out; never waits for its peer.
// Why bounded: a peer that does not read gets no more answers than fit; beyond that the connection ends.
// Threads: the loop's.
#pragma once
#include <deque>
#include <memory>
#include <utility>  // Boost 1.74 forgets it
//
#include <boost/asio.hpp>

#include "libpool/wire/channel.h"
#include "pooldaemon/store/store.h"

namespace spillway::pool {

class Server;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  enum class Role { kNew, kMain, kCall, kNotify };

  Connection(Server& server, boost::asio::local::stream_protocol::socket socket, os::Peer peer);
  void start() { read_more(); }
  // `fd` is sent or copied before the call returns; -1: none.
  void send(std::string frame, int fd = -1);
  void close();
  // Nothing more is read until go_on().
  void hold() { held_ = true; }
  void go_on();
  bool is_open() const { return socket_.is_open(); }
  const os::Peer& peer() const { return peer_; }
  // A notification that may be left out when the peer does not keep up.
  void tell(wire::Verb verb, const std::string& payload);

  Role role = Role::kNew;
  uint64_t client = 0;

 private:
  struct Waiting {
    std::string bytes;
    size_t sent = 0;
    os::Fd fd;
  };
  void read_more();
  void read();
  bool read_frames();
  void flush();
  void write_more();
  void uncork();

  Server& server_;
  boost::asio::local::stream_protocol::socket socket_;
  os::Peer peer_;
  wire::Assembler assembler_;
  std::deque<Waiting> out_;
  size_t out_bytes_ = 0;
  bool corked_ = false;  // answers to what was read at once are sent at once
  std::string cork_;
  bool writing_ = false, reading_ = false, missed_changes_ = false, held_ = false;
};

}  // namespace spillway::pool

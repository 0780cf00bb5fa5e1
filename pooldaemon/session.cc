#include "pooldaemon/session.h"

#include "pooldaemon/server.h"

namespace spillway::pool {
namespace {

constexpr size_t kPauseReadingBytes = 4u << 20;  // of answers that the peer has not taken
constexpr size_t kMostChangesBytes = 1u << 20;
constexpr size_t kMostBytes = 64u << 20;
constexpr size_t kCorkedBytes = 64u << 10;
constexpr int kFramesAtOnce = 64;  // then it is another connection's turn

}  // namespace

Connection::Connection(Server& server, boost::asio::local::stream_protocol::socket socket, os::Peer peer)
    : server_(server), socket_(std::move(socket)), peer_(peer) {}

void Connection::close() {
  if (!socket_.is_open()) return;
  boost::system::error_code ignored;
  socket_.close(ignored);
  out_.clear();
  server_.closed(*this);
}

void Connection::go_on() {
  held_ = false;
  boost::asio::post(socket_.get_executor(), [self = shared_from_this()] { self->read(); });
}

void Connection::read_more() {
  if (reading_ || held_ || !socket_.is_open() || out_bytes_ > kPauseReadingBytes) return;
  reading_ = true;
  socket_.async_wait(socket_.wait_read, [self = shared_from_this()](const boost::system::error_code& error) {
    self->reading_ = false;
    if (!error) self->read();
  });
}

void Connection::read() {
  if (held_) return;
  corked_ = true;
  const bool again = read_frames();
  corked_ = false;
  uncork();
  if (again)
    // What is in the buffer wakes nobody: come back by ourselves.
    boost::asio::post(socket_.get_executor(), [self = shared_from_this()] { self->read(); });
  else if (socket_.is_open())
    read_more();
}

// True: there is more in the buffer, and it is another connection's turn.
bool Connection::read_frames() {
  wire::Frame frame;
  bool drained = false;
  for (int frames = 0; socket_.is_open();) {
    switch (assembler_.next(frame)) {
      case wire::Assembler::Next::kNonsense:
        return close(), false;
      case wire::Assembler::Next::kFrame:
        server_.handle(*this, frame);
        if (held_) return false;
        if (out_bytes_ + cork_.size() > kPauseReadingBytes) return false;  // flush() goes on
        if (++frames < kFramesAtOnce) continue;
        return socket_.is_open();
      case wire::Assembler::Next::kIncomplete:
        break;
    }
    if (drained) return false;
    size_t capacity = 0;
    char* const room = assembler_.room(capacity);
    os::Received received;
    const Errno e = os::receive_some(socket_.native_handle(), room, capacity, false, received);
    if (e == EAGAIN) return false;
    if (!e.ok() || received.bytes == 0) return close(), false;
    drained = received.bytes < capacity;  // asking once more would be in vain
    assembler_.took(received);
  }
  return false;
}

void Connection::uncork() {
  if (cork_.empty()) return;
  std::string all;
  all.swap(cork_);
  const bool was = std::exchange(corked_, false);
  send(std::move(all));
  corked_ = was;
}

void Connection::send(std::string frame, int fd) {
  if (!socket_.is_open()) return;
  if (corked_ && fd < 0 && frame.size() < kCorkedBytes) {
    cork_ += frame;
    if (cork_.size() > kCorkedBytes) uncork();
    return;
  }
  uncork();
  if (!socket_.is_open()) return;
  Waiting waiting{std::move(frame), 0, os::Fd()};
  if (out_.empty()) {
    // The usual case: it fits, and no copy of the descriptor is needed.
    Result<uint64_t> sent = os::send_some(socket_.native_handle(), waiting.bytes.data(), waiting.bytes.size(),
                                          &fd, fd >= 0, false);
    if (!sent && sent.error().code() != EAGAIN) return close();
    if (sent) waiting.sent = *sent, fd = -1;
    if (waiting.sent == waiting.bytes.size()) return;
  }
  if (fd >= 0) {
    waiting.fd = os::duplicate(fd);
    if (!waiting.fd.valid()) return close();  // no descriptor left: the answer cannot be given
  }
  out_bytes_ += waiting.bytes.size() - waiting.sent;
  out_.push_back(std::move(waiting));
  if (out_bytes_ > kMostBytes) return close();
  write_more();
}

void Connection::tell(wire::Verb verb, const std::string& payload) {
  if (verb == wire::Verb::kChanged) {
    if (out_bytes_ > kMostChangesBytes) missed_changes_ = true;
    if (missed_changes_) return;
  }
  wire::Writer w(wire::kHeaderBytes);
  w.data().append(payload);
  wire::finish_frame(w.data(), 0, static_cast<uint16_t>(verb), 0, 0);
  send(w.take());
}

void Connection::write_more() {
  if (writing_) return;
  writing_ = true;
  socket_.async_wait(socket_.wait_write, [self = shared_from_this()](const boost::system::error_code& error) {
    self->writing_ = false;
    if (!error) self->flush();
  });
}

void Connection::flush() {
  while (!out_.empty()) {
    Waiting& first = out_.front();
    const int fd = first.fd.get();
    Result<uint64_t> sent = os::send_some(socket_.native_handle(), first.bytes.data() + first.sent,
                                          first.bytes.size() - first.sent, &fd, first.fd.valid(), false);
    if (!sent && sent.error().code() == EAGAIN) return write_more();
    if (!sent) return close();
    first.fd.reset();
    first.sent += *sent;
    out_bytes_ -= *sent;
    if (first.sent == first.bytes.size()) out_.pop_front();
  }
  if (missed_changes_) {
    missed_changes_ = false;
    wire::Writer w;
    w.number(uint32_t{0}).number(static_cast<uint8_t>(SPILLWAY_RESYNC)).number(uint64_t{0}).bytes("");
    tell(wire::Verb::kChanged, w.take());
  }
  if (!assembler_.empty())
    boost::asio::post(socket_.get_executor(), [self = shared_from_this()] { self->read(); });
  else
    read_more();
}

}  // namespace spillway::pool

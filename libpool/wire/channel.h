// channel.h - a connection as frames, for a thread that may wait. One thread at a time.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/os/short_wait.h"
#include "base/os/socket.h"
#include "libpool/wire/codec.h"
#include "libpool/wire/message.h"

namespace spillway::wire {

struct Frame {
  Header header;
  std::string payload;
  std::vector<os::Fd> fds;
};

// Frames out of the bytes of a stream, as they come; the same for both ends. Descriptors that came with a
// piece of the stream belong to the frames in it, in order.
class Assembler {
 public:
  // Where to put the next bytes, and how many at most.
  char* room(size_t& bytes);
  void took(os::Received& received);
  enum class Next { kFrame, kIncomplete, kNonsense };
  // kNonsense: no frame begins here; the connection cannot be used any more.
  Next next(Frame& frame);
  bool empty() const { return from_ == to_; }

 private:
  std::string buffer_ = std::string(64 << 10, '\0');
  size_t from_ = 0, to_ = 0;
  std::vector<os::Fd> fds_;
};

// Fills in the header in front of a payload that Writer(kHeaderBytes) made.
void finish_frame(std::string& frame, uint64_t request, uint16_t verb, uint16_t status, unsigned fds);

class Channel {
 public:
  Channel() = default;
  explicit Channel(os::Fd socket) : socket_(std::move(socket)) {}
  bool open() const { return socket_.valid(); }
  int fd() const { return socket_.get(); }

  // All of it; several frames may be sent as one.
  Errno send(std::string_view frames, const int* fds = nullptr, unsigned fd_count = 0);
  // ECONNRESET: the other end has gone; EPROTO: it speaks nonsense; ETIMEDOUT. Negative: no limit.
  Errno receive(Frame& frame, int timeout_ms = -1);
  bool has_frame_begun() const { return !assembler_.empty(); }
  bool is_main = true;  // the one whose end is the session's

 private:
  os::Fd socket_;
  Assembler assembler_;
  os::ShortWait short_wait_;
};

}  // namespace spillway::wire

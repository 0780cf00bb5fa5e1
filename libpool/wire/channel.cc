#include "libpool/wire/channel.h"

namespace spillway::wire {
namespace {

constexpr size_t kMaxWaitingFds = 64;  // of frames that are not complete yet

}  // namespace

char* Assembler::room(size_t& bytes) {
  if (from_ == to_) {
    from_ = to_ = 0;
  } else if (from_ > 0 && buffer_.size() - to_ < (16 << 10)) {
    memmove(buffer_.data(), buffer_.data() + from_, to_ - from_);
    to_ -= from_;
    from_ = 0;
  }
  // As large as the frame that has begun.
  size_t wanted = 64 << 10;
  Header header;
  if (to_ - from_ >= kHeaderBytes) {
    memcpy(&header, buffer_.data() + from_, kHeaderBytes);
    if (header.payload_bytes <= kMaxPayloadBytes)
      wanted = std::max(wanted, size_t{kHeaderBytes} + header.payload_bytes + from_);
  }
  if (buffer_.size() < wanted) buffer_.resize(wanted);
  if (buffer_.size() == to_) buffer_.resize(to_ + (64 << 10));
  bytes = buffer_.size() - to_;
  return buffer_.data() + to_;
}

void Assembler::took(os::Received& received) {
  to_ += received.bytes;
  for (unsigned i = 0; i < received.fd_count; ++i)
    if (fds_.size() < kMaxWaitingFds) fds_.push_back(std::move(received.fds[i]));
}

Assembler::Next Assembler::next(Frame& frame) {
  if (to_ - from_ < kHeaderBytes) return Next::kIncomplete;
  memcpy(&frame.header, buffer_.data() + from_, kHeaderBytes);
  const Header& header = frame.header;
  if (header.magic != kMagic || header.payload_bytes > kMaxPayloadBytes || header.fds > os::kMaxPassedFds)
    return Next::kNonsense;
  if (to_ - from_ - kHeaderBytes < header.payload_bytes) return Next::kIncomplete;
  if (fds_.size() < header.fds) return Next::kNonsense;
  frame.payload.assign(buffer_, from_ + kHeaderBytes, header.payload_bytes);
  frame.fds.clear();
  for (unsigned i = 0; i < header.fds; ++i) frame.fds.push_back(std::move(fds_[i]));
  fds_.erase(fds_.begin(), fds_.begin() + header.fds);
  from_ += kHeaderBytes + header.payload_bytes;
  if (from_ == to_ && buffer_.size() > (128 << 10)) {  // a large message is rare; its memory is not kept
    buffer_ = std::string(64 << 10, '\0');
    from_ = to_ = 0;
  }
  return Next::kFrame;
}

void finish_frame(std::string& frame, uint64_t request, uint16_t verb, uint16_t status, unsigned fds) {
  Header header;
  header.payload_bytes = static_cast<uint32_t>(frame.size() - kHeaderBytes);
  header.request = request;
  header.verb = verb;
  header.status = status;
  header.fds = fds;
  memcpy(frame.data(), &header, kHeaderBytes);
}

Errno Channel::send(std::string_view frames, const int* fds, unsigned fd_count) {
  while (!frames.empty()) {
    Result<uint64_t> sent = os::send_some(socket_.get(), frames.data(), frames.size(), fds, fd_count, true);
    if (!sent) return sent.error();
    frames.remove_prefix(*sent);
    fd_count = 0;
  }
  return {};
}

Errno Channel::receive(Frame& frame, int timeout_ms) {
  while (true) {
    switch (assembler_.next(frame)) {
      case Assembler::Next::kFrame:
        return {};
      case Assembler::Next::kNonsense:
        return Errno(EPROTO);
      case Assembler::Next::kIncomplete:
        break;
    }
    size_t capacity = 0;
    char* const room = assembler_.room(capacity);
    os::Received received;
    Errno e(EAGAIN);
    (void)short_wait_.until([&] {
      e = os::receive_some(socket_.get(), room, capacity, /*wait=*/false, received);
      return !(e == EAGAIN);
    });
    if (e == EAGAIN) {
      if (timeout_ms >= 0 && !os::wait_readable(socket_.get(), timeout_ms)) return Errno(ETIMEDOUT);
      e = os::receive_some(socket_.get(), room, capacity, /*wait=*/true, received);
    }
    if (!e.ok()) return e;
    if (received.bytes == 0) return Errno(ECONNRESET);
    assembler_.took(received);
  }
}

}  // namespace spillway::wire

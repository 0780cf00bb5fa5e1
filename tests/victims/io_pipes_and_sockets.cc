// Data goes from one spilled block to another through a pipe (write, readv, vmsplice) and a socket (send,
// recv, sendmsg), a thread at each end.
#include <sys/socket.h>
#include <sys/uio.h>

#include <thread>

#include "tests/victims/spilled.h"

using namespace victim;

namespace {

constexpr size_t kBytes = 16 * MiB;

template <typename Transfer>
void all_of(char* p, const char* what, Transfer&& transfer) {
  for (size_t at = 0; at < kBytes;) {
    const ssize_t n = transfer(p + at, kBytes - at);
    EXPECT(n > 0, "%s at %zu: %s", what, at, n ? strerror(errno) : "end of file");
    at += static_cast<size_t>(n);
  }
}

template <typename Send, typename Receive>
void carry(const char* what, uint64_t seed, Send&& send_some, Receive&& receive_some) {
  char* from = spilled_block(kBytes, seed);
  char* to = spilled_block(kBytes, seed + 1);
  std::thread sender([&] { all_of(from, what, send_some); });
  all_of(to, what, receive_some);
  sender.join();
  EXPECT_FILLED(to, kBytes, seed, what);
  print_checksum(what, to, kBytes);
  free(from);
  free(to);
}

}  // namespace

int main() {
  int pipe_ends[2], sockets[2];
  EXPECT(pipe(pipe_ends) == 0, "pipe: %s", strerror(errno));
  EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "socketpair: %s", strerror(errno));

  carry(
      "write and read on a pipe", 1, [&](char* p, size_t n) { return write(pipe_ends[1], p, n); },
      [&](char* p, size_t n) { return read(pipe_ends[0], p, n); });
  carry(
      "write and readv on a pipe", 3, [&](char* p, size_t n) { return write(pipe_ends[1], p, n); },
      [&](char* p, size_t n) {
        const size_t first = n < 1000 ? n : 1000;
        const iovec parts[2] = {{p, first}, {p + first, n - first}};
        return readv(pipe_ends[0], parts, 2);
      });
  carry(
      "vmsplice and read on a pipe", 5,
      [&](char* p, size_t n) {
        const iovec part = {p, n};
        return vmsplice(pipe_ends[1], &part, 1, 0);
      },
      [&](char* p, size_t n) { return read(pipe_ends[0], p, n); });
  carry(
      "send and recv", 7, [&](char* p, size_t n) { return send(sockets[0], p, n, 0); },
      [&](char* p, size_t n) { return recv(sockets[1], p, n, 0); });
  carry(
      "sendmsg and recv with MSG_WAITALL", 9,
      [&](char* p, size_t n) {
        iovec part = {p, n};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        return sendmsg(sockets[0], &message, 0);
      },
      [&](char* p, size_t n) { return recv(sockets[1], p, n, MSG_WAITALL); });
  return done();
}

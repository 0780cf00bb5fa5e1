// socket.h - Unix stream sockets that carry descriptors beside bytes, and who is at the other end.
// All are close-on-exec; none raises SIGPIPE.
#pragma once
#include <sys/types.h>

#include <cstdint>

#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway::os {

inline constexpr unsigned kMaxPassedFds = 4;  // in one message

// Listens at the path, which must not exist; only the owner may connect (0600), everybody where
// `everybody` is set (0666). ENAMETOOLONG: the path is longer than the kernel permits (107 bytes).
Result<Fd> listen_at(const char* path, bool everybody);
// ECONNREFUSED: a socket that nobody listens on; ENOENT: nothing there.
Result<Fd> connect_to(const char* path);
// Somebody listens at the path, whether or not there is room in the queue. Does not wait.
bool is_listened_at(const char* path);
Result<Fd> accept_one(int listener);

struct Peer {
  uint32_t uid = 0;
  uint32_t gid = 0;
  int pid = 0;
};
Result<Peer> peer_of(int socket);

// Sends what fits and says how much; the descriptors travel with the first byte. EAGAIN: nothing fits now.
Result<uint64_t> send_some(int socket, const void* data, uint64_t bytes, const int* fds, unsigned fd_count,
                           bool wait);

struct Received {
  uint64_t bytes = 0;  // 0: the other end closed
  unsigned fd_count = 0;
  Fd fds[kMaxPassedFds];
};
// EAGAIN without `wait`: nothing there.
Errno receive_some(int socket, void* buffer, uint64_t capacity, bool wait, Received& received);

// Until the descriptor is readable. False: the time is over. Negative: no limit.
bool wait_readable(int fd, int timeout_ms);
// Until one of two is readable; bit 0 and bit 1 of the answer. 0: the time is over.
unsigned wait_either(int one, int other, int timeout_ms);
// Wakes a thread in recv or poll on this socket, for good.
void shut_down(int socket);

// A counter that polls as readable when it is not zero.
Result<Fd> make_wakeup();
void wake(int wakeup);
void clear_wakeup(int wakeup);

}  // namespace spillway::os

#include "base/os/socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "base/os/keep_errno.h"

namespace spillway::os {
namespace {

Errno fill_address(const char* path, sockaddr_un& address) {
  address.sun_family = AF_UNIX;
  if (strlen(path) >= sizeof address.sun_path) return Errno(ENAMETOOLONG);
  strcpy(address.sun_path, path);
  return {};
}

}  // namespace

Result<Fd> listen_at(const char* path, bool everybody) {
  KeepErrno keep;
  sockaddr_un address{};
  if (Errno e = fill_address(path, address); !e.ok()) return e;
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return Errno::last();
  // The mode is set before anybody can connect: a socket without listen(2) refuses.
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return Errno::last();
  if (chmod(path, everybody ? 0666 : 0600) != 0) return Errno::last();
  if (listen(fd.get(), 1024) != 0) return Errno::last();
  return fd;
}

Result<Fd> connect_to(const char* path) {
  KeepErrno keep;
  sockaddr_un address{};
  if (Errno e = fill_address(path, address); !e.ok()) return e;
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Errno::last();
  while (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    if (errno != EINTR) return Errno::last();
  return move_high(std::move(fd));
}

bool is_listened_at(const char* path) {
  KeepErrno keep;
  sockaddr_un address{};
  if (!fill_address(path, address).ok()) return false;
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return true;  // not known
  return connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ||
         (errno != ECONNREFUSED && errno != ENOENT);
}

Result<Fd> accept_one(int listener) {
  KeepErrno keep;
  while (true) {
    Fd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid()) return fd;
    if (errno != EINTR && errno != ECONNABORTED) return Errno::last();
  }
}

Result<Peer> peer_of(int socket) {
  KeepErrno keep;
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return Errno::last();
  return Peer{credentials.uid, credentials.gid, credentials.pid};
}

Result<uint64_t> send_some(int socket, const void* data, uint64_t bytes, const int* fds, unsigned fd_count,
                           bool wait) {
  KeepErrno keep;
  CHECK(fd_count <= kMaxPassedFds, "more descriptors than a message carries");
  iovec vector{const_cast<void*>(data), bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPassedFds)] = {};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (fd_count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
    cmsghdr* const item = CMSG_FIRSTHDR(&message);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
    memcpy(CMSG_DATA(item), fds, sizeof(int) * fd_count);
  }
  while (true) {
    const ssize_t n = sendmsg(socket, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    if (n >= 0) return static_cast<uint64_t>(n);
    if (errno != EINTR) return Errno::last();
  }
}

Errno receive_some(int socket, void* buffer, uint64_t capacity, bool wait, Received& received) {
  KeepErrno keep;
  iovec vector{buffer, capacity};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPassedFds)];
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
  while (n < 0 && errno == EINTR);
  if (n < 0) return Errno::last();
  received.bytes = static_cast<uint64_t>(n);
  received.fd_count = 0;
  for (cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      memcpy(&fd, CMSG_DATA(item) + i * sizeof fd, sizeof fd);
      Fd owned(fd);  // closed here when there are more than we asked for
      if (received.fd_count < kMaxPassedFds) received.fds[received.fd_count++] = std::move(owned);
    }
  }
  return {};
}

bool wait_readable(int fd, int timeout_ms) {
  KeepErrno keep;
  pollfd ready{fd, POLLIN, 0};
  return poll(&ready, 1, timeout_ms) != 0;
}

unsigned wait_either(int one, int other, int timeout_ms) {
  KeepErrno keep;
  pollfd ready[2] = {{one, POLLIN, 0}, {other, POLLIN, 0}};
  if (poll(ready, 2, timeout_ms) <= 0) return 0;
  return (ready[0].revents ? 1u : 0u) | (ready[1].revents ? 2u : 0u);
}

void shut_down(int socket) {
  KeepErrno keep;
  shutdown(socket, SHUT_RDWR);
}

Result<Fd> make_wakeup() {
  KeepErrno keep;
  Fd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return Errno::last();
  return move_high(std::move(fd));
}

void wake(int wakeup) {
  KeepErrno keep;
  const uint64_t one = 1;
  (void)!write(wakeup, &one, sizeof one);  // full means that it is awake already
}

void clear_wakeup(int wakeup) {
  KeepErrno keep;
  uint64_t count;
  (void)!read(wakeup, &count, sizeof count);
}

}  // namespace spillway::os

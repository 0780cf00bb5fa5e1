#include "base/os/service_manager.h"

#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/os/keep_errno.h"

namespace spillway::os {
namespace {

bool say(const char* state, int fd) {
  KeepErrno keep;
  const char* const path = getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (strlen(path) >= sizeof address.sun_path) return false;
  strcpy(address.sun_path, path);
  if (path[0] == '@') address.sun_path[0] = 0;
  const Fd socket_fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket_fd.valid()) return false;
  iovec part{const_cast<char*>(state), strlen(state)};
  msghdr message{};
  message.msg_name = &address;
  message.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + strlen(path));
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  ssize_t sent;
  do sent = sendmsg(socket_fd.get(), &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

}  // namespace

void notify_service_manager(const char* state) { (void)say(state, -1); }

bool keep_at_service_manager(const char* name, int fd) {
  char text[320];
  // FDPOLL: memory cannot be polled, nor does it hang up.
  if (snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name) >= static_cast<int>(sizeof text))
    return false;
  return say(text, fd);
}

void let_go_at_service_manager(const char* name) {
  char text[320];
  if (snprintf(text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name) < static_cast<int>(sizeof text))
    (void)say(text, -1);
}

unsigned kept_at_service_manager(unsigned otherwise) {
  const char* const most = getenv("FDSTORE");  // systemd 254
  return most != nullptr && atoi(most) > 0 ? static_cast<unsigned>(atoi(most)) : otherwise;
}

bool wait_for_service_manager(int timeout_ms) {
  KeepErrno keep;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  const Fd ours(ends[0]);
  {
    const Fd its(ends[1]);
    if (!say("BARRIER=1", its.get())) return false;
  }
  pollfd hang_up{ours.get(), 0, 0};
  return poll(&hang_up, 1, timeout_ms) == 1;
}

void each_passed_descriptor(void (*call)(void* context, const char* name, Fd fd), void* context) {
  KeepErrno keep;
  const char* const pid = getenv("LISTEN_PID");
  const char* const count = getenv("LISTEN_FDS");
  if (pid == nullptr || count == nullptr || atoi(pid) != getpid()) return;
  const char* names = getenv("LISTEN_FDNAMES");
  constexpr int kFirst = 3;
  for (int fd = kFirst; fd < kFirst + atoi(count); ++fd) {
    char name[256] = "";
    if (names != nullptr) {
      const size_t length = strcspn(names, ":");
      snprintf(name, sizeof name, "%.*s", static_cast<int>(length), names);
      names = names[length] == ':' ? names + length + 1 : nullptr;
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) call(context, name, Fd(fd));
  }
}

bool is_listening_socket(int fd) {
  KeepErrno keep;
  int listening = 0;
  socklen_t bytes = sizeof listening;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &bytes) == 0 && listening != 0;
}

void do_not_wait(int socket) {
  KeepErrno keep;
  if (const int flags = fcntl(socket, F_GETFL); flags >= 0) (void)fcntl(socket, F_SETFL, flags | O_NONBLOCK);
}

}  // namespace spillway::os

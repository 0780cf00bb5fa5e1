// service_manager.h - the service manager that started us, where one did: systemd's protocol (sd_notify(3),
// sd_listen_fds(3)), spoken without its library. Nothing happens where there is none.
#pragma once
#include "base/core/result.h"
#include "base/os/file.h"

namespace spillway::os {

// "READY=1", "STOPPING=1".
void notify_service_manager(const char* state);

// It keeps the descriptor when we end, and passes it to our successor under this name (no ':' in it). False:
// there is no manager, or it does not listen.
bool keep_at_service_manager(const char* name, int fd);
// It lets go of all it keeps under this name.
void let_go_at_service_manager(const char* name);
// How many it keeps at most, where it says so.
unsigned kept_at_service_manager(unsigned otherwise);
// Until it has read all we said: of a process that has ended it may not believe it. False: not in time.
bool wait_for_service_manager(int timeout_ms);

// What it passed to us, each close-on-exec: a listening socket, or what our predecessor left. "": no name.
void each_passed_descriptor(void (*call)(void* context, const char* name, Fd fd), void* context);
bool is_listening_socket(int fd);
void do_not_wait(int socket);  // O_NONBLOCK

}  // namespace spillway::os

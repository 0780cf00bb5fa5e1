// socket_path.h - where a user's daemon listens: the same answer for daemon and clients.
#pragma once
#include <string>

namespace spillway::wire {

// $SPILLWAY_SOCKET, $XDG_RUNTIME_DIR/spillway/pool.sock, /tmp/spillway-UID/pool.sock.
std::string default_socket_path();
bool socket_is_named();  // $SPILLWAY_SOCKET says where
std::string folder_of(const std::string& path);

}  // namespace spillway::wire

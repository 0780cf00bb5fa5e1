// daemon.h - precompiled for the daemon's files in front of the store: they all see the server, which is
// Asio's.
#include <utility>  // Boost 1.74 forgets it
//
#include <boost/asio.hpp>

#include "scripts/pch/std.h"

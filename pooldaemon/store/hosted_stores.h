// hosted_stores.h - segment stores that the daemon writes for whoever opens them shared.
//
// A program that comes and goes then need not open the store for itself, with all that belongs to it, for one
// write; and many share the flushes. Nothing passes through the daemon's socket: the ring in shared memory is
// theirs (libpool/segstore/ring.h). Where another process writes already, it stays the one that does.
// Threads: one.
#pragma once
#include <spillway/store.hpp>
#include <string>
#include <vector>

namespace spillway::pool {

class HostedStores {
 public:
  // What is wrong, or nothing. Stores that are not there are made.
  std::string open(const std::vector<std::string>& directories);

 private:
  std::vector<spillway::Store> stores_;
};

}  // namespace spillway::pool

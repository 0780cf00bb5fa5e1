// metrics.h - /metrics for Prometheus, on the loopback interface, when asked for.
// Threads: its own, which ask the loop for the figures and wait a moment for them.
#pragma once
#include <memory>
#include <string>

namespace spillway::pool {

class Server;

class Metrics {
 public:
  Metrics();
  ~Metrics();
  // What is wrong, or nothing.
  std::string serve(Server& server, unsigned port);
  void end();  // before the server's loop is gone

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace spillway::pool

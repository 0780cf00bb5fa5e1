// failure.h - how a subcommand says that it cannot do what was asked: one line on stderr and an exit status.
//
// The statuses are those of env(1), nohup(1) and timeout(1), so that a script can tell Spillway's own failure
// from the program's. Thrown from anywhere below main, which prints `spillway: WHAT`.
#pragma once
#include <stdexcept>
#include <string>

namespace spillway::tools {

inline constexpr int kCannotStart = 125;  // wrong usage, a bad setting, no library: the program was not tried
inline constexpr int kCannotExecute = 126;  // the program is there, but cannot be run under Spillway
inline constexpr int kNotFound = 127;       // the program, or what it needs to start, is not there

class Failure : public std::runtime_error {
 public:
  Failure(int status, const std::string& what) : std::runtime_error(what), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

}  // namespace spillway::tools

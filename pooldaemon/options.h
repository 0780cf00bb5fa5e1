// options.h - the daemon's settings from file, environment and flags, each overriding the one before.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "pooldaemon/store/config.h"

namespace spillway::pool {

struct Options {
  Config config;
  std::string socket;  // empty: the default
  // Settings that were given, whatever by, as they were; the last of a name counts.
  std::vector<std::pair<std::string, std::string>> given;
  bool help = false, version = false;
};

// What is wrong, or nothing.
std::string read_options(int argc, char** argv, Options& options);
std::string help_text();

}  // namespace spillway::pool

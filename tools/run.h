// run.h - `spillway run` and `exm`: start a program with the preload library in it.
#pragma once
#include <string>
#include <vector>

#include "tools/settings.h"

namespace spillway::tools {

// Becomes the program, so that its exit status, signals, process id and terminal are its own. Throws Failure
// when it cannot; returns never.
[[noreturn]] void run_program(const OptionValues& options, std::vector<std::string> argv);

}  // namespace spillway::tools

// real_program.h - running a real program plainly and under `spillway run`, and comparing what it does.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "base/core/units.h"
#include "tests/support/program.h"

namespace spillway::test {

using spillway::kMiB;

// Runs the command plainly for the reference; then under `spillway run`, with `options` if any, over what the
// host permits at best and over files, in a memory cgroup of `cap_bytes` where that is possible (0: without
// one). Requires the same exit status, stdout and stderr, that the plain run succeeded, and that nothing is
// left behind. With --heap among the options not over files, which cannot spill small blocks.
Outcome same_under_spillway(const Command& command, size_t cap_bytes,
                            const std::vector<std::string>& options = {});

// The same without a plain run, for programs whose work differs between two runs: exit status 0 is required.
Outcome fine_under_spillway(const Command& command, size_t cap_bytes);

}  // namespace spillway::test

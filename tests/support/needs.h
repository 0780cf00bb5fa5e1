// needs.h - what a test needs of the host. A test whose need is not met says so and counts as passed:
//
//   if (!needs_root()) return;
//
// Catch2 2 knows no skipped tests, so the line `SKIPPED: test name: reason` on stdout is the record.
#pragma once
#include <string>

namespace spillway::test {

void skip(const std::string& reason);

[[nodiscard]] bool needs_root();
[[nodiscard]] bool needs_program(const std::string& name);  // found in PATH and executable
[[nodiscard]] bool needs_file(const std::string& path);

// The same question without the record.
std::string program_path(const std::string& name);  // empty: not in PATH

}  // namespace spillway::test

// leftovers.h - what a program left behind, and what a test runner that was killed left behind.
#pragma once
#include <string>
#include <vector>

namespace spillway::test {

// Files below `dir` that some process still has open or mapped, the deleted ones too: "PID: path". Region
// files are unlinked at birth, so this and not a directory listing is where a leak would show.
std::vector<std::string> open_files_below(const std::string& dir);

// What is wrong after every program ended: names in `dir`, files of it still open, living descendants of the
// runner. Waits a moment, because a killed process needs one to let go. Empty: nothing is left.
std::string leftovers(const std::string& dir);

// Cgroups, loop devices and scratch directories whose runner no longer lives. Called when a runner starts.
void remove_stale_leftovers();

}  // namespace spillway::test

// paths.h - where the things under test are, worked out from the place of the running test program.
//
// A test program is build/tests/NAME, so everything else that was built lies beside it; nothing depends on
// the directory the tests are started from.
#pragma once
#include <string>

namespace spillway::test {

std::string build_dir();     // .../build
std::string source_dir();    // the project's root: the parent of the build directory
std::string preload_lib();   // build/lib/libspillway-preload.so
std::string spillway_bin();  // build/bin/spillway
std::string exm_bin();       // build/bin/exm

// build/victims/NAME; the test fails at once when it was not built.
std::string victim(const std::string& name);

}  // namespace spillway::test

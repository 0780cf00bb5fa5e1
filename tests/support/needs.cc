#include "tests/support/needs.h"
#include "tests/support/catch.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace spillway::test {

void skip(const std::string& reason) {
  const std::string name = Catch::getResultCapture().getCurrentTestName();
  std::printf("SKIPPED: %s: %s\n", name.c_str(), reason.c_str());
  std::fflush(stdout);
}

std::string program_path(const std::string& name) {
  if (name.find('/') != std::string::npos) return ::access(name.c_str(), X_OK) == 0 ? name : "";
  const char* path = std::getenv("PATH");
  std::istringstream dirs((path ? std::string(path) : "") + ":/usr/sbin:/sbin:/usr/bin:/bin");
  for (std::string dir; std::getline(dirs, dir, ':');) {
    const std::string candidate = dir + "/" + name;
    if (!dir.empty() && ::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

bool needs_root() {
  if (::geteuid() == 0) return true;
  skip("needs root");
  return false;
}

bool needs_program(const std::string& name) {
  if (!program_path(name).empty()) return true;
  skip("needs the program " + name);
  return false;
}

bool needs_file(const std::string& path) {
  if (::access(path.c_str(), R_OK) == 0) return true;
  skip("needs " + path);
  return false;
}

}  // namespace spillway::test

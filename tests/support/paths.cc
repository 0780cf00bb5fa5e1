#include "tests/support/paths.h"

#include <unistd.h>

#include <filesystem>
#include <stdexcept>

namespace fs = std::filesystem;

namespace spillway::test {

std::string build_dir() { return fs::read_symlink("/proc/self/exe").parent_path().parent_path().string(); }

std::string source_dir() {
  const fs::path beside = fs::path(build_dir()).parent_path();
  if (fs::exists(beside / "Makefile")) return beside.string();
  return fs::current_path().string();  // BUILD= points outside the project: make starts tests in its root
}

std::string preload_lib() { return build_dir() + "/lib/libspillway-preload.so"; }
std::string spillway_bin() { return build_dir() + "/bin/spillway"; }
std::string exm_bin() { return build_dir() + "/bin/exm"; }

std::string victim(const std::string& name) {
  const std::string path = build_dir() + "/victims/" + name;
  if (::access(path.c_str(), R_OK) != 0) throw std::runtime_error("victim was not built: " + path);
  return path;
}

}  // namespace spillway::test

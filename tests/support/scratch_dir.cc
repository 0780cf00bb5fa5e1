#include "tests/support/scratch_dir.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

namespace fs = std::filesystem;

namespace spillway::test {
namespace {

std::string default_base() {
  const char* base = ::getenv("SPILLWAY_TEST_DIR");
  return base && *base ? base : "/var/tmp";
}

}  // namespace

ScratchDir::ScratchDir() : ScratchDir(default_base()) {}

ScratchDir::ScratchDir(const std::string& base) {
  path_ = base + "/spillway-test-" + std::to_string(::getpid()) + "-XXXXXX";
  if (!::mkdtemp(path_.data())) throw std::runtime_error("mkdtemp " + path_);
  ::chmod(path_.c_str(), 01777);
}

ScratchDir::~ScratchDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string ScratchDir::write(const std::string& name, const std::string& text) const {
  const std::string path = path_ + "/" + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

std::string ScratchDir::read(const std::string& name) const { return read_file(path_ + "/" + name); }

std::vector<std::string> ScratchDir::files() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path_)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();  // a process that ends while its file in /proc is read is no exception
  return text.str();
}

}  // namespace spillway::test

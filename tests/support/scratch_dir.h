// scratch_dir.h - a directory of a test's own on a real disk, gone with the object.
//
// Its name begins with `spillway-test-PID-`, so that what a killed test runner left behind can be told from
// what a living one uses (see leftovers.h). Everybody may enter and write: tests also run programs as another
// user.
#pragma once
#include <string>
#include <vector>

namespace spillway::test {

class ScratchDir {
 public:
  ScratchDir();                                  // below /var/tmp (SPILLWAY_TEST_DIR overrides)
  explicit ScratchDir(const std::string& base);  // below another directory, for example /dev/shm
  ~ScratchDir();
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  std::string write(const std::string& name, const std::string& text) const;  // returns the file's path
  std::string read(const std::string& name) const;                            // "" when there is no such file
  std::vector<std::string> files() const;                                     // names in it, sorted

 private:
  std::string path_;
};

std::string read_file(const std::string& path);  // "" when it cannot be read

}  // namespace spillway::test

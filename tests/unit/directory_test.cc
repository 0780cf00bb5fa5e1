// directory_test.cc - where region files go, and what is said about it.
#include "libpreload/backing/directory.h"

#include <cerrno>
#include <memory>
#include <string>

#include "tests/unit/heap_fixture.h"
#include "tests/unit/in_child.h"

#include "tests/support/catch.h"

using namespace spillway;

namespace {

// A directory chosen with this SPILLWAY_DIR.
struct Wanted {
  explicit Wanted(const char* path)
      : wanted(settings.directory, path), name(settings.directory_name, "SPILLWAY_DIR") {
    test::CaughtStderr caught;
    opened = bool(directory->open_file());
    said = caught.text();
  }
  test::Set<const char*> wanted, name;
  std::unique_ptr<Directory> directory = std::make_unique<Directory>();
  bool opened = false;
  std::string said;
};

}  // namespace

TEST_CASE("the wanted directory is used, in silence") {
  test::ScratchDir dir;
  Wanted got(dir.path().c_str());
  CHECK(got.opened);
  CHECK(got.directory->path() == dir.path());
  CHECK(got.said == "");
}

TEST_CASE("a wanted directory that cannot be used is named with the reason and what is used instead") {
  Wanted got("/nowhere/at/all");
  CHECK(got.opened);
  CHECK(got.directory->path() == std::string("/var/tmp"));
  for (const char* word : {"SPILLWAY_DIR", "/nowhere/at/all", "No such file", "/var/tmp"})
    CHECK(got.said.find(word) != std::string::npos);
}

TEST_CASE("a wanted directory in memory is used with a warning") {
  test::ScratchDir dir("/dev/shm");
  Wanted got(dir.path().c_str());
  CHECK(got.opened);
  CHECK(got.directory->path() == dir.path());
  CHECK(got.said.find("tmpfs") != std::string::npos);
}

TEST_CASE("what is said about a directory is said once") {
  Wanted got("/nowhere/at/all");
  test::CaughtStderr caught;
  CHECK(got.directory->open_file());
  CHECK(caught.text() == "");
}

TEST_CASE("a change to a directory that cannot be used leaves the old one") {
  test::ScratchDir dir;
  Wanted got(dir.path().c_str());
  CHECK(got.directory->change((dir / "missing").c_str()) == ENOENT);
  CHECK(got.directory->change(std::string(5000, 'x').c_str()) == ENAMETOOLONG);
  dir.write("file", "");
  CHECK(got.directory->change((dir / "file").c_str()) == ENOTDIR);
  CHECK(got.directory->path() == dir.path());
}

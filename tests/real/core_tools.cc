// Tools that everybody has: sort, xz, zstd, g++.
#include <random>

#include "tests/support/catch.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/real_program.h"
#include "tests/support/scratch_dir.h"

using namespace spillway::test;

namespace {

// Lines of 32 hexadecimal digits, the same in every run.
std::string random_lines(size_t lines) {
  std::mt19937_64 random(99);
  std::string text;
  text.reserve(lines * 33);
  char line[40];
  for (size_t i = 0; i < lines; ++i) {
    snprintf(line, sizeof line, "%016lx%016lx\n", static_cast<unsigned long>(random()),
             static_cast<unsigned long>(random()));
    text += line;
  }
  return text;
}

// Text that compresses, made of the project's own sources.
std::string prose(size_t bytes) {
  std::string text;
  for (const char* file : {"LICENSE", "Makefile", "tests/support/program.cc", "tests/support/leftovers.cc"})
    text += read_file(source_dir() + "/" + file);
  std::mt19937 random(5);
  std::string result;
  while (result.size() < bytes) result += text.substr(random() % (text.size() / 2), 200 + random() % 3000);
  return result.substr(0, bytes);
}

}  // namespace

TEST_CASE("GNU sort with a buffer four times the memory sorts right") {
  if (!needs_program("sort")) return;
  ScratchDir dir;
  const std::string input = dir.write("lines", random_lines(800000));
  REQUIRE(run({.argv = {"sort", "-S", "256M", "-o", dir / "plain", input}, .env = {"LC_ALL=C"}}).exit_code ==
          0);
  for (const char* threads : {"--parallel=1", "--parallel=2"}) {
    const Command sort = {
        .argv = {"sort", threads, "-S", "128M", "-T", dir.path(), "-o", dir / "sorted", input},
        .env = {"LC_ALL=C"}};
    fine_under_spillway(sort, 32 * kMiB);
    CHECK(run({.argv = {"cmp", dir / "plain", dir / "sorted"}}).exit_code == 0);
  }
}
TEST_CASE("xz -9e compresses to the same bytes in a fraction of its memory, and back") {
  if (!needs_program("xz")) return;
  ScratchDir dir;
  const std::string input = dir.write("text", prose(3 << 20));
  same_under_spillway({.argv = {"xz", "-9e", "-c", input}}, 96 * kMiB);
  REQUIRE(run({.argv = {"xz", "-9e", "-k", input}}).exit_code == 0);
  const Outcome back = same_under_spillway({.argv = {"xz", "-dc", input + ".xz"}}, 48 * kMiB);
  CHECK(back.out == dir.read("text"));
}
TEST_CASE("zstd --ultra compresses to the same bytes in a fraction of its memory, and back") {
  if (!needs_program("zstd")) return;
  ScratchDir dir;
  // From a pipe zstd does not know the size, so its tables get their full size.
  const std::string text = prose(3 << 20);
  const Outcome packed = same_under_spillway(
      {.argv = {"zstd", "--ultra", "-22", "--long=27", "-T1", "-c"}, .input = text}, 96 * kMiB);
  const Outcome back =
      same_under_spillway({.argv = {"zstd", "-d", "--long=27", "-c"}, .input = packed.out}, 48 * kMiB);
  CHECK(back.out == text);
}
TEST_CASE("g++ compiles a file of this project to the same object") {
  if (!needs_program("g++")) return;
  ScratchDir dir;
  const Command compile = {.argv = {"g++", "-std=c++20", "-O2", "-I.", "-Iinclude", "-D_GNU_SOURCE", "-c",
                                    "tests/support/scratch_dir.cc", "-o", dir / "object.o"},
                           .dir = source_dir()};
  REQUIRE(run(compile).exit_code == 0);
  const std::string plain = dir.read("object.o");
  fine_under_spillway(compile, 0);
  CHECK(plain.size() > 1000);
  CHECK((dir.read("object.o") == plain));
}
TEST_CASE("the project's own unit tests pass under the preload") {
  const std::string unit = build_dir() + "/tests/unit";
  if (!needs_file(unit)) return;
  const Outcome got = fine_under_spillway({.argv = {unit}}, 0);
  CHECK(got.out.find("All tests passed") != std::string::npos);
}

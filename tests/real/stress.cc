// stress-ng, which verifies what it allocates, maps and forks.
#include "tests/support/catch.h"
#include "tests/support/needs.h"
#include "tests/support/real_program.h"
#include "tests/support/scratch_dir.h"

using namespace spillway::test;

namespace {

void stress(std::vector<std::string> options, size_t cap_bytes) {
  if (!needs_program("stress-ng")) return;
  ScratchDir dir;
  std::vector<std::string> argv = {"stress-ng", "--verify",  "--oomable", "--temp-path",
                                   dir.path(),  "--timeout", "60"};
  argv.insert(argv.end(), options.begin(), options.end());
  const Outcome got = fine_under_spillway({.argv = argv}, cap_bytes);
  INFO(got.text());
  const std::string said = got.out + got.err;
  CHECK(said.find("successful run completed") != std::string::npos);
  CHECK(said.find("fail:") == std::string::npos);
}

}  // namespace

TEST_CASE("stress-ng --malloc finds nothing wrong") {
  stress({"--malloc", "2", "--malloc-ops", "60000", "--malloc-bytes", "24M", "--malloc-max", "40"}, 0);
}
TEST_CASE("stress-ng --malloc with threads in each worker finds nothing wrong") {
  stress({"--malloc", "2", "--malloc-ops", "20000", "--malloc-bytes", "8M", "--malloc-max", "32",
          "--malloc-pthreads", "4"},
         0);
}
TEST_CASE("stress-ng --vm finds nothing wrong") {
  stress({"--vm", "2", "--vm-bytes", "64M", "--vm-ops", "3000"}, 0);
}
TEST_CASE("stress-ng --fork finds nothing wrong") { stress({"--fork", "2", "--fork-ops", "2000"}, 0); }
TEST_CASE("stress-ng --bigheap, whose block grows and grows, finds nothing wrong") {
  stress({"--bigheap", "1", "--bigheap-growth", "1M", "--bigheap-ops", "200"}, 0);
}
TEST_CASE("stress-ng --qsort and --matrix over more than memory find nothing wrong") {
  stress({"--qsort", "1", "--qsort-size", "4194304", "--qsort-ops", "1"}, 48 * kMiB);
  stress({"--matrix", "1", "--matrix-size", "1024", "--matrix-ops", "20", "--matrix-method", "add"},
         48 * kMiB);
}

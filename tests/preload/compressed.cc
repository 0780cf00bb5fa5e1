// Data that compresses stays in memory instead of going to the disk: nothing else may be different.
#include <cstdlib>

#include "tests/support/catch.h"
#include "tests/support/needs.h"
#include "tests/support/victims.h"

using namespace spillway::test;

namespace {

const char* const kUnder24M = "managed+24M";

// The number after the words in a report of SPILLWAY_STATS; -1: they are not there.
double figure_after(const std::string& text, const std::string& words) {
  const size_t at = text.find(words);
  return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + words.size(), nullptr);
}

}  // namespace

TEST_CASE("small integers beyond the limit are read and written at random, inherited, discarded and freed") {
  if (!managed_is_possible()) return;
  const Outcome got =
      run_victim(kUnder24M, "small_integers", {"96M", "all"}, {"SPILLWAY_STATS=1", "SPILLWAY_COMPRESS=auto"});
  INFO(got.text());
  CHECK(got.exit_code == 0);
  CHECK(got.out == "ok\n");
  CHECK(figure_after(got.err, "  compressed          extents ") > 40);
  CHECK(figure_after(got.err, "to disk later ") > 0);  // when the limit fell
  CHECK(figure_after(got.err, " extents and ") > 1000);
}
TEST_CASE("what is in compressed memory is not read from the disk") {
  if (!managed_is_possible()) return;
  const Outcome got = run_victim("managed+48M", "small_integers", {"96M", "reads"},
                                 {"SPILLWAY_STATS=1", "SPILLWAY_COMPRESS=auto"});
  INFO(got.text());
  CHECK(got.out == "ok\n");
  CHECK(figure_after(got.err, " extents and ") > 1000);
  CHECK(figure_after(got.err, "pager's lines       read ") == 0);
}

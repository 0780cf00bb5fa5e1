// Data that compresses stays in memory instead of going to the disk: nothing else may be different.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "tests/support/needs.h"
#include "tests/support/victims.h"

using namespace spillway::test;

namespace {

const char* const kTight = "managed+24M";

// The number after the words in a report of SPILLWAY_STATS; -1: they are not there.
double number_after(const std::string& text, const std::string& words) {
  const size_t at = text.find(words);
  return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + words.size(), nullptr);
}

}  // namespace

TEST_CASE("small integers beyond the limit are read and written at random, inherited, discarded and freed") {
  if (!managed_is_possible()) return;
  const Outcome got =
      run_victim(kTight, "small_integers", {"96M", "all"}, {"SPILLWAY_STATS=1", "SPILLWAY_COMPRESS=auto"});
  INFO(got.text());
  CHECK(got.exit_code == 0);
  CHECK(got.out == "ok\n");
  CHECK(number_after(got.err, "  compressed          extents ") > 40);
  CHECK(number_after(got.err, "to disk later ") > 0);  // when the limit fell
  CHECK(number_after(got.err, " extents and ") > 1000);
}
TEST_CASE("what is in compressed memory is not read from the disk") {
  if (!managed_is_possible()) return;
  const Outcome got = run_victim("managed+48M", "small_integers", {"96M", "reads"},
                                 {"SPILLWAY_STATS=1", "SPILLWAY_COMPRESS=auto"});
  INFO(got.text());
  CHECK(got.out == "ok\n");
  CHECK(number_after(got.err, " extents and ") > 1000);
  CHECK(number_after(got.err, "pager's lines       read ") == 0);
}

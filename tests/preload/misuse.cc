// Pointers that are not the allocator's to free: a message that names the pointer, and abort.
#include <signal.h>

#include <regex>

#include "tests/support/catch.h"
#include "tests/support/victims.h"

using namespace spillway::test;

namespace {

// The message is one line, names the pointer that the victim printed, and says what is wrong with it.
void expect_abort(const std::string& kind, const std::string& function, const std::string& complaint) {
  for (const std::string& backing : kBackings) {
    const Outcome got = run_victim(backing, "misuse", {kind});
    INFO(backing << ", misuse " << kind << ": " << got.text());
    CHECK(got.signal == SIGABRT);
    const std::string pointer = got.out.substr(0, got.out.find('\n'));
    CHECK(got.out == pointer + "\n");
    const std::string expected = "spillway: " + function + R"(\(\): )" + pointer + " " + complaint + "\n";
    CHECK(std::regex_match(got.err, std::regex(expected)));
  }
}

}  // namespace

TEST_CASE("freeing a large block twice ends in a message and abort") {
  expect_abort("large-twice", "free", "was freed twice");
}
TEST_CASE("freeing a small block twice in a row ends in a message and abort") {
  for (const char* kind : {"small-twice", "small-twice-later", "medium-twice"})
    expect_abort(kind, "free", "was freed twice");
}
TEST_CASE(
    "freeing a block below the threshold that is too large for the thread's cache twice, or an address "
    "inside, ends in a message and abort") {
  for (const char* kind : {"uncached-twice", "uncached-interior"})
    expect_abort(kind, "free", "was freed twice, or is not the start of an allocated block");
}
TEST_CASE("resizing a freed block below the threshold ends in a message and abort") {
  expect_abort("realloc-small-freed", "realloc", "was freed twice");
  expect_abort("realloc-uncached-freed", "realloc",
               "was freed twice, or is not the start of an allocated block");
}
TEST_CASE("freeing an address inside a large block ends in a message and abort") {
  for (const char* kind : {"interior", "interior-by-one", "end"})
    expect_abort(kind, "free", "is not the start of an allocated block");
}
TEST_CASE("resizing an address inside a large block ends in a message and abort") {
  expect_abort("realloc-interior", "realloc", "is not the start of an allocated block");
}
TEST_CASE("resizing a freed large block ends in a message and abort") {
  expect_abort("realloc-freed", "realloc", "was freed (twice|already)");
}
TEST_CASE("freeing memory that no allocator gave out ends in a message and abort") {
  for (const char* kind : {"stack", "static", "code", "foreign"})
    expect_abort(kind, "free", "is not the start of an allocated block");
}

// C++ allocation.
#include "tests/support/catch.h"
#include "tests/support/victims.h"

using namespace spillway::test;

TEST_CASE("every form of operator new and delete is served and routed like malloc") {
  same_on_every_backing("cxx_new_forms");
}
TEST_CASE("a new that cannot be served throws bad_alloc after asking the new_handler") {
  same_on_every_backing("cxx_bad_alloc");
}
TEST_CASE("a program's own operator new stays in charge") { same_on_every_backing("cxx_own_new"); }

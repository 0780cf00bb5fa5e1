// family_test.cc - what a family's processes know of each other's claims.
#include "libpreload/pager/family.h"

#include "tests/support/catch.h"
#include "tests/support/wait.h"
#include "tests/unit/in_child.h"

using spillway::Family;
using namespace spillway::test;

TEST_CASE("a process without children claims from nobody but itself") {
  Family family;
  CHECK(family.others().count == 0);  // not even founded
  family.found();
  family.tell(1000);
  CHECK(family.others().count == 0);
  CHECK(family.others().claimed_bytes == 0);
}

TEST_CASE("what a child will take is claimed before it runs, and told by it afterwards") {
  if (!kForkIsFine) return;
  Family family;
  family.found();
  family.tell(7);
  family.expect_child(500);
  CHECK(family.others().count == 1);
  CHECK(family.others().claimed_bytes == 500);
  const Ended child = in_child([&] {
    family.be_child();
    if (family.others().count != 1 || family.others().claimed_bytes != 7) return 1;
    family.tell(40);
    return 0;
  });
  CHECK(child.exit_code == 0);
  CHECK(family.others().claimed_bytes == 40);
  // It has ended, and says no more.
  CHECK(wait_until([&] { return family.others().count == 0; }));
  CHECK(family.others().claimed_bytes == 0);
}

TEST_CASE("more processes than there are places for claim nothing, and places are given again") {
  Family family;
  family.found();
  for (int i = 0; i < 400; ++i) family.expect_child(1);
  CHECK(family.others().count == 255);
  CHECK(wait_until([&] { return family.others().count == 0; }));
  family.expect_child(3);
  CHECK(family.others().claimed_bytes == 3);
}

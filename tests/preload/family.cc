// The malloc family: what every function promises, below, at and above the threshold.
#include "tests/support/catch.h"
#include "tests/support/victims.h"

using namespace spillway::test;

TEST_CASE("every function of the family gives aligned memory that is usable to its last byte") {
  same_on_every_backing("family_makes_usable_blocks");
}
TEST_CASE("blocks of all functions and sizes live side by side without touching each other") {
  same_on_every_backing("family_blocks_do_not_overlap");
}
TEST_CASE("a block from any function of the family can be passed to any other") {
  same_on_every_backing("any_function_takes_any_block");
}
TEST_CASE("a request that overflows or that no machine can serve gives NULL and ENOMEM") {
  same_on_every_backing("overflow_is_enomem");
}
TEST_CASE("calloc gives zeros also from recycled memory") {
  same_on_every_backing("calloc_is_zero_when_recycled");
}
TEST_CASE("calloc gives zeros from recycled memory where files cannot be punched") {
  ok_on_every_backing("calloc_is_zero_when_recycled", {}, {"SPILLWAY_MASK=punch"});
  ok_on_every_backing("calloc_is_zero_when_recycled", {}, {"SPILLWAY_MASK=tmpfile,fallocate,punch,perf"});
}
TEST_CASE("realloc keeps the bytes across the threshold in both directions") {
  same_on_every_backing("realloc_keeps_data_across_threshold");
}
TEST_CASE("realloc resizes in place when it can") { ok_on_every_backing("realloc_grows_in_place"); }
TEST_CASE("a realloc that fails keeps the old block") {
  same_on_every_backing("realloc_failure_keeps_block");
}
TEST_CASE("requests of nothing and operations on NULL are answered as by glibc") {
  same_on_every_backing("zero_and_null");
}
TEST_CASE("free leaves errno alone") { same_on_every_backing("free_keeps_errno"); }
TEST_CASE("the contents of blocks are never taken for bookkeeping") {
  same_on_every_backing("data_looks_like_pointers");
}
TEST_CASE("malloc_trim gives freed memory back") { ok_on_every_backing("trim_gives_memory_back"); }
TEST_CASE("freed blocks return memory and disk, also without malloc_trim") {
  ok_on_every_backing("freed_blocks_return_memory");
}

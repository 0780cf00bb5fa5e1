// Very many blocks, and many threads that exchange them.
#include <cstdlib>

#include "tests/support/catch.h"
#include "tests/support/victims.h"

using namespace spillway::test;

TEST_CASE("a hundred thousand large blocks do not run into vm.max_map_count and give their memory back") {
  for (const std::string& backing : kBackings) {
    // Disk space is reserved for each of them, which takes minutes while others write: both ways of spilling
    // only in the soak.
    if (backing == "managed" && std::getenv("SPILLWAY_SOAK") == nullptr) continue;
    require_ok(run_victim(backing, "many_large_blocks", {"64k"}, {"SPILLWAY_THRESHOLD=64k"}));
  }
}
TEST_CASE("16 threads that exchange blocks find no corruption and no growth") {
  for (const std::string& backing : kBackings) {
    for (const char* threshold : {"SPILLWAY_THRESHOLD=4M", "SPILLWAY_THRESHOLD=64k"})
      require_ok(run_victim(backing, "threads_exchange_blocks", {"16", "3000"}, {threshold}));
  }
}
TEST_CASE("16 threads that exchange blocks find no corruption while memory is held under a limit") {
  require_ok(run_victim("file", "threads_exchange_blocks", {"16", "2000"},
                        {"SPILLWAY_THRESHOLD=64k", "SPILLWAY_LIMIT=32M"}));
}
TEST_CASE("threads that exchange blocks find no corruption where files cannot be punched") {
  require_ok(run_victim("file", "threads_exchange_blocks", {"4", "2000"},
                        {"SPILLWAY_THRESHOLD=64k", "SPILLWAY_MASK=punch"}));
}
TEST_CASE("a thread that only frees what another allocates may meet the same block again and again") {
  for (const std::string& backing : kBackings)
    for (const char* bytes : {"16", "5000", "20000", "100000", "1M", "5M"})
      require_ok(run_victim(backing, "only_frees", {"300", bytes}));
}
TEST_CASE("memory may have blocks of one size after another, and each may be freed at once") {
  for (const std::string& backing : kBackings) require_ok(run_victim(backing, "sizes_take_turns"));
}
TEST_CASE("all is the same where jemalloc has no caches of threads") {
  for (const char* victim : {"sizes_take_turns", "any_function_takes_any_block", "small_blocks"})
    require_ok(run_victim("plain", victim, {}, {"MALLOC_CONF=tcache:false"}));
}

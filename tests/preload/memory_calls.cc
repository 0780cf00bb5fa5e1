// mprotect, mlock, madvise and mremap of the program on our blocks and on its own mappings: as on plain
// Linux.
#include "tests/support/catch.h"
#include "tests/support/memory_cap.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"

using namespace spillway::test;

TEST_CASE("mprotect of part of a block protects it, and freed blocks come back writable") {
  same_on_every_backing("mprotect_part");
}
TEST_CASE("mlock of a block keeps it in memory until it is unlocked or freed") {
  same_on_every_backing("mlock_block");
}
TEST_CASE("MADV_DONTNEED gives zeros and leaves the rest of the block") {
  same_on_every_backing("madvise_dontneed_gives_zeros");
  ok_on_every_backing("madvise_dontneed_gives_zeros", {}, {"SPILLWAY_MASK=punch"});
}
TEST_CASE("other advice does what it does on anonymous memory") {
  same_on_every_backing("madvise_as_on_plain_memory");
}
TEST_CASE("MADV_DONTNEED of one side of a fork leaves the other side's data") {
  same_on_every_backing("madvise_in_a_child");
}
TEST_CASE("mremap of the program's own mappings is left alone") {
  same_on_every_backing("mremap_of_own_mappings");
}
TEST_CASE("mremap of pages of a block moves their contents") { same_on_every_backing("mremap_of_blocks"); }
TEST_CASE("mappings of the program's own are left alone, also in place of pages of a block") {
  same_on_every_backing("mappings_grow");
}
TEST_CASE("an allocator of the program's own finds its mappings as on plain Linux when they are captured") {
  same_on_every_backing("maps_own_memory");
  same_on_every_backing("maps_own_memory", {}, {"SPILLWAY_MMAP=1"});
  same_on_every_backing("maps_own_memory", {}, {"SPILLWAY_MMAP=1", "SPILLWAY_LIMIT=16M"}, {"1M"});
}
TEST_CASE("parts of captured mappings can be mapped anew, and be unmapped twice") {
  same_on_every_backing("maps_in_place", {}, {"SPILLWAY_MMAP=1"});
  require_ok(run_victim("file", "maps_in_place", {}, {"SPILLWAY_MMAP=1", "SPILLWAY_LIMIT=16M"}));
}
TEST_CASE("captured mappings leave memory") {
  if (!MemoryCap::possible()) return;
  for (const char* backing : {"auto", "file"}) {
    ScratchDir dir;
    MemoryCap cap(96 << 20);
    Command command = preloaded(
        {"SPILLWAY_DIR=" + dir.path(), std::string("SPILLWAY_BACKING=") + backing, "SPILLWAY_MMAP=1"},
        {victim("maps_own_memory"), "100M"});
    command.cap = &cap;
    const Outcome got = run(command);
    INFO(backing << ": OOM kills " << cap.oom_kills());
    require_ok(got);
  }
}

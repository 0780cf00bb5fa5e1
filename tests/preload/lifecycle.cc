// Allocation at the edges of a process's, a thread's and a library's life.
#include "tests/support/catch.h"
#include "tests/support/leftovers.h"
#include "tests/support/paths.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/victims.h"

using namespace spillway::test;

TEST_CASE("blocks made before main, down to .preinit_array, live on in main") {
  same_on_every_backing("allocates_before_main");
}
TEST_CASE("allocation works after the exit handlers began") { same_on_every_backing("allocates_after_main"); }
TEST_CASE("the destructors of a thread that ends may allocate and free") {
  same_on_every_backing("thread_exit_destructors");
}
TEST_CASE("a process whose threads still allocate ends quietly") {
  for (int i = 0; i < 5; ++i) same_on_every_backing("exits_while_threads_allocate");
}
TEST_CASE("plugins that allocate when they come and go are loaded and unloaded") {
  same_on_every_backing("dlopens_a_plugin");
}
TEST_CASE("the report names call sites in plugins that are gone, or leaves them out, and breaks nothing") {
  ScratchDir dir;
  for (const std::string& backing : kBackings)
    require_ok(run_victim(backing, "dlopens_a_plugin", {"10"}, {"SPILLWAY_STATS=" + (dir / "report")}));
  CHECK(dir.read("report").find("large allocations") != std::string::npos);
}
TEST_CASE(
    "libraries preloaded beside ours allocate in their constructors and destructors, on either side of it") {
  for (const std::string& backing : kBackings) {
    for (const std::string& preload : {preload_lib() + " " + victim("plugin_allocates.so"),
                                       victim("plugin_allocates.so") + ":" + preload_lib()}) {
      INFO(preload);
      require_ok(run_victim(backing, "works_as_usual", {}, {"LD_PRELOAD=" + preload}));
      require_ok(run_victim(backing, "allocates_before_main", {}, {"LD_PRELOAD=" + preload}));
    }
  }
}

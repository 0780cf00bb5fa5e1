// locks.cc - one writer: others are refused, the dead are succeeded, children are not their parents.
#include <sched.h>
#include <sys/prctl.h>

#include <atomic>

#include "tests/segstore/support.h"
#include "tests/support/needs.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::test;

TEST_CASE("a second writer is refused, told who has the store, and the first goes on") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  must(store.put("k", "v"));
  const auto second = Store::open(dir / "s", quick(dir));
  CHECK(second.status().code() == StoreCode::kLocked);
  CHECK(second.status().message().find("process " + std::to_string(getpid())) != std::string::npos);
  Child child(
      [&] { return Store::open(dir / "s", quick(dir)).status().code() == StoreCode::kLocked ? 0 : 1; });
  CHECK(child.wait() == 0);
  must(store.put("k", "w"));
  CHECK(value_of(store, "k") == "w");
}

TEST_CASE("the lock of a dead process is taken over") {
  ScratchDir dir;
  Shared<std::atomic<int>> ready;
  Child child([&] {
    auto store = Store::open(dir / "s", quick(dir));
    (void)store->put("k", "v");
    *ready = 1;
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(wait_until([&] { return *ready == 1; }));
  CHECK(Store::open(dir / "s", quick(dir)).status().code() == StoreCode::kLocked);
  child.kill();
  CHECK(child.wait() == 1000 + SIGKILL);
  Store store = must(Store::open(dir / "s", quick(dir)));
  CHECK(value_of(store, "k") == "v");
}

TEST_CASE("the lock of a live process in another pid namespace is never taken over") {
  ScratchDir dir;
  Shared<std::atomic<int>> state;
  Child child([&] {
    if (::unshare(CLONE_NEWPID) != 0) {
      *state = -1;
      return 0;
    }
    Child inner([&] {  // its number there is 1, which says nothing here
      (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
      auto store = Store::open(dir / "s", quick(dir));
      *state = store.ok() ? 1 : -2;
      for (;;) ::pause();
      return 0;
    });
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(wait_until([&] { return *state != 0; }));
  if (*state == -1) {
    skip("this user may not make a pid namespace");
    return;
  }
  REQUIRE(*state == 1);
  CHECK(Store::open(dir / "s", quick(dir)).status().code() == StoreCode::kLocked);
  CHECK(must(must(Store::open_reader(dir / "s")).state()).writer_pid != 0);
  child.kill();
}

TEST_CASE("a forked child cannot write through its parent's store, and its end does the parent no harm") {
  ScratchDir dir;
  Store store = must(Store::open(dir / "s", quick(dir)));
  must(store.put("k", "v"));
  Child child([&] {
    const bool refused = store.put("k", "child").status().code() == StoreCode::kForked;
    const bool reads = store.get("k")->view() == "v";
    (void)store.close();
    return refused && reads ? 0 : 1;
  });
  CHECK(child.wait() == 0);
  must(store.put("k", "w"));
  CHECK(value_of(store, "k") == "w");
}

TEST_CASE("a child that was forked while a store was open does not keep its lock, nor a slot of its ring") {
  ScratchDir dir;
  for (const bool shared : {false, true}) {
    const auto open = [&] {
      return shared ? Store::open_shared(dir / "s", quick(dir)) : Store::open(dir / "s", quick(dir));
    };
    Store store = must(open());
    must(store.put("k", "v"));
    Child child([] {
      for (;;) ::pause();
      return 0;
    });
    must(store.close());
    must(must(open()).put("k", "w"));
    // Nor of a process that dies.
    Shared<std::atomic<pid_t>> grandchild;
    Child writer([&] {
      auto its = open();
      const pid_t pid = fork_process();
      if (pid == 0)
        for (;;) ::pause();
      *grandchild = pid;
      for (;;) ::pause();
      return 0;
    });
    REQUIRE(wait_until([&] { return *grandchild != 0; }));
    writer.kill();
    (void)writer.wait();
    const auto again = open();
    ::kill(*grandchild, SIGKILL);
    INFO(again.status().message());
    CHECK(again.ok());
  }
}

// callsite_test.cc - calls from one place are summed up. Frames of this program count as the library's own
// here, so the places are told apart by what calls back from libc: bsearch from two functions.
#include "libpreload/callsite.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "tests/support/needs.h"
#include "tests/support/wait.h"

#include "tests/support/catch.h"

using namespace spillway;

namespace {

thread_local CallSites* counting = nullptr;
thread_local uint64_t bytes_to_note = 0;
thread_local CallSite* noted = nullptr;

int note_here(const void*, const void*) {
  noted = counting->note(bytes_to_note);
  return 0;
}

// bsearch is inlined from <stdlib.h> when optimising; through a pointer it is libc's.
void* (*volatile search)(const void*, const void*, size_t, size_t,
                         int (*)(const void*, const void*)) = bsearch;

__attribute__((noinline)) CallSite* first_place(uint64_t bytes) {
  const int one = 1;
  bytes_to_note = bytes;
  (void)search(&one, &one, 1, sizeof one, note_here);
  asm volatile("" ::: "memory");  // no tail call
  return noted;
}
__attribute__((noinline)) CallSite* second_place(uint64_t bytes) {
  const int one = 1;
  bytes_to_note = bytes;
  (void)search(&one, &one, 1, sizeof one, note_here);
  asm volatile("" ::: "memory");
  return noted;
}

bool needs_unwinder() {
  if (dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL) != nullptr) return true;
  test::skip("needs libunwind");
  return false;
}

struct Counting {
  Counting() {
    sites->load_unwinder();
    counting = sites.get();
  }
  std::unique_ptr<CallSites> sites = std::make_unique<CallSites>();
};

}  // namespace

TEST_CASE("without an unwinder no call site is known") {
  auto sites = std::make_unique<CallSites>();
  CallSite* top[4];
  CHECK(sites->note(100) == nullptr);
  CHECK(sites->top(top, 4) == 0);
}

TEST_CASE("calls from one place are one site, from another place another") {
  if (!needs_unwinder()) return;
  Counting c;
  CallSite* sites[2];
  volatile int rounds = 2;  // not to be unrolled: one call for both
  for (int i = 0; i < rounds; ++i) sites[i] = first_place(100);
  CallSite* other = second_place(1000);
  REQUIRE(sites[0] != nullptr);
  CHECK(sites[1] == sites[0]);
  REQUIRE(other != nullptr);
  CHECK(other != sites[0]);
  CHECK(sites[0]->bytes == 200);
  CHECK(sites[0]->calls == 2);
  CHECK(other->bytes == 1000);
}

TEST_CASE("the sites with most bytes come first, and no more than asked for") {
  if (!needs_unwinder()) return;
  Counting c;
  CallSite* small = first_place(10);
  CallSite* large = second_place(1000);
  CallSite* top[2] = {};
  REQUIRE(c.sites->top(top, 2) == 2);
  CHECK(top[0] == large);
  CHECK(top[1] == small);
  REQUIRE(c.sites->top(top, 1) == 1);
  CHECK(top[0] == large);
}

TEST_CASE("a site is described by its callers, within the room there is") {
  if (!needs_unwinder()) return;
  Counting c;
  CallSite* site = first_place(10);
  REQUIRE(site != nullptr);
  char text[600];
  describe(*site, text, sizeof text);
  INFO(text);
  CHECK(std::string(text).find("+0x") != std::string::npos);
  CHECK(std::string(text).find(" <- ") != std::string::npos);
  char little[16];
  describe(*site, little, sizeof little);
  CHECK(std::string(little) == std::string(text).substr(0, 15));
}

TEST_CASE("calls of several threads from one place are all counted, from the first on") {
  if (!needs_unwinder()) return;
  constexpr int kThreads = 4, kRounds = 40;
  // For ever: so are the threads, under the thread sanitizer.
  static auto* const rounds = new CallSites[kRounds];
  static std::barrier all(kThreads);
  static std::atomic<int> finished = 0;
  for (int i = 0; i < kRounds; ++i) rounds[i].load_unwinder();
  for (int t = 0; t < kThreads; ++t)
    std::thread([] {
      for (int round = 0; round < kRounds; ++round) {
        counting = &rounds[round];
        all.arrive_and_wait();  // they enter a new place at once
        for (int i = 0; i < 5; ++i) first_place(10);
      }
      ++finished;
#ifdef __SANITIZE_THREAD__
      for (;;) pause();  // libunwind takes a lock when a thread ends, after the sanitizer is done with it
#endif
    }).detach();
  REQUIRE(test::wait_until([] { return finished == kThreads; }));
  for (int round = 0; round < kRounds; ++round) {
    CallSite* top[64];
    const size_t count = rounds[round].top(top, 64);
    uint64_t calls = 0, bytes = 0;
    for (size_t i = 0; i < count; ++i) {
      calls += top[i]->calls;
      bytes += top[i]->bytes;
    }
    CHECK(calls == kThreads * 5);
    CHECK(bytes == kThreads * 50);
    CHECK(count <= kThreads);  // each may enter the place for itself
  }
}

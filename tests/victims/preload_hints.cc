// preload_hints: what <spillway/preload.h> offers, on a block four times the limit. With the argument
// `plain`: every function says that there is no preload, and nothing happens. With `files`: for blocks in
// files.
#include <spillway/preload.h>

#include <chrono>
#include <thread>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

// Waits for what the library does in the background.
template <typename Condition>
void wait_for(Condition condition, const char* what) {
  for (int i = 0; i < 3000; ++i) {
    if (condition()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  complain("%s did not come", what);
}

size_t resident(const void* p, size_t bytes) {
  const int64_t n = spillway_preload_resident(p, bytes);
  EXPECT(n >= 0, "resident: %s", strerror(errno));
  return static_cast<size_t>(n);
}

void advise(const void* p, size_t bytes, spillway_advice advice) {
  EXPECT(spillway_preload_advise(p, bytes, advice) == 0, "advice %d: %s", advice, strerror(errno));
}

spillway_preload_statistics statistics() {
  spillway_preload_statistics s;
  EXPECT(spillway_preload_get_statistics(&s) == 0, "statistics: %s", strerror(errno));
  return s;
}

void check_refusals(char* block, size_t bytes) {
  int stack = 0;
  char* small = must_malloc(64);
  for (const void* p : {static_cast<const void*>(&stack), static_cast<const void*>(small)}) {
    errno = 0;
    EXPECT(spillway_preload_advise(p, 4, SPILLWAY_ADVICE_RANDOM) == -1 && errno == EINVAL,
           "not a large block");
    EXPECT(spillway_preload_prefetch(p, 4) == -1 && errno == EINVAL, "not a large block");
    EXPECT(spillway_preload_resident(p, 4) == -1 && errno == EINVAL, "not a large block");
  }
  EXPECT(spillway_preload_advise(block, bytes + MiB, SPILLWAY_ADVICE_RANDOM) == -1, "more than the block");
  EXPECT(spillway_preload_advise(block, 0, SPILLWAY_ADVICE_RANDOM) == -1, "nothing");
  EXPECT(spillway_preload_advise(block, SIZE_MAX, SPILLWAY_ADVICE_RANDOM) == -1, "all there is");
  EXPECT(spillway_preload_advise(block, bytes, static_cast<spillway_advice>(6)) == -1, "no such advice");
  EXPECT(spillway_preload_advise(block, bytes, static_cast<spillway_advice>(-1)) == -1, "no such advice");
  free(small);
}

void check_plain() {
  char* block = must_malloc(8 * MiB);
  spillway_preload_statistics s;
  EXPECT(!spillway_preload_present(), "present in a plain run");
  errno = 0;
  EXPECT(spillway_preload_advise(block, MiB, SPILLWAY_ADVICE_DROP) == -1 && errno == ENOSYS, "advise");
  EXPECT(spillway_preload_prefetch(block, MiB) == -1 && errno == ENOSYS, "prefetch");
  EXPECT(spillway_preload_resident(block, MiB) == -1 && errno == ENOSYS, "resident");
  EXPECT(spillway_preload_set_limit(MiB) == -1 && errno == ENOSYS, "limit");
  EXPECT(spillway_preload_get_statistics(&s) == -1 && errno == ENOSYS, "statistics");
  free(block);
}

// Every advice on every page, with the right bytes.
void check_bytes(char* block, size_t bytes) {
  for (int advice = SPILLWAY_ADVICE_NORMAL; advice <= SPILLWAY_ADVICE_DROP; ++advice) {
    advise(block, bytes, static_cast<spillway_advice>(advice));
    EXPECT(spillway_preload_prefetch(block + bytes / 3, bytes / 2) == 0, "prefetch: %s", strerror(errno));
    EXPECT_FILLED(block, bytes, 1, "a block with advice");
    advise(block + 5000, bytes / 2, SPILLWAY_ADVICE_NORMAL);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "plain") {
    check_plain();
    return done();
  }
  constexpr size_t kBytes = 96 * MiB, kPart = 8 * MiB;
  EXPECT(spillway_preload_present(), "not present");
  char* block = must_malloc(kBytes);
  advise(block, kPart, SPILLWAY_ADVICE_KEEP);  // before there is a need
  fill(block, kPart, 2);
  fill(block + kPart, kBytes - kPart, 3);
  check_refusals(block, kBytes);
  EXPECT(statistics().large_bytes >= kBytes, "large bytes");
  EXPECT(statistics().peak_large_bytes >= kBytes, "peak");
  EXPECT(statistics().limit_bytes == 24 * MiB, "limit");

  if (what != "files") {
    EXPECT_FILLED(block, kPart, 2, "the part to keep");
    for (int i = 0; i < 3; ++i) EXPECT_FILLED(block + kPart, kBytes - kPart, 3, "the rest");
    EXPECT(resident(block, kPart) >= kPart / 2, "what is to be kept left: %zu bytes are there",
           resident(block, kPart));
    advise(block, kPart, SPILLWAY_ADVICE_DROP);
    wait_for([&] { return resident(block, kPart) == 0; }, "the end of what was dropped");
    EXPECT(statistics().written_bytes > 0 && statistics().read_bytes > 0 && statistics().faults > 0,
           "statistics");
  }
  EXPECT_FILLED(block, kPart, 2, "the part that was kept");
  fill(block, kBytes, 1);
  check_bytes(block, kBytes);
  const size_t half = 12 * MiB;
  EXPECT(spillway_preload_set_limit(half) == 0, "limit: %s", strerror(errno));
  EXPECT(statistics().limit_bytes == half, "limit in force");
  EXPECT_FILLED(block, kBytes, 1, "a block under half the limit");
  if (what != "files")
    wait_for([&] { return resident(block, kBytes) <= half + half / 8; }, "the lower limit");
  EXPECT(spillway_preload_set_limit(0) == 0, "limit: %s", strerror(errno));
  EXPECT_FILLED(block, kBytes, 1, "a block without a limit");
  free(block);
  return done();
}

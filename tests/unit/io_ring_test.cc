#include "base/os/io_ring.h"

#include <signal.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "base/core/units.h"
#include "base/os/file.h"
#include "tests/unit/heap_fixture.h"

#include "tests/support/catch.h"

using namespace spillway;

namespace {

// In a thread with descriptors of its own, without which there is no io_uring, and no stdout: Catch2 is not
// for the body. False: there was no file or no ring.
bool with_ring(const std::function<void(os::IoRing&, int file)>& body) {
  test::ScratchDir dir;
  bool ok = false;
  std::thread([&] {
    (void)os::use_own_descriptors();
    Result<os::Fd> file = os::open_unlinked(dir.path().c_str(), /*allow_tmpfile=*/true);
    os::IoRing ring;
    ok = file && ring.open(file->get(), /*asynchronous=*/true).ok();
    if (ok) body(ring, file->get());
  }).join();
  return ok;
}

// Until one of them is through.
os::IoRing::Done wait_for_one(os::IoRing& ring) {
  os::IoRing::Done done{};
  while (ring.finished(&done, 1) == 0) {
    ring.wait(1000);
    (void)ring.look();
  }
  return done;
}

}  // namespace

TEST_CASE("a write that can only be done in part says what kept it from the rest") {
  void (*const before)(int) = ::signal(SIGXFSZ, SIG_IGN);
  os::IoRing::Done done{};
  {
    test::SoftLimit limit(RLIMIT_FSIZE, 2 * kPageBytes);
    CHECK(with_ring([&](os::IoRing& ring, int file) {
      const std::vector<char> bytes(4 * kPageBytes, 'x');
      ring.write(file, bytes.data(), 4 * kPageBytes, 0, 7);
      done = wait_for_one(ring);
    }));
  }
  ::signal(SIGXFSZ, before);
  CHECK(done.tag == 7);
  CHECK(done.error == EFBIG);
}

TEST_CASE("as many reads and writes at once as agreed find their own bytes, over and over") {
  int wrong = 0;
  CHECK(with_ring([&](os::IoRing& ring, int file) {
    constexpr uint32_t kCount = os::IoRing::kDepth;
    std::vector<char> out(kCount * kPageBytes), in(kCount * kPageBytes);
    for (int round = 0; round < 5; ++round) {
      for (uint32_t i = 0; i < kCount; ++i)
        memset(out.data() + i * kPageBytes, static_cast<int>(i) + round, kPageBytes);
      for (const bool writes : {true, false}) {
        std::vector<bool> through(kCount);
        for (uint32_t i = 0; i < kCount; ++i)
          if (writes)
            ring.write(file, out.data() + i * kPageBytes, kPageBytes, i * kPageBytes, i);
          else
            ring.read(file, in.data() + i * kPageBytes, kPageBytes, i * kPageBytes, i);
        for (uint32_t i = 0; i < kCount; ++i) {
          const os::IoRing::Done done = wait_for_one(ring);
          wrong += !done.error.ok();
          through[done.tag] = true;
        }
        wrong += std::count(through.begin(), through.end(), true) != kCount;
      }
      wrong += in != out;
    }
  }));
  CHECK(wrong == 0);
}

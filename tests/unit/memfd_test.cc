#include "base/os/memfd.h"

#include <atomic>
#include <cstring>
#include <thread>

#include "base/core/units.h"

#include "tests/support/catch.h"

using namespace spillway;

TEST_CASE("a memory file is mapped for reading also at the moment at which it is sealed") {
  constexpr uint64_t kBytes = 2 * kMiB;
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    Result<os::Fd> file = os::make_memfd("spillway-test", kBytes);
    REQUIRE(file);
    {
      Result<os::Mapping> writable = os::Mapping::read_write(file->get(), 0, kBytes, false);
      REQUIRE(writable);
      memset(writable->data(), 'a' + i % 26, kBytes);
    }
    std::atomic<bool> goes{false}, sealed{false};
    std::thread sealer([&] {
      goes = true;
      while (!os::seal_memfd(file->get()).ok()) continue;  // not while it is mapped
      sealed = true;
    });
    while (!goes) continue;
    do {
      Result<os::Mapping> mapped = os::Mapping::read_only(file->get(), 0, kBytes);
      refused += !mapped || mapped->data()[kBytes - 1] != 'a' + i % 26;
    } while (!sealed);
    sealer.join();
  }
  REQUIRE(refused == 0);
}

// fault_samples_test.cc - the kernel's reports of major faults.
#include "base/os/fault_samples.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thread>

#include "base/os/clock.h"
#include "base/os/file.h"
#include "base/os/memory.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/wait.h"

#include "tests/support/catch.h"

using namespace spillway;

namespace {

// A page of a file that is not in the page cache, mapped.
struct ColdPage {
  ColdPage() : range(*os::reserve(kPageBytes, kPageBytes)) {
    REQUIRE(os::write_all(fd.get(), "cold", 4, 0).ok());
    os::drop_from_cache(fd.get(), 0, kPageBytes);
    REQUIRE(os::map_file_shared(range, fd.get(), 0).ok());
  }
  ~ColdPage() { os::unreserve(range); }

  test::ScratchDir directory;
  os::Fd fd = std::move(*os::open_unlinked(directory.path().c_str(), true));
  PageRange range;
};

bool sees(os::FaultSamples& faults, const char* address) {
  faults.wait(1);
  os::FaultSample samples[64];
  bool seen = false;
  while (int n = faults.read(samples, 64))
    for (int i = 0; i < n; ++i) seen |= samples[i].address == address;
  return seen;
}

// Where the kernel or the sanitizer does not let us see faults there is nothing to test.
bool open(os::FaultSamples& faults) {
  const Errno e = faults.open();
  if (!e.ok()) WARN("no fault events here: error " << e.code());
  return e.ok();
}

}  // namespace

TEST_CASE("a wait for a page on disk is reported with its address, also of a thread that started later") {
  os::FaultSamples faults;
  if (!open(faults)) return;
  ColdPage mine, theirs;
  CHECK(mine.range.base[0] == 'c');
  CHECK(test::wait_until([&] { return sees(faults, mine.range.base); }));
  std::thread([&] { (void)*static_cast<volatile char*>(theirs.range.base); }).join();
  CHECK(test::wait_until([&] { return sees(faults, theirs.range.base); }));
}

TEST_CASE("waiting for faults is waiting, also after threads ended") {
  std::atomic<bool> end = false;
  std::thread early([&] {
    while (!end) std::this_thread::yield();
  });
  os::FaultSamples faults;
  const bool possible = open(faults);
  end = true;
  early.join();
  if (!possible) return;
  const uint64_t start = os::monotonic_ms();
  for (int i = 0; i < 20; ++i) {
    faults.wait(10);
    os::FaultSample samples[16];
    while (faults.read(samples, 16) != 0) {
    }
  }
  CHECK(os::monotonic_ms() - start >= 100);
  ColdPage page;
  CHECK(page.range.base[0] == 'c');
  CHECK(test::wait_until([&] { return sees(faults, page.range.base); }));
}

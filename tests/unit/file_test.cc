// file_test.cc - descriptors and region files (base/os/file.h).
#include "base/os/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/core/units.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/wait.h"
#include "tests/unit/heap_fixture.h"

#include "tests/support/catch.h"

using namespace spillway;
using test::ScratchDir;

namespace {

struct stat stat_of(int fd) {
  struct stat st {};
  REQUIRE(fstat(fd, &st) == 0);
  return st;
}
uint64_t disk_bytes(int fd) { return static_cast<uint64_t>(stat_of(fd).st_blocks) * 512; }
std::string content(int fd, uint64_t bytes, uint64_t offset) {
  std::string text(bytes, '?');
  REQUIRE(pread(fd, text.data(), bytes, static_cast<off_t>(offset)) == static_cast<ssize_t>(bytes));
  return text;
}

}  // namespace

TEST_CASE("a region file has no name, is closed by exec, and keeps off the low numbers") {
  ScratchDir dir;
  for (const bool tmpfile : {true, false}) {
    auto fd = os::open_unlinked(dir.path().c_str(), tmpfile);
    REQUIRE(fd);
    CHECK(dir.files().empty());
    CHECK(stat_of(fd->get()).st_nlink == 0);
    CHECK((fcntl(fd->get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(fd->get() > 255);
  }
}

TEST_CASE("a region file in a directory that is not there is ENOENT, with or without O_TMPFILE") {
  ScratchDir dir;
  for (const bool tmpfile : {true, false}) {
    auto fd = os::open_unlinked((dir / "missing").c_str(), tmpfile);
    REQUIRE_FALSE(fd);
    CHECK(fd.error() == ENOENT);
  }
}

TEST_CASE("a directory whose name is too long for a file in it is ENAMETOOLONG") {
  const std::string path = "/" + std::string(5000, 'x');
  for (const bool tmpfile : {true, false}) {
    auto fd = os::open_unlinked(path.c_str(), tmpfile);
    REQUIRE_FALSE(fd);
    CHECK(fd.error() == ENAMETOOLONG);
  }
}

TEST_CASE("a file that has become its owner's is closed with the owner and not before") {
  int number;
  {
    os::Fd a = os::open_high("/dev/null", O_RDONLY);
    REQUIRE(a.valid());
    number = a.get();
    os::Fd b = std::move(a);
    CHECK_FALSE(a.valid());  // NOLINT: moved from on purpose
    CHECK(test::is_open(number));
    os::Fd c = os::open_high("/dev/zero", O_RDONLY);
    const int other = c.get();
    c = std::move(b);
    CHECK_FALSE(test::is_open(other));
    CHECK(c.get() == number);
  }
  CHECK_FALSE(test::is_open(number));
}

TEST_CASE("a released descriptor stays open") {
  os::Fd fd = os::open_high("/dev/null", O_RDONLY);
  const int number = fd.release();
  fd.reset();
  CHECK(test::is_open(number));
  close(number);
}

TEST_CASE("a file moved to a high number is the same file, and the low number is free") {
  const int low = open("/dev/null", O_RDONLY | O_CLOEXEC);
  auto before = os::identify(low);
  os::Fd high = os::move_high(os::Fd(low));
  CHECK(high.get() > low);
  CHECK_FALSE(test::is_open(low));
  auto after = os::identify(high.get());
  REQUIRE((before && after));
  CHECK(*before == *after);
}

TEST_CASE("two region files have two identities, and a closed number has none") {
  ScratchDir dir;
  auto a = os::open_unlinked(dir.path().c_str(), true);
  auto b = os::open_unlinked(dir.path().c_str(), true);
  REQUIRE((a && b));
  CHECK_FALSE(*os::identify(a->get()) == *os::identify(b->get()));
  const int number = b->get();
  b->reset();
  CHECK(os::identify(number).error() == EBADF);
}

TEST_CASE("a longer file is a hole that takes no disk and reads as zeroes") {
  ScratchDir dir;
  auto fd = os::open_unlinked(dir.path().c_str(), true);
  REQUIRE(os::set_length(fd->get(), 64 * kMiB).ok());
  CHECK(stat_of(fd->get()).st_size == static_cast<off_t>(64 * kMiB));
  CHECK(disk_bytes(fd->get()) < kMiB);
  CHECK(content(fd->get(), 8, 32 * kMiB) == std::string(8, '\0'));
}

TEST_CASE("a file longer than RLIMIT_FSIZE is EFBIG and no signal") {
  ScratchDir dir;
  auto fd = os::open_unlinked(dir.path().c_str(), true);
  test::SoftLimit limit(RLIMIT_FSIZE, 16 * kMiB);
  CHECK(os::set_length(fd->get(), 16 * kMiB + 1) == EFBIG);
  CHECK(os::set_length(fd->get(), 16 * kMiB).ok());
}

TEST_CASE("preallocated bytes have disk blocks, with and without fallocate") {
  ScratchDir dir;
  for (const bool fallocate : {true, false}) {
    auto fd = os::open_unlinked(dir.path().c_str(), true);
    REQUIRE(os::set_length(fd->get(), 8 * kMiB).ok());
    REQUIRE(os::preallocate(fd->get(), 2 * kMiB, 3 * kMiB + kPageBytes, fallocate).ok());
    CHECK(fsync(fd->get()) == 0);
    CHECK(disk_bytes(fd->get()) >= 3 * kMiB + kPageBytes);
    CHECK(disk_bytes(fd->get()) < 5 * kMiB);
  }
}

TEST_CASE("preallocating with fallocate leaves the bytes that are there") {
  ScratchDir dir;
  auto fd = os::open_unlinked(dir.path().c_str(), true);
  REQUIRE(os::write_all(fd->get(), "kept", 4, 5000).ok());
  REQUIRE(os::preallocate(fd->get(), 0, kMiB, true).ok());
  CHECK(content(fd->get(), 4, 5000) == "kept");
}

TEST_CASE("a zeroed range reads as zeroes, keeps its disk blocks, and leaves its neighbours alone") {
  ScratchDir dir;
  auto fd = os::open_unlinked(dir.path().c_str(), true);
  const std::string text(4 * kMiB, 'x');
  REQUIRE(os::write_all(fd->get(), text.data(), text.size(), 0).ok());
  const Errno e = os::zero_range(fd->get(), kMiB, kMiB);
  if (e == EOPNOTSUPP) return;  // this file system cannot; callers write zeroes then
  REQUIRE(e.ok());
  CHECK(fsync(fd->get()) == 0);
  CHECK(content(fd->get(), kMiB, kMiB) == std::string(kMiB, '\0'));
  CHECK(content(fd->get(), 1, kMiB - 1) == "x");
  CHECK(content(fd->get(), 1, 2 * kMiB) == "x");
  CHECK(disk_bytes(fd->get()) >= 4 * kMiB);
}

TEST_CASE("bytes written are there at their offset, and a failure is the kernel's reason") {
  ScratchDir dir;
  auto fd = os::open_unlinked(dir.path().c_str(), true);
  REQUIRE(os::write_all(fd->get(), "hello", 5, 100).ok());
  CHECK(content(fd->get(), 5, 100) == "hello");
  os::Fd read_only = os::open_high("/dev/null", O_RDONLY);
  CHECK(os::write_all(read_only.get(), "x", 1, 0) == EBADF);
  os::Fd full = os::open_high("/dev/full", O_WRONLY);
  CHECK(os::write_all(full.get(), "x", 1, 0) == ENOSPC);
  CHECK(os::write_stream(full.get(), "x", 1) == ENOSPC);
}

TEST_CASE("a report is appended to what its file has") {
  ScratchDir dir;
  dir.write("report", "first\n");
  {
    os::Fd fd = os::open_append((dir / "report").c_str());
    REQUIRE(os::write_stream(fd.get(), "second\n", 7).ok());
    os::Fd again = os::duplicate(fd.get());
    REQUIRE(os::write_stream(again.get(), "third\n", 6).ok());
  }
  CHECK(dir.read("report") == "first\nsecond\nthird\n");
}

TEST_CASE("a directory on tmpfs is in memory, one on a disk is not, one that is missing is an error") {
  ScratchDir dir;
  auto shm = os::is_in_memory("/dev/shm");
  REQUIRE(shm);
  CHECK(*shm);
  auto disk = os::is_in_memory(dir.path().c_str());
  REQUIRE(disk);
  CHECK_FALSE(*disk);
  CHECK(os::is_in_memory((dir / "missing").c_str()).error() == ENOENT);
}

TEST_CASE("file functions that fail leave errno as it was") {
  errno = ERANGE;
  CHECK_FALSE(os::open_unlinked("/nowhere", true));
  CHECK_FALSE(os::identify(-1));
  CHECK_FALSE(os::set_length(-1, 1).ok());
  CHECK_FALSE(os::preallocate(-1, 0, 1, true).ok());
  CHECK_FALSE(os::write_all(-1, "x", 1, 0).ok());
  os::drop_from_cache(-1, 0, 1);
  os::Fd(9999).reset();
  CHECK(errno == ERANGE);
}

TEST_CASE(
    "a thread with descriptors of its own neither takes numbers from the program nor keeps its files open") {
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  ScratchDir dir;
  auto region = os::open_unlinked(dir.path().c_str(), true);
  REQUIRE(region);
  REQUIRE(os::write_all(region->get(), "region", 6, 0).ok());
  std::atomic<int> step = 0;
  bool own = false, fetched = false, gone = false;
  std::thread thread([&] {
    own = os::use_own_descriptors();
    auto copy = os::fetch_descriptor(region->get());
    char text[6];
    fetched = copy && pread(copy->get(), text, 6, 0) == 6 && memcmp(text, "region", 6) == 0;
    const int low = open("/dev/null", O_RDONLY | O_CLOEXEC);
    gone = os::fetch_descriptor(999'999).error() == EBADF;
    step = 1;
    while (step != 2) std::this_thread::yield();
    close(low);
  });
  REQUIRE(test::wait_until([&] { return step == 1; }));
  const int mine = dup(pipe_ends[0]);  // the lowest number that is free
  CHECK(mine == std::max({pipe_ends[0], pipe_ends[1]}) + 1);
  close(mine);
  close(pipe_ends[1]);
  char c;
  CHECK(read(pipe_ends[0], &c, 1) == 0);  // the end of the file: nobody else has the other end
  close(pipe_ends[0]);
  step = 2;
  thread.join();
  CHECK(own);
  CHECK(fetched);
  CHECK(gone);
}

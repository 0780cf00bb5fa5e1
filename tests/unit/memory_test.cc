// memory_test.cc - address space and what is behind it (base/os/memory.h), and the counting of pages.
#include "base/os/memory.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "base/os/file.h"
#include "base/os/procfs.h"
#include "tests/support/scratch_dir.h"

#include "tests/support/catch.h"

using namespace spillway;

namespace {

class Reserved {
 public:
  explicit Reserved(uint64_t bytes, uint64_t alignment = kPageBytes) {
    auto got = os::reserve(bytes, alignment);
    REQUIRE(got);
    range_ = *got;
  }
  ~Reserved() { os::unreserve(range_); }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  operator PageRange() const { return range_; }
  const PageRange* operator->() const { return &range_; }

 private:
  PageRange range_;
};

os::Fd file_of(uint64_t bytes) {
  test::ScratchDir dir;
  auto fd = os::open_unlinked(dir.path().c_str(), true);
  REQUIRE(fd);
  REQUIRE(os::set_length(fd->get(), bytes).ok());
  return std::move(*fd);
}

}  // namespace

TEST_CASE("reserved address space is on its alignment and has no pages") {
  os::PageTable pages;
  REQUIRE(pages.open().ok());
  for (uint64_t alignment : {kPageBytes, kExtentBytes, kGiB}) {
    Reserved range(3 * kMiB, alignment);
    CHECK(reinterpret_cast<uint64_t>(range->base) % alignment == 0);
    CHECK(range->bytes == 3 * kMiB);
    CHECK(pages.count(range).present == 0);
  }
}

TEST_CASE("more address space than there is, is ENOMEM") {
  CHECK(os::reserve(uint64_t{1} << 60, kPageBytes).error() == ENOMEM);
  CHECK(os::reserve(UINT64_MAX - kPageBytes + 1, kGiB).error() == ENOMEM);  // with the alignment it overflows
}

TEST_CASE("anonymous memory counts as the process's own once it is touched, and is zero after a discard") {
  os::PageTable pages;
  REQUIRE(pages.open().ok());
  Reserved range(64 * kPageBytes);
  REQUIRE(os::map_anonymous(range).ok());
  for (uint64_t i = 0; i < 10; ++i) range->base[i * kPageBytes] = 'x';
  CHECK(pages.count(range).present == 10);
  CHECK(pages.count(range).anonymous == 10);
  REQUIRE(os::discard(range).ok());
  CHECK(pages.count(range).present == 0);
  CHECK(range->base[0] == 0);
}

TEST_CASE("what is written to a shared mapping is in the file") {
  os::Fd fd = file_of(kMiB);
  Reserved range(kMiB);
  REQUIRE(os::map_file_shared(range, fd.get(), 0).ok());
  memcpy(range->base + 5000, "hello", 5);
  char text[5];
  REQUIRE(pread(fd.get(), text, 5, 5000) == 5);
  CHECK(std::string(text, 5) == "hello");
}

TEST_CASE("what is written to a private mapping stays out of the file and is the process's own page") {
  os::PageTable pages;
  REQUIRE(pages.open().ok());
  os::Fd fd = file_of(kMiB);
  REQUIRE(os::write_all(fd.get(), "snapshot", 8, 0).ok());
  Reserved range(kMiB);
  REQUIRE(os::map_file_private(range, fd.get(), 0).ok());
  CHECK(std::string(range->base, 8) == "snapshot");
  CHECK(pages.count(range).anonymous == 0);
  memcpy(range->base, "mine", 4);
  CHECK(pages.count(range).anonymous == 1);
  char text[8];
  REQUIRE(pread(fd.get(), text, 8, 0) == 8);
  CHECK(std::string(text, 8) == "snapshot");
}

TEST_CASE("pages that are let go of come back with their bytes, those of a hole as zeroes") {
  os::PageTable pages;
  REQUIRE(pages.open().ok());
  os::Fd fd = file_of(kMiB);
  Reserved range(kMiB);
  REQUIRE(os::map_file_shared(range, fd.get(), 0).ok());
  memcpy(range->base, "hello", 5);
  REQUIRE(os::let_go(range).ok());
  CHECK(pages.count(range).present == 0);
  unsigned char cached[kMiB / kPageBytes];
  REQUIRE(os::cached_pages(range, cached).ok());
  CHECK((cached[0] & 1) == 1);
  CHECK(std::string(range->base, 5) == "hello");
  REQUIRE(os::punch_hole(range).ok());
  CHECK(range->base[0] == 0);
}

TEST_CASE("the pages of a range that is not mapped cannot be counted as cached") {
  Reserved range(2 * kPageBytes);
  os::unreserve({range->base + kPageBytes, kPageBytes});
  unsigned char cached[2];
  CHECK(os::cached_pages(range, cached) == ENOMEM);
}

TEST_CASE("inaccessible memory has lost what was there") {
  os::PageTable pages;
  REQUIRE(pages.open().ok());
  Reserved range(4 * kPageBytes);
  REQUIRE(os::map_anonymous(range).ok());
  memset(range->base, 'x', range->bytes);
  REQUIRE(os::make_inaccessible(range).ok());
  CHECK(pages.count(range).present == 0);
  REQUIRE(os::map_anonymous(range).ok());
  CHECK(range->base[0] == 0);
}

TEST_CASE("memory calls that fail leave errno as it was") {
  errno = ERANGE;
  Reserved range(kPageBytes);
  CHECK(os::map_file_shared(range, -1, 0) == EBADF);
  CHECK_FALSE(os::advise({range->base + 1, kPageBytes}, os::kAdviceRandom).ok());
  CHECK(errno == ERANGE);
}

TEST_CASE("intersecting ranges share what both have") {
  char* base = reinterpret_cast<char*>(uint64_t{1} << 30);
  const PageRange range{base, 100};
  CHECK(range.intersect({base + 40, 100}).bytes == 60);
  CHECK(range.intersect({base + 40, 10}).base == base + 40);
  CHECK(range.intersect({base + 100, 10}).empty());
  CHECK_FALSE(range.contains(base + 100));
  CHECK(range.contains(base));
}

// file_backing_test.cc - blocks in files, below the heap: what is on disk, what a freeze leaves, and whose
// descriptor it is.
#include "libpreload/backing/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "base/os/memory.h"
#include "base/os/procfs.h"
#include "libpreload/address_space.h"
#include "tests/unit/heap_fixture.h"

#include "tests/support/catch.h"

using namespace spillway;
using test::Set;

namespace {

// An open chunk.
struct FileChunk {
  explicit FileChunk(FileBacking::Unit unit = FileBacking::Unit::kGranule, uint64_t bytes = 32 * kMiB)
      : backing(unit) {
    (void)region_directory.change(directory.path().c_str());
    auto range = os::reserve(bytes, kExtentBytes);
    REQUIRE(range);
    chunk = space.add_chunk(*range, backing);
    REQUIRE(backing.open(*chunk).ok());
  }
  ~FileChunk() {
    backing.close(*chunk);
    os::unreserve(chunk->range);
    space.remove_chunk(*chunk);
  }

  PageRange range(uint64_t offset, uint64_t bytes) { return chunk->range.sub(offset, bytes); }
  char* at(uint64_t offset) { return chunk->range.base + offset; }
  uint64_t disk_bytes() {
    fsync(chunk->fd);
    struct stat st {};
    REQUIRE(fstat(chunk->fd, &st) == 0);
    return static_cast<uint64_t>(st.st_blocks) * 512;
  }

  test::ScratchDir directory;
  std::unique_ptr<PageMap> map = std::make_unique<PageMap>();
  AddressSpace space{*map};
  FileBacking backing;
  Chunk* chunk;
};

}  // namespace

TEST_CASE("committed space is mapped, zero, and has its disk blocks before anybody writes") {
  for (const bool fallocate : {true, false}) {
    Set<bool> masked(settings.masked.fallocate, !fallocate);
    FileChunk f;
    REQUIRE(f.backing.commit(*f.chunk, f.range(4 * kMiB, 5 * kMiB)).ok());
    CHECK(f.disk_bytes() >= 6 * kMiB);
    CHECK(f.disk_bytes() < 8 * kMiB);
    const PageRange run = f.chunk->next_run(f.chunk->range, true);
    CHECK(run.base == f.at(4 * kMiB));
    CHECK(run.bytes == 6 * kMiB);
    CHECK(test::is_zero(run.base, 5 * kMiB));
  }
}

TEST_CASE("large runs are mapped in pieces where read-ahead is small, small ones together") {
  constexpr uint64_t kLarge = 192 * kMiB;
  for (const bool is_small : {true, false}) {
    FileChunk f(FileBacking::Unit::kGranule, 256 * kMiB);
    f.chunk->has_small_read_ahead = is_small;
    for (uint64_t at = kLarge; at < 256 * kMiB; at += 16 * kMiB)
      REQUIRE(f.backing.commit(*f.chunk, f.range(at, 16 * kMiB)).ok());
    REQUIRE(f.backing.commit(*f.chunk, f.range(0, kLarge)).ok());
    uint64_t large = 0, small = 0;
    os::MappingList mappings;
    REQUIRE(mappings.open().ok());
    for (os::MappingList::Entry entry; mappings.next(entry);) {
      if (entry.inode != f.chunk->file.inode) continue;
      ++(entry.range.base < f.at(kLarge) ? large : small);
    }
    CHECK(large == (is_small ? 3 : 1));
    CHECK(small == (is_small ? 1 : 0));
    for (uint64_t at = 0; at < 256 * kMiB; at += 16 * kMiB) *f.at(at) = static_cast<char>(at >> 24);
    for (uint64_t at = 0; at < 256 * kMiB; at += 16 * kMiB) {
      char byte = -1;
      REQUIRE(pread(f.chunk->fd, &byte, 1, static_cast<off_t>(at)) == 1);
      CHECK(byte == static_cast<char>(at >> 24));
    }
  }
}

TEST_CASE("writing to committed space takes no more of the disk") {
  constexpr uint64_t kSlack = 64 * kKiB;  // the file system's own
  for (const auto unit : {FileBacking::Unit::kGranule, FileBacking::Unit::kPage}) {
    FileChunk f(unit);
    const uint64_t bytes = unit == FileBacking::Unit::kPage ? 64 * kKiB : kExtentBytes + 64 * kKiB;
    for (uint64_t at = 0; at < 16 * kMiB; at += 4 * kMiB) {
      REQUIRE(f.backing.commit(*f.chunk, f.range(at, bytes)).ok());
      REQUIRE(f.backing.advise(f.range(at, bytes), os::kAdviceNormal).ok());
    }
    const uint64_t before = f.disk_bytes();
    CHECK(before <
          4 * round_up(bytes, unit == FileBacking::Unit::kPage ? kPageBytes : kExtentBytes) + kSlack);
    for (uint64_t at = 0; at < 16 * kMiB; at += 4 * kMiB) *f.at(at) = *f.at(at + bytes - 1) = 1;
    CHECK(f.disk_bytes() < before + kSlack);
  }
}

TEST_CASE("a commit that continues within a granule leaves what is there") {
  FileChunk f;
  REQUIRE(f.backing.commit(*f.chunk, f.range(0, kMiB)).ok());
  test::stamp(f.at(0), kMiB, 1);
  REQUIRE(f.backing.commit(*f.chunk, f.range(kMiB, 4 * kMiB)).ok());
  CHECK(test::has_stamp(f.at(0), kMiB, 1));
  CHECK(test::is_zero(f.at(kMiB), 4 * kMiB));
}

TEST_CASE("decommitted space has no disk blocks, and is zero when it is committed again") {
  FileChunk f;
  REQUIRE(f.backing.commit(*f.chunk, f.range(0, 8 * kMiB)).ok());
  test::stamp(f.at(0), 8 * kMiB, 2);
  for (const bool pristine : {false, true}) {
    REQUIRE(f.backing.decommit(*f.chunk, f.range(2 * kMiB, 4 * kMiB), pristine));
    CHECK(f.disk_bytes() < 5 * kMiB);
    REQUIRE(f.backing.commit(*f.chunk, f.range(2 * kMiB, 4 * kMiB)).ok());
    CHECK(test::is_zero(f.at(2 * kMiB), 4 * kMiB));
    test::stamp(f.at(2 * kMiB), 4 * kMiB, 3);
  }
  CHECK(test::has_stamp(f.at(0), 2 * kMiB, 2));
}

TEST_CASE("a file system without holes says that it cannot decommit") {
  Set<bool> masked(settings.masked.punch, true);
  FileChunk f;
  REQUIRE(f.backing.commit(*f.chunk, f.range(0, 4 * kMiB)).ok());
  CHECK_FALSE(f.backing.decommit(*f.chunk, f.range(0, 4 * kMiB), false));
}

TEST_CASE("a frozen range no longer reaches its file, and later commits go to another") {
  FileChunk f;
  REQUIRE(f.backing.commit(*f.chunk, f.range(0, 8 * kMiB)).ok());
  test::stamp(f.at(0), 8 * kMiB, 4);
  os::Fd old_file = os::duplicate(f.chunk->fd);
  f.backing.freeze(*f.chunk, f.range(0, 4 * kMiB), ForkMode::kSnapshot, /*is_uniform=*/true);
  f.backing.finish_freeze(*f.chunk);
  CHECK(f.chunk->fd == -1);
  CHECK(f.chunk->next_run(f.chunk->range, true).empty());
  CHECK(test::has_stamp(f.at(0), 4 * kMiB, 4));
  test::stamp(f.at(0), 4 * kMiB, 5);
  uint64_t word = 0;
  REQUIRE(pread(old_file.get(), &word, sizeof word, 0) == sizeof word);
  CHECK(word == 4);

  REQUIRE(f.backing.commit(*f.chunk, f.range(16 * kMiB, 2 * kMiB)).ok());
  CHECK_FALSE(*os::identify(f.chunk->fd) == *os::identify(old_file.get()));
}

TEST_CASE("a range frozen in shared mode still reaches its file") {
  FileChunk f;
  REQUIRE(f.backing.commit(*f.chunk, f.range(0, 2 * kMiB)).ok());
  os::Fd old_file = os::duplicate(f.chunk->fd);
  f.backing.freeze(*f.chunk, f.range(0, 2 * kMiB), ForkMode::kShared, /*is_uniform=*/true);
  f.backing.finish_freeze(*f.chunk);
  test::stamp(f.at(0), 2 * kMiB, 6);
  uint64_t word = 0;
  REQUIRE(pread(old_file.get(), &word, sizeof word, 0) == sizeof word);
  CHECK(word == 6);
}

TEST_CASE("a thawed range has the same bytes and reaches the chunk's own file") {
  for (const bool fallocate : {true, false}) {
    Set<bool> masked(settings.masked.fallocate, !fallocate);
    FileChunk f;
    REQUIRE(f.backing.commit(*f.chunk, f.range(0, 6 * kMiB)).ok());
    test::stamp(f.at(0), 6 * kMiB, 7);
    f.backing.freeze(*f.chunk, f.range(0, 6 * kMiB), ForkMode::kSnapshot, /*is_uniform=*/true);
    f.backing.finish_freeze(*f.chunk);
    f.at(2 * kMiB)[100] = 'x';  // a page that is memory of the process
    REQUIRE(f.backing.thaw(*f.chunk, f.range(2 * kMiB, 2 * kMiB)).ok());
    CHECK(test::has_stamp(f.at(0), 6 * kMiB, 7));
    CHECK(f.at(2 * kMiB)[100] == 'x');
    CHECK(f.chunk->is_mapped(f.at(2 * kMiB)));
    CHECK_FALSE(f.chunk->is_mapped(f.at(0)));
    f.at(2 * kMiB)[100] = 'y';
    char c = 0;
    REQUIRE(pread(f.chunk->fd, &c, 1, 2 * kMiB + 100) == 1);
    CHECK(c == 'y');
  }
}

TEST_CASE(
    "a range that cannot be thawed stays a snapshot, and leaves nothing in the file for the next block") {
  for (const bool punch : {true, false}) {
    Set<bool> masked(settings.masked.punch, !punch);
    FileChunk f;
    REQUIRE(f.backing.commit(*f.chunk, f.range(0, 2 * kMiB)).ok());
    test::stamp(f.at(0), 2 * kMiB, 7);
    f.backing.freeze(*f.chunk, f.range(0, 2 * kMiB), ForkMode::kSnapshot, /*is_uniform=*/true);
    f.backing.finish_freeze(*f.chunk);
    REQUIRE(os::program_mprotect(f.at(kMiB), kPageBytes, PROT_NONE) == 0);
    CHECK(f.backing.thaw(*f.chunk, f.range(0, 2 * kMiB)) == EFAULT);
    CHECK_FALSE(f.chunk->is_mapped(f.at(0)));
    CHECK(test::has_stamp(f.at(0), kMiB, 7));
    f.backing.decommit(*f.chunk, f.range(0, 2 * kMiB), /*pristine=*/true);
    if (f.chunk->retired) continue;  // nothing is given out there any more
    REQUIRE(f.backing.commit(*f.chunk, f.range(0, 2 * kMiB)).ok());
    CHECK(test::is_zero(f.at(0), 2 * kMiB));
  }
}

TEST_CASE("a snapshot of a range whose descriptor the program closed has its bytes") {
  FileChunk f;
  REQUIRE(f.backing.commit(*f.chunk, f.range(0, 4 * kMiB)).ok());
  test::stamp(f.at(0), 4 * kMiB, 8);
  close(f.chunk->fd);
  f.backing.freeze(*f.chunk, f.range(0, 4 * kMiB), ForkMode::kSnapshot, /*is_uniform=*/true);
  f.backing.finish_freeze(*f.chunk);
  CHECK(test::has_stamp(f.at(0), 4 * kMiB, 8));
}

TEST_CASE("a descriptor that the program gave to another file is neither written to nor closed") {
  FileChunk f;
  REQUIRE(f.backing.commit(*f.chunk, f.range(0, 4 * kMiB)).ok());
  test::stamp(f.at(0), 4 * kMiB, 9);
  f.directory.write("precious", "precious");
  const int precious = open((f.directory / "precious").c_str(), O_RDWR);
  REQUIRE(dup2(precious, f.chunk->fd) >= 0);
  const int number = f.chunk->fd;
  CHECK_FALSE(FileBacking::owns_file(*f.chunk));
  CHECK(f.backing.discard(*f.chunk, f.range(0, kMiB)).ok());
  CHECK(test::is_zero(f.at(0), kMiB));
  CHECK(f.backing.commit(*f.chunk, f.range(8 * kMiB, 2 * kMiB)) == EBADF);
  CHECK(f.chunk->retired);
  f.backing.decommit(*f.chunk, f.range(0, 4 * kMiB), /*pristine=*/true);
  f.backing.close(*f.chunk);
  CHECK(test::is_open(number));
  CHECK(f.directory.read("precious") == "precious");
  close(number);
  close(precious);
}

TEST_CASE("a chunk is closed with its descriptor") {
  FileChunk f;
  const int number = f.chunk->fd;
  f.backing.close(*f.chunk);
  CHECK_FALSE(test::is_open(number));
  CHECK_FALSE(FileBacking::owns_file(*f.chunk));
}

TEST_CASE("a chunk is no longer than files may be, but always as long as needed") {
  FileBacking backing(FileBacking::Unit::kGranule);
  test::SoftLimit limit(RLIMIT_FSIZE, 100 * kMiB + 1);
  CHECK(backing.chunk_bytes(4 * kMiB) == 100 * kMiB);
  CHECK(backing.chunk_bytes(200 * kMiB) == 200 * kMiB);
}

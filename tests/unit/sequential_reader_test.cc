// A file read from one end to the other, whatever its length, the file system and the state of the page
// cache.
#include "base/os/sequential_reader.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/catch.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/wait.h"

using namespace spillway;

namespace {

std::string bytes_of(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 2654435761u >> 11);
  return text;
}

std::string read_through(os::SequentialReader& reader, int fd, uint64_t offset, uint64_t bytes) {
  std::string text;
  REQUIRE(reader.start(fd, offset, bytes).ok());
  while (true) {
    Result<os::SequentialReader::Piece> piece = reader.next();
    REQUIRE(piece);
    if (piece->bytes == 0) return text;
    text.append(piece->data, piece->bytes);
  }
}

void forget_cached(int fd) {
  REQUIRE(fdatasync(fd) == 0);
  REQUIRE(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
}

// The ring's workers end a moment after it. They are threads of this process that no signal stops, which
// later tests must not meet.
class WorkersEnd {
 public:
  WorkersEnd() = default;
  ~WorkersEnd() {
    const bool gone = test::wait_until([] {
      for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
        std::string name;
        std::ifstream(thread.path() / "comm") >> name;
        if (name.starts_with("iou-")) return false;
      }
      return true;
    });
    CHECK(gone);
  }
  WorkersEnd(const WorkersEnd&) = delete;
  WorkersEnd& operator=(const WorkersEnd&) = delete;
};

}  // namespace

TEST_CASE("a sequential reader gives all bytes in order, from the disk and from the page cache") {
  const WorkersEnd workers_end;
  test::ScratchDir dir;
  const std::string path = dir / "file";
  os::SequentialReader reader;
  for (const size_t bytes :
       {size_t{1}, size_t{4096}, size_t{1} << 20, (size_t{5} << 20) + 77, size_t{9} << 20}) {
    const std::string text = bytes_of(4096 + bytes);
    os::Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    REQUIRE(os::write_all(fd.get(), text.data(), text.size(), 0).ok());
    REQUIRE(read_through(reader, fd.get(), 4096, bytes) == text.substr(4096));
    forget_cached(fd.get());
    REQUIRE(read_through(reader, fd.get(), 4096, bytes) == text.substr(4096));
    REQUIRE(read_through(reader, fd.get(), 0, bytes) == text.substr(0, bytes));
  }
}

TEST_CASE("a sequential reader that is left in the middle begins anew with another file") {
  const WorkersEnd workers_end;
  test::ScratchDir dir;
  os::SequentialReader reader;
  const std::string one = bytes_of(8 << 20), other(3 << 20, 'o');
  os::Fd first(::open((dir / "one").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  REQUIRE(os::write_all(first.get(), one.data(), one.size(), 0).ok());
  os::Fd second(::open((dir / "other").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  REQUIRE(os::write_all(second.get(), other.data(), other.size(), 0).ok());
  forget_cached(first.get());
  forget_cached(second.get());
  REQUIRE(reader.start(first.get(), 0, one.size()).ok());
  REQUIRE(reader.next()->bytes == os::SequentialReader::kPieceBytes);
  first.reset();
  REQUIRE(read_through(reader, second.get(), 0, other.size()) == other);
}

TEST_CASE("a sequential reader says so when the file ends too early, and reads a memory file") {
  const WorkersEnd workers_end;
  os::SequentialReader reader;
  Result<os::Fd> memory = os::make_memfd("reader", 3 << 20);
  REQUIRE(memory);
  const std::string text = bytes_of(3 << 20);
  REQUIRE(os::write_all(memory->get(), text.data(), text.size(), 0).ok());
  REQUIRE(read_through(reader, memory->get(), 0, text.size()) == text);
  REQUIRE(reader.start(memory->get(), 0, text.size() + 1).ok());
  for (int i = 0; i < 3; ++i) REQUIRE(reader.next());
  REQUIRE(reader.next().error() == EIO);
}

// A program that closes every descriptor it does not know, opens files of its own (which get the numbers that
// were somebody else's), and goes on allocating: its files are never touched, and its data stay. argv[1]: a
// directory for its files.
#include <sys/stat.h>

#include <string>
#include <vector>

#include "tests/victims/pair.h"

using namespace victim;

namespace {

constexpr size_t kFiles = 40;
const std::string kText = "this file belongs to the program\n";

void expect_untouched(const std::vector<int>& fds, const char* when) {
  for (int fd : fds) {
    char text[200] = {};
    struct stat info {};
    EXPECT(fstat(fd, &info) == 0, "%s: descriptor %d is closed", when, fd);
    EXPECT(info.st_size == static_cast<off_t>(kText.size()), "%s: the file at %d has %ld bytes", when, fd,
           static_cast<long>(info.st_size));
    EXPECT(pread(fd, text, sizeof text, 0) == static_cast<ssize_t>(kText.size()) && kText == text,
           "%s: the file at %d was written to", when, fd);
    EXPECT(lseek(fd, 0, SEEK_CUR) == static_cast<off_t>(kText.size()), "%s: the position of %d was moved",
           when, fd);
  }
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc > 1, "usage: closes_all_fds DIRECTORY");
  Heap before;
  before.make(1);
  char* freed_later = must_malloc(8 * MiB);
  memset(freed_later, 1, 8 * MiB);
  closefrom(3);
  std::vector<int> fds;
  for (size_t i = 0; i < kFiles; ++i) {
    const std::string path = std::string(argv[1]) + "/own-" + std::to_string(i);
    fds.push_back(open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
    EXPECT(fds.back() >= 0, "open: %s", strerror(errno));
    EXPECT(fds.back() == static_cast<int>(3 + i), "the first free descriptors are not free: %d", fds.back());
    EXPECT(write(fds.back(), kText.data(), kText.size()) == static_cast<ssize_t>(kText.size()), "write");
  }
  before.expect(1, "the heap from before");
  free(freed_later);
  expect_untouched(fds, "after a free");
  for (size_t i = 0; i < Heap::kCount; ++i) {
    before.blocks[i] = static_cast<char*>(realloc(before.blocks[i], 2 * before.sizes[i]));
    EXPECT(before.blocks[i], "realloc: %s", strerror(errno));
    EXPECT_FILLED(before.blocks[i], before.sizes[i] / 8 * 8, 1 + i, "a grown block");
  }
  expect_untouched(fds, "after reallocs");
  Heap after;
  after.make(2);
  after.send_out();
  expect_untouched(fds, "after allocations");
  const pid_t pid = must_fork();
  if (pid == 0) {
    after.write(3);
    before.free_all();
    after.expect(3, "the child's heap");
    expect_untouched(fds, "in the child");
    _exit(0);
  }
  expect_good_end(pid, "the child");
  after.expect(2, "the heap from after");
  expect_untouched(fds, "after a fork");
  // And once more, with descriptors that were opened meanwhile.
  closefrom(3);
  for (size_t i = 0; i < kFiles; ++i) {
    const std::string path = std::string(argv[1]) + "/own-" + std::to_string(i);
    fds[i] = open(path.c_str(), O_RDWR | O_CLOEXEC);
    lseek(fds[i], 0, SEEK_END);
  }
  after.expect(2, "the heap from after");
  before.free_all();
  after.free_all();
  before.make(4);
  before.expect(4, "the last heap");
  before.free_all();
  expect_untouched(fds, "at the end");
  for (size_t i = 0; i < kFiles; ++i) unlink((std::string(argv[1]) + "/own-" + std::to_string(i)).c_str());
  return done();
}

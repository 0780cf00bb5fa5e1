// maps_in_place: a program with an allocator of its own that maps memory anew in place of parts of a mapping,
// unmaps parts that are unmapped already, and says things of two mappings side by side by one call.
#include <fcntl.h>
#include <sys/mman.h>

#include <utility>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

constexpr size_t kBytes = 8 * MiB, kHalf = kBytes / 2, kPage = 4096;

char* must_map(void* at, size_t bytes, int protection = PROT_READ | PROT_WRITE) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (at != nullptr ? MAP_FIXED : 0);
  void* p = mmap(at, bytes, protection, flags, -1, 0);
  EXPECT(p != MAP_FAILED && (at == nullptr || p == at), "mmap(%zu): %s", bytes, strerror(errno));
  return static_cast<char*>(p);
}
void must_unmap(char* p, size_t bytes) { EXPECT(munmap(p, bytes) == 0, "munmap: %s", strerror(errno)); }

// So that what can leave memory does, where there is a limit.
void use_other_memory() {
  char* other = must_malloc(64 * MiB);
  fill(other, 64 * MiB, 9);
  EXPECT_FILLED(other, 64 * MiB, 9, "another block");
  free(other);
}

void unmapped_parts_are_mapped_again() {
  char* p = must_map(nullptr, kBytes);
  fill(p + kHalf, kHalf, 1);
  for (int round = 0; round < 3; ++round) {
    must_unmap(p, kHalf);
    if (round == 1) must_unmap(p, kHalf);  // there is nothing there: no error
    must_map(p, kHalf);
    EXPECT(all_zero(p, kHalf), "what is mapped anew");
    fill(p, kHalf, 2);
  }
  use_other_memory();
  EXPECT_FILLED(p, kHalf, 2, "what was mapped anew");
  EXPECT_FILLED(p + kHalf, kHalf, 1, "what was never unmapped");
  must_unmap(p, kHalf);
  must_unmap(p, kHalf);
  use_other_memory();
  EXPECT_FILLED(p + kHalf, kHalf, 1, "the other half");
  must_unmap(p, kBytes);
}

void memory_is_given_back_and_taken_again() {
  char* p = must_map(nullptr, kBytes);
  fill(p, kBytes, 3);
  must_map(p + kHalf, kHalf, PROT_NONE);
  must_map(p + kHalf, kHalf);
  EXPECT(all_zero(p + kHalf, kHalf), "what was given back");
  EXPECT_FILLED(p, kHalf, 3, "what was not");
  must_unmap(p, kBytes);
}

void some_pages_are_mapped_anew() {
  char* p = must_map(nullptr, kBytes);
  fill(p, kHalf, 4);
  char* part = p + kHalf + 40 * kPage;
  must_map(part, 3 * kPage);
  fill(part, 3 * kPage, 5);
  use_other_memory();
  EXPECT_FILLED(p, kHalf, 4, "the rest of the mapping");
  EXPECT_FILLED(part, 3 * kPage, 5, "pages that were mapped anew");
  EXPECT(madvise(part, 3 * kPage, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
  EXPECT(all_zero(part, 3 * kPage), "pages that were mapped anew and discarded");
  must_unmap(p, kBytes);
}

void a_file_is_mapped_in_place() {
  const int fd = memfd_create("pages", 0);
  EXPECT(fd >= 0 && ftruncate(fd, 3 * kPage) == 0, "memfd: %s", strerror(errno));
  char* p = must_map(nullptr, kBytes);
  fill(p, kBytes, 6);
  char* part = p + kHalf + 40 * kPage;
  EXPECT(mmap(part, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) == part, "mmap: %s",
         strerror(errno));
  fill(part, 3 * kPage, 7);
  use_other_memory();
  EXPECT_FILLED(part, 3 * kPage, 7, "pages of a file");
  EXPECT_FILLED(p, kHalf, 6, "what is not the file's");
  must_unmap(p, kBytes);
  close(fd);
}

void two_mappings_are_spoken_of_at_once() {
  char* first = must_map(nullptr, kBytes);
  char* second = must_map(nullptr, kBytes);
  if (second < first) std::swap(first, second);
  if (second == first + kBytes) {
    fill(first, 2 * kBytes, 8);
    char* middle = first + kHalf;
    EXPECT(madvise(middle, kBytes, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
    EXPECT(all_zero(middle, kBytes), "what was discarded of two mappings");
    EXPECT_FILLED(first, kHalf, 8, "what was not");
    EXPECT(mprotect(middle, kBytes, PROT_READ) == 0, "mprotect: %s", strerror(errno));
    must_map(middle, kBytes);
    EXPECT(all_zero(middle, kBytes), "what was mapped in place of parts of two");
    fill(middle, kBytes, 9);
    EXPECT_FILLED(middle, kBytes, 9, "what was mapped in place of parts of two");
    EXPECT(mprotect(middle, kBytes, PROT_READ) == 0, "mprotect: %s", strerror(errno));
  }
  must_unmap(first, kBytes);
  must_unmap(second, kBytes);
  char* next = must_malloc(2 * kBytes);  // writable, whatever was there before
  fill(next, 2 * kBytes, 10);
  free(next);
}

}  // namespace

int main() {
  unmapped_parts_are_mapped_again();
  memory_is_given_back_and_taken_again();
  some_pages_are_mapped_anew();
  a_file_is_mapped_in_place();
  two_mappings_are_spoken_of_at_once();
  return done();
}

// maps_own_memory BYTES: a program with an allocator of its own. Mappings are written, read, cut at both ends
// and in the middle, grown, discarded, unmapped one by one and two by one call, and new ones read as zeroes.
#include <sys/mman.h>

#include <vector>

#include "tests/victims/pair.h"

using namespace victim;

namespace {

constexpr size_t kPage = 4096;

char* must_map(size_t bytes, int flags = 0) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  EXPECT(p != MAP_FAILED, "mmap(%zu): %s", bytes, strerror(errno));
  return static_cast<char*>(p);
}
void must_unmap(char* p, size_t bytes) { EXPECT(munmap(p, bytes) == 0, "munmap: %s", strerror(errno)); }

}  // namespace

int main(int argc, char** argv) {
  const size_t bytes = size_argument(argc, argv, 1, 24 * MiB);
  for (int round = 0; round < 3; ++round) {
    char* all = must_map(bytes, round == 1 ? MAP_NORESERVE : 0);
    EXPECT(all_zero(all, bytes), "a new mapping is not zero");
    fill(all, bytes, 1);
    EXPECT_FILLED(all, bytes, 1, "a mapping");

    // As jemalloc aligns: both ends are cut off.
    char* cut = must_map(bytes + 4 * MiB + kPage);
    must_unmap(cut, MiB);
    must_unmap(cut + MiB + bytes, 3 * MiB + kPage);
    fill(cut + MiB, bytes, 2);
    EXPECT_FILLED(cut + MiB, bytes, 2, "a mapping without its ends");
    EXPECT(madvise(cut + MiB, bytes / 2, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
    EXPECT(all_zero(cut + MiB, bytes / 2), "discarded pages");

    void* grown = mremap(all, bytes, 2 * bytes, MREMAP_MAYMOVE);
    EXPECT(grown != MAP_FAILED, "mremap: %s", strerror(errno));
    all = static_cast<char*>(grown);
    EXPECT_FILLED(all, bytes, 1, "a mapping that grew");
    EXPECT(all_zero(all + bytes, bytes), "the new part of a mapping");
    grown = mremap(all, 2 * bytes, bytes, MREMAP_MAYMOVE);
    EXPECT(grown != MAP_FAILED, "mremap: %s", strerror(errno));
    all = static_cast<char*>(grown);
    EXPECT_FILLED(all, bytes, 1, "a mapping that shrank");

    const pid_t pid = must_fork();
    if (pid == 0) {
      EXPECT_FILLED(all, bytes, 1, "a child's");
      fill(all, bytes, 3);
      must_unmap(all, bytes);
      _exit(0);
    }
    expect_good_end(pid, "a child");
    EXPECT_FILLED(all, bytes, 1, "a parent's");

    must_unmap(all + bytes / 2 / kPage * kPage, kPage);  // a hole
    must_unmap(all, bytes / 2 / kPage * kPage);
    must_unmap(all + bytes / 2 / kPage * kPage + kPage, bytes - bytes / 2 / kPage * kPage - kPage);
    must_unmap(cut + MiB, bytes);
  }
  // What has no access yet, or a place, is the program's business.
  void* reserved = mmap(nullptr, 64 * MiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EXPECT(reserved != MAP_FAILED, "mmap: %s", strerror(errno));
  EXPECT(mprotect(reserved, 16 * MiB, PROT_READ | PROT_WRITE) == 0, "mprotect: %s", strerror(errno));
  fill(reserved, 16 * MiB, 4);
  EXPECT_FILLED(reserved, 16 * MiB, 4, "a reserved mapping");
  must_unmap(static_cast<char*>(reserved), 64 * MiB);
  EXPECT(mmap(nullptr, 0, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
             errno == EINVAL,
         "a mapping of nothing");
  EXPECT(munmap(reserved, 0) == -1 && errno == EINVAL, "munmap of nothing");
  EXPECT(munmap(reserved, SIZE_MAX) == -1 && errno == EINVAL, "munmap of everything");
  return done();
}

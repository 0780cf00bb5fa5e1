// spilled.h - a block whose bytes are not in memory, for victims that look at how such a block behaves.
#pragma once
#include <fcntl.h>
#include <sys/mman.h>

#include <vector>

#include "tests/victims/victim.h"

namespace victim {

// Sends the pages of a block out of memory, as well as an ordinary program can: writes them to the block's
// file where there is one, and asks the kernel to drop them. A hint only; no victim depends on it for its
// correctness.
inline void send_out(void* block, size_t bytes) {
  if (char* path = exm_get_path_of(block)) {
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    free(path);
    if (fd >= 0) {
      fsync(fd);
      close(fd);
    }
  }
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(block) + 4095) & ~uintptr_t{4095};
  const uintptr_t end = (reinterpret_cast<uintptr_t>(block) + bytes) & ~uintptr_t{4095};
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_PAGEOUT);
}

// Pages of the block that are in this process's page tables or in the page cache.
inline size_t resident_pages(void* block, size_t bytes) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(block) & ~uintptr_t{4095};
  const size_t length = reinterpret_cast<uintptr_t>(block) + bytes - begin;
  std::vector<unsigned char> pages((length + 4095) / 4096);
  mincore(reinterpret_cast<void*>(begin), length, pages.data());
  size_t resident = 0;
  for (unsigned char page : pages) resident += page & 1;
  return resident;
}

// A block of the pattern `seed`, sent out.
inline char* spilled_block(size_t bytes, uint64_t seed) {
  char* p = must_malloc(bytes);
  fill(p, bytes, seed);
  send_out(p, bytes);
  return p;
}

}  // namespace victim

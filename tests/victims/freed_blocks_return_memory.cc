// Freed blocks return memory and disk without being asked: keeping them for recycling has a bound.
#include <dirent.h>
#include <sys/stat.h>

#include "tests/victims/victim.h"

using namespace victim;

namespace {

// What the deleted files that this process holds open take on disk.
size_t disk_bytes() {
  size_t sum = 0;
  DIR* dir = opendir("/proc/self/fd");
  while (dirent* entry = readdir(dir)) {
    char path[300], target[300] = {};
    snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
    struct stat info;
    if (readlink(path, target, sizeof target - 1) > 0 && strstr(target, " (deleted)") &&
        stat(path, &info) == 0 && !strstr(target, "memfd:"))
      sum += static_cast<size_t>(info.st_blocks) * 512;
  }
  closedir(dir);
  return sum;
}

}  // namespace

int main() {
  constexpr size_t kBlocks = 32, kBytes = 32 * MiB;
  free(must_malloc(kBytes));
  const size_t resident_before = resident_bytes(), disk_before = disk_bytes();
  char* blocks[kBlocks];
  for (char*& p : blocks) {
    p = must_malloc(kBytes);
    memset(p, 1, kBytes / 4);
  }
  for (char* p : blocks) free(p);
  const size_t resident = resident_bytes(), disk = disk_bytes();
  EXPECT(resident < resident_before + kBlocks * kBytes / 16, "%zu MiB stay resident",
         (resident - resident_before) / MiB);
  EXPECT(disk < disk_before + kBlocks * kBytes / 4, "%zu MiB stay on disk", (disk - disk_before) / MiB);
  return done();
}

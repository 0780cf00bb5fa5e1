// exm's interface (include/spillway/exm.h), with exm's meaning.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/os/fatal.h"
#include "base/os/memory.h"
#include "base/os/procfs.h"
#include "libpreload/backing/directory.h"
#include "libpreload/large.h"
#include "libpreload/lifecycle.h"
#include "libpreload/settings.h"
#include "spillway/version.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace spillway;

namespace {

// "/proc/PID/fd/N" while the chunk has a file; a snapshot after a fork is in one that only its mapping names.
bool path_of(const Region& region, char* path, size_t bytes) {
  const Chunk& chunk = *region.chunk;
  if (!chunk.backing->in_files()) return false;
  if (!chunk.is_mapped(region.span.base) || !FileBacking::owns_file(chunk))
    return os::mapped_file_path(region.span.base, path, bytes);
  snprintf(path, bytes, "/proc/%d/fd/%d", os::process_id(), chunk.fd);
  return true;
}

}  // namespace

EXPORT double exm_version() { return SPILLWAY_VERSION_MAJOR + SPILLWAY_VERSION_MINOR / 10.0; }

EXPORT size_t exm_threshold(size_t bytes) {
  ensure_started();
  if (bytes > 0) settings.set_threshold(bytes);
  return settings.threshold_bytes;
}

EXPORT int exm_cow(int mode) {
  ensure_started();
  if (mode > 2) return -1;
  settings.fork_mode = static_cast<ForkMode>(mode < 0 ? 0 : mode);
  return static_cast<int>(settings.fork_mode.load());
}

EXPORT char* exm_path(char* directory) {
  ensure_started();
  if (directory == nullptr) {
    char path[4096];
    {
      os::Locked locked(large_heap.lock());
      snprintf(path, sizeof path, "%s", region_directory.path());
    }
    return strdup(path);
  }
  Errno changed;
  {
    os::Locked locked(large_heap.lock());
    changed = region_directory.change(directory);
  }
  if (!changed.ok()) {
    errno = changed.code();
    return nullptr;
  }
  large_heap.retire_chunks();
  return directory;
}

EXPORT char* exm_lookup(void* block) {
  char path[96];
  {
    os::Locked locked(large_heap.lock());
    Region* region = LargeHeap::block_around(block);
    if (region == nullptr || !path_of(*region, path, sizeof path)) return nullptr;
  }
  return strdup(path);
}

EXPORT int exm_madvise(void* block, int advice) {
  Region* region = LargeHeap::block_around(block);
  if (region == nullptr ||
      !(advice == os::kAdviceNormal || advice == os::kAdviceRandom || advice == os::kAdviceSequential)) {
    errno = EINVAL;
    return -1;
  }
  const PageRange pages{region->span.base, round_up(region->committed, kPageBytes)};
  const Advice ours = advice == os::kAdviceRandom       ? Advice::kRandom
                      : advice == os::kAdviceSequential ? Advice::kSequential
                                                        : Advice::kNormal;
  if (Errno e = large_heap.advise(*region, pages, ours); !e.ok()) {
    errno = e.code();
    return -1;
  }
  region->advice = advice;
  region->advice_is_programs = true;
  return 0;
}

EXPORT void exm_debug_list() {
  large_heap.for_each_block([](const Region& region) {
    char path[96];
    if (!path_of(region, path, sizeof path)) snprintf(path, sizeof path, "in memory");
    char line[256];
    const int n = snprintf(line, sizeof line, "%p, %llu, %s\n", static_cast<void*>(region.span.base),
                           static_cast<unsigned long long>(region.committed.load()), path);
    if (n > 0) (void)os::write_stream(2, line, static_cast<uint64_t>(n));
  });
}

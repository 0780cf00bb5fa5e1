// settings.h - what the environment asks for, parsed once; the API may change some of it later.
// Wrong values: one line that names variable, value and the accepted forms; the default counts.
#pragma once
#include <atomic>
#include <cstdint>

#include "libpreload/backing/backing.h"

namespace spillway {

struct Settings {
  enum class BackingChoice { kAuto, kManaged, kFile, kPlain };

  std::atomic<uint64_t> threshold_bytes = 4 * kMiB;  // set_threshold() sets it
  // Requests below this are jemalloc's without another look: the threshold, or 0 when small blocks spill,
  // too. Not atomic, which would cost malloc() two instructions: who sees the old value makes one more block
  // the old way.
  uint64_t plain_below_bytes = 4 * kMiB;
  // Of those, requests below this are looked for in the thread's cache (thread_cache.h), and all blocks are
  // put there: 0 and false until it is known how to.
  uint64_t cached_below_bytes = 0;
  bool knows_thread_cache = false;
  std::atomic<uint64_t> limit_bytes = 0;  // 0: the kernel decides what stays in memory
  // Of the budget that this user's programs share.
  uint32_t weight = 100;
  uint64_t minimum_bytes = 16 * kMiB;  // what a program needs to run at all
  BackingChoice backing = BackingChoice::kAuto;
  std::atomic<ForkMode> fork_mode = ForkMode::kSnapshot;
  bool captures_mappings = false;  // of the program's own, private and anonymous, from the threshold on
  bool spills_small = false;       // blocks below the threshold, too
  bool compresses = false;         // what compresses well stays in memory, compressed
  bool quiet = false;
  bool stats = false;
  const char* stats_file = nullptr;  // null: stderr
  const char* trace_file = nullptr;  // null: none
  const char* directory = nullptr;   // SPILLWAY_DIR, else TMPDIR, else null
  const char* directory_name = "";   // the variable it came from, for messages

  // SPILLWAY_MASK: features to behave as if the kernel had not, so that their absence can be tested anywhere.
  struct {
    bool tmpfile = false, fallocate = false, punch = false, perf = false, uffd = false, uring = false,
         move = false, poison = false;  // the last two: of userfaultfd
  } masked;

  void read_environment();
  void set_threshold(uint64_t bytes);  // of a page at least
  // All requests are looked at from now on (spillable_heap.h).
  void look_at_all();
  // Requests below so many bytes may be looked for in the thread's cache from now on.
  void use_thread_cache(uint64_t below_bytes);
  // A line on stderr unless quiet.
  void warn(const char* format, ...) const __attribute__((format(printf, 2, 3)));

 private:
  // Programs write over their environment, to change what ps shows of them: what is wanted later is a copy.
  // One character more than a path may have, so that what is too long stays so.
  struct Path {
    char text[4097] = "";
    const char* keep(const char* value);
  };

  bool looks_at_all_ = false;
  uint64_t cacheable_below_bytes_ = 0;
  Path stats_path_, trace_path_, directory_path_;
};

// The one of the process. The threshold is valid before read_environment(), everything else after it.
// Hidden in words, so that malloc() and free() reach it without the global offset table.
[[gnu::visibility("hidden")]] extern constinit Settings settings;

}  // namespace spillway

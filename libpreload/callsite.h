// callsite.h - who asked for a large block: libunwind walks the stack, and calls from one place are summed
// up. libunwind is loaded only when statistics are wanted, and locally: it exports the _Unwind_* names of
// libgcc, and a program's C++ exceptions must not end up in it.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace spillway {

struct CallSite {
  static constexpr int kFrames = 4;
  std::atomic<bool> used = false;
  std::atomic<bool> readable = false;  // the frames are written, and never change again
  void* frames[kFrames] = {};          // the caller of malloc first; null after the last
  std::atomic<uint64_t> bytes = 0;
  std::atomic<uint64_t> calls = 0;
};

class CallSites {
 public:
  constexpr CallSites() = default;
  // Without libunwind (it is not installed) no sites are recorded.
  void load_unwinder();
  // Counts `bytes` for the place that called into this library. Null: unknown, or 1,024 other places came
  // first.
  CallSite* note(uint64_t bytes);
  // The sites with most bytes, largest first; returns how many.
  size_t top(CallSite** sites, size_t count);

 private:
  static constexpr size_t kSites = 1024;
  CallSite* find(void* const* frames);

  int (*backtrace_)(void** frames, int count) = nullptr;
  CallSite sites_[kSites];
};

// "symbol+0x12 (file) <- caller+0x34 (file)"
void describe(const CallSite& site, char* text, size_t bytes);

}  // namespace spillway

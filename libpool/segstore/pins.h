// pins.h - how often each mapping is held, counted by each thread for itself.
//
// Why: one counter per mapping costs a locked instruction to take it and one to give it back, and each makes
// the processor finish what it was doing first. A get is two cache misses; without locked instructions those
// of one get overlap with the next one's (a loop of gets: from 550 ns each to 230 to 300).
//
// A thread has a block of counters that only it changes, by plain stores; how often a mapping is held is the
// sum over all blocks, modulo 2^32: what one thread takes another may give back. The sum is exact for who
// first makes try_pin fail, and then lets every thread pass a barrier (see mapping.cc). Blocks of threads
// that ended go to new ones. Where the kernel has no such barrier, all threads share one block of atomic
// counters.
#pragma once
#include <atomic>
#include <cstdint>

namespace spillway::segstore {

inline constexpr uint32_t kMostMappings = 65'536;  // the kernel allows a process 65,530

struct PinBlock {
  std::atomic<uint32_t> counts[kMostMappings];  // memory only where it is used
};

// Null: this thread has none (yet), or shares one. initial-exec: eight bytes of what the dynamic linker keeps
// for libraries that come late, against a call for each access.
[[gnu::tls_model("initial-exec"), gnu::visibility("hidden")]] extern constinit thread_local PinBlock* my_pins;

// Before anything that is locked while pins change: a fork locks in that order.
void start_pins();
void change_pins_slowly(uint32_t mapping, int32_t by);

// For the thread whose block it is. What the caller loads next is not loaded before this, and what it read
// before, it has read before the mapping can go.
inline void change_pins(PinBlock& mine, uint32_t mapping, int32_t by) {
  std::atomic<uint32_t>& count = mine.counts[mapping];
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  // What the other branch does, in one instruction, which compilers do not make of an atomic.
  asm volatile("addl %1, %0" : "+m"(count) : "ir"(by) : "memory", "cc");
#else
  count.store(count.load(std::memory_order_relaxed) + static_cast<uint32_t>(by), std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // the processor's half is barrier_for_pins()
#endif
}
inline void change_pins(uint32_t mapping, int32_t by) {
  PinBlock* const mine = my_pins;
  if (mine == nullptr) [[unlikely]]
    return change_pins_slowly(mapping, by);
  change_pins(*mine, mapping, by);
}

// After it every change_pins that did not see what the caller stored before is in the sum. False: not so.
bool barrier_for_pins();
// Over all threads. The caller sees to it that it means something.
uint32_t sum_of_pins(uint32_t mapping);

}  // namespace spillway::segstore

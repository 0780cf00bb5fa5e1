#include "libpool/segstore/pins.h"

#include <pthread.h>

#include <mutex>
#include <vector>

#include "base/core/check.h"
#include "base/os/directory.h"
#include "base/os/thread.h"

namespace spillway::segstore {

constinit thread_local PinBlock* my_pins = nullptr;

namespace {

// Made with the first pin, never destroyed: values may outlive everything, static destructors included.
struct Blocks {
  std::mutex mutex;
  std::vector<PinBlock*> all, unused;
  PinBlock* shared = nullptr;
  const bool has_barrier = os::can_barrier_in_all_threads();
};

// The kernel's zeroes are its beginning: its constructor would write them again, and fault every page in.
PinBlock* make_block() {
  Result<PageRange> memory = os::map_private_memory(sizeof(PinBlock));
  return memory ? reinterpret_cast<PinBlock*>(memory->base) : nullptr;
}

Blocks& blocks() {
  static Blocks* const all = [] {
    auto* made = new Blocks;
    made->shared = make_block();
    CHECK(made->shared != nullptr, "no 256 KiB of addresses for the counters of held values");
    made->all.push_back(made->shared);
    // A child must not find the lock held by a thread it has not.
    static Blocks* forking = made;
    (void)pthread_atfork([] { forking->mutex.lock(); }, [] { forking->mutex.unlock(); },
                         [] { forking->mutex.unlock(); });
    return made;
  }();
  return *all;
}

// Gives the thread's block back when the thread ends; what is released later, by other such objects, goes to
// the shared one.
struct AtThreadEnd {
  bool has_ended = false;
  ~AtThreadEnd() {
    has_ended = true;
    if (my_pins == nullptr) return;
    const std::lock_guard lock(blocks().mutex);
    blocks().unused.push_back(my_pins);
    my_pins = nullptr;
  }
};
thread_local AtThreadEnd at_thread_end;

}  // namespace

void start_pins() { (void)blocks(); }

void change_pins_slowly(uint32_t mapping, int32_t by) {
  Blocks& b = blocks();
  if (b.has_barrier && !at_thread_end.has_ended) {
    const std::lock_guard lock(b.mutex);
    if (!b.unused.empty()) {
      my_pins = b.unused.back();
      b.unused.pop_back();
    } else if (PinBlock* made = make_block()) {
      b.all.push_back(made);
      my_pins = made;
    }
  }
  if (my_pins != nullptr) return change_pins(mapping, by);
  b.shared->counts[mapping].fetch_add(static_cast<uint32_t>(by), std::memory_order_seq_cst);
}

bool barrier_for_pins() {
  // Without it nobody has a block of its own, and the order of all atomic operations is what counts.
  return !blocks().has_barrier || os::barrier_in_all_threads();
}

uint32_t sum_of_pins(uint32_t mapping) {
  Blocks& b = blocks();
  const std::lock_guard lock(b.mutex);
  uint32_t sum = 0;
  for (const PinBlock* block : b.all) sum += block->counts[mapping].load(std::memory_order_seq_cst);
  return sum;
}

}  // namespace spillway::segstore

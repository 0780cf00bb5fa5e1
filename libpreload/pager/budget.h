// budget.h - how much memory large blocks may have: of --limit everything, and no more than the machine and
// the control group leave beside what everything else takes. Everything else is looked at every few
// milliseconds; small blocks, the part of it that grows fastest, are counted as they take pages. Threads:
// before the pager has started, anybody's, under the heap's lock; then the pager's, under its own.
#pragma once
#include "base/os/memory_room.h"
#include "base/os/procfs.h"

namespace spillway {

class Budget {
 public:
  constexpr Budget() = default;

  void configure(uint64_t limit_bytes);
  // Large blocks of so many bytes, and small ones, are about to fill the memory there is: it is time to
  // start.
  bool is_reached(uint64_t large_bytes, uint64_t small_bytes);

  // In the thread that answers faults, with its own descriptors.
  void open();
  void close() { room_.close(); }
  // `resident_bytes`: of large blocks, exact. True: it was time to look.
  bool look(uint64_t resident_bytes);
  void admit(uint64_t small_bytes) { taken_bytes_ += small_bytes; }

  // What large blocks may have now.
  uint64_t bytes() const;
  // The most they can ever have.
  uint64_t most_bytes() const;
  // Small blocks may take so much before large ones have made room.
  uint64_t slack_bytes() const { return memory_bytes_ / os::MemoryRoom::kReserveShare / 2; }
  // How long nothing can go wrong.
  int look_again_ms() const;

 private:
  uint64_t limit_bytes_ = 0;  // 0: none was set
  uint64_t memory_bytes_ = 0;
  uint64_t engage_at_bytes_ = 0;  // 0: not known
  uint64_t engage_known_ms_ = 0;
  os::MemoryRoom room_;
  uint64_t usable_bytes_ = 0;  // at the last look
  uint64_t taken_bytes_ = 0;   // by small blocks since
  uint64_t looked_ms_ = 0;
};

}  // namespace spillway

// small_window.h - one window of reserved address space from which jemalloc gets its memory, so that free()
// knows a small block by the upper bits of its address; a look into the page map instead cost 7 % of a
// malloc/free pair (bench/malloc). Where address space is limited there is no window, and where it is used
// up there is more memory outside: that is entered in the page map.
#pragma once
#include <atomic>
#include <cstddef>
#include <utility>

#include "base/core/page_range.h"
#include "base/core/units.h"

namespace spillway {

class SmallWindow {
 public:
  constexpr SmallWindow() = default;

  bool holds(const void* p) const { return reinterpret_cast<uint64_t>(p) >> kBits == number_; }
  // Zeroed memory in the window; null when there is none left.
  void* map(size_t bytes, size_t alignment) { return map_in(memory_, bytes, alignment); }
  // In the half that can spill; null, too, as long as nothing can.
  void* map_spillable(size_t bytes, size_t alignment) {
    return spills() ? map_in(spillable_, bytes, alignment) : nullptr;
  }
  // Small blocks have grown a good deal since the last such answer.
  bool has_grown() { return __builtin_expect(has_grown_, 0) && std::exchange(has_grown_, false); }
  bool is_open() const { return number_ != kNone; }
  PageRange memory_half() const { return memory_.all; }
  // What was mapped of the half that does not spill, and of the one that does.
  PageRange memory() const { return is_open() ? memory_.mapped() : PageRange{}; }
  PageRange spillable() const { return spills() ? spillable_.mapped() : PageRange{}; }

  // From now on small blocks get memory of that half, so many bytes of it at most. Before: where that is.
  void start_spilling(uint64_t most_bytes);
  PageRange spillable_half() const { return spillable_.all; }
  bool spills() const { return spills_.load(std::memory_order_relaxed); }
  bool is_spillable(const void* p) const { return spills() && spillable_.all.contains(p); }

 private:
  struct Half {
    PageRange all;
    std::atomic<char*> next = nullptr;
    PageRange mapped() const { return {all.base, all.offset_of(next.load(std::memory_order_relaxed))}; }
  };

  void* map_in(Half& half, size_t bytes, size_t alignment);

  static constexpr int kBits = 40;  // 1 TiB of small blocks, aligned to as much
  static constexpr uint64_t kBytes = uint64_t{1} << kBits;
  static constexpr uint64_t kGoodDeal = 4 * kMiB;
  static constexpr uint64_t kNone = UINT64_MAX;  // no address has these upper bits

  void open();

  // Not atomic, which would cost free() an instruction: it is set before the first block is given out, and
  // who has a block knows that.
  uint64_t number_ = kNone;  // the upper bits of all its addresses
  Half memory_, spillable_;
  std::atomic<bool> spills_ = false;
  bool opened_ = false;
  bool has_grown_ = false;  // missed now and then by a race, and set again soon
};

// Hidden in words, so that malloc() and free() reach it without the global offset table.
[[gnu::visibility("hidden")]] extern constinit SmallWindow small_window;

}  // namespace spillway

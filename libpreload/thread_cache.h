// thread_cache.h - jemalloc's cache of the calling thread, where nearly all small blocks come from and go to.
//
// jemalloc's own malloc() and free() look there first, too. A hook around them costs up to 12 % of a pair
// (bench/malloc): one more jump each, and a look at the size or the address. These functions do what the
// first half of jemalloc's does, and leave everything else to it. They also see what it does not look for: a
// block that is freed while it is on top of the cache was freed before.
//
// The layout is that of jemalloc 5.3.0 (tsd.h, cache_bin.h, rtree.h, emap.h there). is_laid_out_like_this()
// tells by what an allocation changes; where it says no, all goes through jemalloc's functions.
// Threads: each its own.
#pragma once
#include <cstddef>
#include <cstdint>

namespace spillway {

class ThreadCache;

}  // namespace spillway

extern "C" {
extern __thread spillway::ThreadCache je_tsd_tls
    __attribute__((tls_model("initial-exec"), visibility("hidden")));
// Of (bytes + 7) / 8 the number of the size class, and of that the bytes of its blocks.
extern const uint8_t je_sz_size2index_tab[] __attribute__((visibility("hidden")));
extern const size_t je_sz_index2size_tab[] __attribute__((visibility("hidden")));
extern unsigned je_nhbins __attribute__((visibility("hidden")));  // classes that are cached
}

namespace spillway {

class ThreadCache {
 public:
  static constexpr size_t kMostBytes = 4096;  // of a block that take() knows

  static ThreadCache& mine();
  // Allocates and frees some blocks to see.
  static bool is_laid_out_like_this();

  // A block of at least so many bytes, kMostBytes at most; null: ask jemalloc.
  void* take(size_t bytes) {
    const size_t size_class = je_sz_size2index_tab[(bytes + 7) / 8];
    const uint64_t allocated = allocated_ + je_sz_index2size_tab[size_class];
    if (__builtin_expect(allocated >= next_allocation_event_, 0)) return nullptr;
    Bin& bin = bins_[size_class];
    void** const top = bin.top;
    void* const block = *top;  // an empty bin has something to read there
    if (__builtin_expect(low_bits(top) == bin.low_water, 0)) {
      if (low_bits(top) == bin.empty) return nullptr;
      bin.low_water = low_bits(top + 1);
    }
    bin.top = top + 1;
    allocated_ = allocated;
    return block;
  }

  // True: done. False: no block that jemalloc gave out, or one that it has to free itself after
  // expect_live().
  bool put(void* block) {
    const Pages& pages = pages_around(block);
    if (__builtin_expect(pages.key != key_of(block), 0)) return false;
    const uint64_t page = pages.at(block);
    if (__builtin_expect(!is_of_small_blocks(page), 0)) return false;
    const size_t size_class = class_of(page);
    const uint64_t deallocated = deallocated_ + je_sz_index2size_tab[size_class];
    if (__builtin_expect(deallocated >= next_deallocation_event_, 0)) return false;
    Bin& bin = bins_[size_class];
    void** const top = bin.top;
    // The same block again, if the bin is not empty: expect_live() looks. A call from here would cost
    // registers.
    if (__builtin_expect(*top == block, 0)) return false;
    if (__builtin_expect(low_bits(top) == bin.full, 0)) return false;
    top[-1] = block;
    bin.top = top - 1;
    deallocated_ = deallocated;
    return true;
  }

  // Ends the program with a message when an address in the heap of small blocks is seen to be none that was
  // allocated and not freed since. `function` is whom it was passed to.
  void expect_live(const char* function, const void* block) const {
    const Pages& pages = pages_around(block);
    if (pages.key != key_of(block)) return;
    const uint64_t page = pages.at(block);
    if (!is_allocated(page)) not_live(function, block);
    if (class_of(page) < je_nhbins) expect_not_cached(bins_[class_of(page)], function, block);
  }

 private:
  // What is known of 1 GiB of addresses, a word for each page, 0 if there is nothing: in the upper 16 bits
  // the class of its blocks, kClasses if it has none; bits 2 to 4 are 0 if it is in use; bit 0: of small
  // blocks.
  struct Pages {
    uint64_t key;  // the first of the addresses, or 1
    const uint64_t* words;

    uint64_t at(const void* block) const {
      return __atomic_load_n(&words[address(block) >> 12 & 0x3ffff], __ATOMIC_RELAXED);
    }
  };
  // Free blocks of a class: a stack that grows downwards. Below it lies another class's, so that what an
  // empty one has on top may be anything.
  struct Bin {
    void** top;
    uint64_t requests;  // only for statistics: not counted here
    // The lower half of top's value when there were fewest blocks, is no room, and is none left.
    uint16_t low_water, full, empty;
  };

  static constexpr size_t kClasses = 232;
  static constexpr size_t kMostBins = 76;

  static uint64_t address(const void* block) { return reinterpret_cast<uint64_t>(block); }
  static uint16_t low_bits(void* const* top) {
    return static_cast<uint16_t>(reinterpret_cast<uint64_t>(top));
  }
  static uint64_t key_of(const void* block) { return address(block) & ~uint64_t{0x3fffffff}; }
  static bool is_of_small_blocks(uint64_t page) { return (page & 1) != 0; }
  static bool is_allocated(uint64_t page) {
    return page != 0 && (page >> 2 & 7) == 0 && class_of(page) < kClasses;
  }
  static size_t class_of(uint64_t page) { return page >> 48; }
  const Pages& pages_around(const void* block) const { return pages_[address(block) >> 30 & 15]; }

  bool works_for(size_t bytes);
  static void expect_not_cached(const Bin& bin, const char* function, const void* block);
  [[noreturn]] static void not_live(const char* function, const void* block);

  char before_[432];
  Pages pages_[16];
  char between_[136];
  uint64_t allocated_, next_allocation_event_;  // in bytes; the event is past what may be counted here
  uint64_t deallocated_, next_deallocation_event_;
  void* slow_part_;
  Bin bins_[kMostBins];
};

inline ThreadCache& ThreadCache::mine() { return je_tsd_tls; }

}  // namespace spillway

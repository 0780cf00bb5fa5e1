// index.h - where each key's latest record is: a hash table in memory that all processes of the machine map.
//
// A file on tmpfs (or private memory, for snapshots): one header page, a row per segment, then buckets of one
// cache line: seven slots and a link to an overflow bucket. A slot is one 8-byte word:
//
//   tag 22 | segment row 17 | offset/8 25          0: empty
//
// Keys are not in it; a tag that matches is checked against the record's key. It grows by linear hashing, one
// bucket at a time, so that it takes the same 14.5 to 15.5 bytes a key at any size: bucket = low bits of the
// hash. The low ten bits of a key's hash are known from the bucket's number and the other 22 are the tag, so
// growing touches no record.
//
// One writer; readers of any process take no lock and write nothing. What makes that safe:
//  - A slot changes by one atomic store, after what it points to was written (release, acquire).
//  - When an entry moves to another slot, it is copied first, then `state` changes, then the old one is
//    cleared. So a reader that found nothing has proof only if `state` is what it was before it looked.
//  - An overflow bucket is used again only after `state` has changed.
// A reader that found something loads the slot again after it has read the record (see reader.cc).
#pragma once
#include <bit>
#include <memory>
#include <string>
#include <vector>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/core/page_range.h"
#include "base/core/result.h"
#include "base/os/directory.h"
#include "base/os/memory.h"
#include "libpool/segstore/format.h"

namespace spillway::segstore {

inline uint64_t load(const uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }
// The same as load(word) == value, in one instruction, which compilers do not make of an atomic load.
inline bool is_still(const uint64_t& word, uint64_t value) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
  bool is_same;
  asm volatile("cmpq %2, %1" : "=@cce"(is_same) : "m"(word), "r"(value) : "memory");
  return is_same;
#else
  return load(word) == value;
#endif
}
inline void store(uint64_t& word, uint64_t value) { __atomic_store_n(&word, value, __ATOMIC_RELEASE); }
inline void add(uint64_t& word, uint64_t value) {
  store(word, load(word) + value);
}  // the writer's own words

inline constexpr unsigned kRowBits = 17;
inline constexpr unsigned kPlaceBits = 25;
inline constexpr uint32_t kRows = 1u << kRowBits;
inline constexpr unsigned kTagShift = kRowBits + kPlaceBits;
inline constexpr uint64_t kBaseBuckets = 1024;  // ten bits of the hash
inline constexpr unsigned kSlots = 7;

struct Location {
  uint32_t row = 0;
  uint64_t offset = 0;
  bool operator==(const Location&) const = default;
};
inline uint64_t slot_word(uint32_t hash, Location at) {
  return static_cast<uint64_t>(hash >> 10) << kTagShift | static_cast<uint64_t>(at.row) << kPlaceBits |
         at.offset / kGrid;
}
inline uint64_t row_of(uint64_t slot) { return slot >> kPlaceBits & (kRows - 1); }
inline uint64_t offset_of(uint64_t slot) { return (slot & ((uint64_t{1} << kPlaceBits) - 1)) * kGrid; }
inline Location location_of(uint64_t slot) { return {static_cast<uint32_t>(row_of(slot)), offset_of(slot)}; }

// Of a word that is not 0. std::countr_zero's result is an int, which compilers then extend.
inline uint64_t lowest_bit(uint64_t bits) {
#ifdef __x86_64__
  uint64_t number;
  asm("rep bsfq %1, %0" : "=r"(number) : "r"(bits) : "cc");  // tzcnt where there is one: the same if not 0
  return number;
#else
  return static_cast<uint64_t>(std::countr_zero(bits));
#endif
}

struct alignas(64) Bucket {
  uint64_t slots[kSlots];
  uint64_t next;  // number of an overflow bucket, plus one

  // One bit for each slot with this tag; empty ones have tag 0. Without branches: which slot it is cannot be
  // predicted, and a wrong guess costs more than looking at all. A hint: load the slot for what it says.
  unsigned matches(uint64_t tag) const {
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
    const __m128i eight = compared(tag);
    const auto bits = static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(eight, eight)));
    return bits & ((1u << kSlots) - 1);  // the last one is `next`
#else
    unsigned bits = 0;
    for (unsigned i = 0; i < kSlots; ++i)
      bits |= static_cast<unsigned>(load(slots[i]) >> kTagShift == tag) << i;
    return bits;
#endif
  }
  // The first slot with this tag in as few instructions as it takes; null: none.
  const uint64_t* first_match(uint64_t tag) const {
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
    const auto bits = static_cast<unsigned>(_mm_movemask_epi8(compared(tag)));  // two for each slot
    if ((bits & ((1u << 2 * kSlots) - 1)) == 0) [[unlikely]]
      return nullptr;
    return reinterpret_cast<const uint64_t*>(reinterpret_cast<const char*>(slots) + 4 * lowest_bit(bits));
#else
    const unsigned bits = matches(tag);
    return bits == 0 ? nullptr : slots + std::countr_zero(bits);
#endif
  }

 private:
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
  // Eight lanes of 16 bits, the last one for `next`. Each half of a 16-byte load is a load of its own as far
  // as other processes can tell. Of four slots the upper halves, side by side, begin with the tags.
  __m128i compared(uint64_t tag) const {
    const auto* pairs = reinterpret_cast<const __m128*>(slots);
    const __m128i wanted = _mm_set1_epi32(static_cast<int>(tag));
    const auto four = [&](int i) {
      const __m128i upper = _mm_castps_si128(_mm_shuffle_ps(pairs[i], pairs[i + 1], 0xDD));
      return _mm_cmpeq_epi32(_mm_srli_epi32(upper, kTagShift - 32), wanted);
    };
    return _mm_packs_epi32(four(0), four(2));
  }
#endif
};
static_assert(sizeof(Bucket) == 64);

// kLeft: compacted but for what damage keeps from being copied.
enum RowFlag : uint64_t { kSealed = 1, kSolo = 2, kCompacted = 4, kDamaged = 8, kLeft = 16 };

// What all processes know of a segment. Written by the writer alone; file_id last, and zeroed first. Every
// get loads file_id, so it does not share a cache line with what puts change.
struct alignas(64) SegmentRow {
  uint64_t file_id;
  uint64_t capacity;          // bytes of the file
  alignas(64) uint64_t used;  // records end here
  uint64_t live_bytes;        // of records that the index points to
  uint64_t live_records;
  uint64_t min_sequence;
  uint64_t max_sequence;
  uint64_t flags;
};

struct IndexHeader {
  uint64_t magic;
  StoreId store;
  uint64_t directory_device, directory_inode;
  uint64_t generation;
  char boot_id[40];
  char store_path[1024];  // so that an index whose store is gone can be told, and removed
  uint64_t max_bytes;
  uint64_t hash_seed;
  // What readers watch, each on its own line where it changes with every write.
  alignas(64) uint64_t state;             // buckets: 40 bits, moves: 24 bits
  alignas(64) uint64_t written_sequence;  // in the log
  uint64_t applied_sequence;              // in the index
  uint64_t durable_sequence;
  uint64_t latest_clock_ms;      // so that a clock that runs backwards revives nothing
  alignas(64) uint64_t retired;  // counts segments that went away; low half is waited on
  // The writer's own.
  alignas(64) uint64_t keys;
  uint64_t main_allocated, overflow_allocated;  // bytes
  uint64_t overflow_used, overflow_free;        // buckets; first of the free list plus one
  uint64_t is_moving;                           // a split is not finished
  uint64_t rows_used;                           // rows from here on were never used
  uint64_t next_row;
  uint64_t is_clean;  // nobody writes, and all is as it should be
  uint64_t writer_pid;
};
static_assert(sizeof(IndexHeader) <= kPageBytes);
inline constexpr uint64_t kIndexMagic = 0x3230584449575053;  // "SPWIDX02"
inline constexpr uint64_t kRingMagic = 0x3130474E49525753;   // "SWRING01"; see ring.h

// Addresses for the indexes of one reader, which has another one whenever the store was opened to write. Some
// get may still be under way in any it ever had: so they are never unmapped while it lives, but used again
// for indexes of the same size. That get finds another index where it looks, or zeroes, and asks again
// (get.cc, reader.cc: what a slot says is compared with the segment's row and the record, and absence with
// the state and the generation). Threads: any.
class IndexPlaces {
 public:
  IndexPlaces() = default;
  ~IndexPlaces();
  IndexPlaces(const IndexPlaces&) = delete;
  IndexPlaces& operator=(const IndexPlaces&) = delete;

  Result<PageRange> take(uint64_t bytes);
  // What is there is zeroes from now on, and takes no memory.
  void give(PageRange range);

 private:
  std::vector<PageRange> free_;
};

class Index {
 public:
  Index() = default;
  Index(Index&& other) noexcept { *this = std::move(other); }
  Index& operator=(Index&& other) noexcept;
  ~Index();

  // In `directory`, a new file with room for `keys`. ENOSPC and the like leave nothing.
  static Result<Index> create(int directory, const char* name, uint64_t max_bytes, uint64_t keys);
  static Result<Index> create_private(uint64_t max_bytes, uint64_t keys, IndexPlaces* places = nullptr);
  // What is no index of ours, or of another version, is EINVAL.
  static Result<Index> attach_writable(int fd);
  static Result<Index> attach_readable(int fd, IndexPlaces& places);

  bool is_open() const { return !range_.empty(); }
  IndexHeader& header() const { return *reinterpret_cast<IndexHeader*>(range_.base); }
  SegmentRow& row(uint32_t number) const {
    return reinterpret_cast<SegmentRow*>(range_.base + kPageBytes)[number];
  }
  uint64_t state() const { return load(header().state); }
  static uint64_t buckets_of(uint64_t state) { return state >> 24; }
  Bucket& main_bucket(uint64_t number) const {
    return reinterpret_cast<Bucket*>(range_.base + kBucketsOffset)[number];
  }
  Bucket& overflow_bucket(uint64_t number) const { return overflow_[number]; }
  static uint64_t bucket_of(uint32_t hash, uint64_t buckets) {
    const auto level = static_cast<unsigned>(63 - __builtin_clzll(buckets));  // never 0
    const uint64_t number = hash & ((uint64_t{2} << level) - 1);
    return number - (static_cast<uint64_t>(number >= buckets) << level);  // not yet split: no highest bit
  }
  static uint32_t hash_of_slot(uint64_t bucket, uint64_t slot) {
    return static_cast<uint32_t>(slot >> kTagShift) << 10 |
           static_cast<uint32_t>(bucket & (kBaseBuckets - 1));
  }
  uint64_t bytes() const;  // memory taken
  uint64_t keys() const { return load(header().keys); }
  void prefetch(uint32_t hash) const {
    __builtin_prefetch(&main_bucket(bucket_of(hash, buckets_of(state()))));
  }

  // Calls visit(slot word, its address) for each slot of the hash's chain with its tag, until it is true.
  // False: none was. Proof of absence only if state() is the same before and after.
  template <typename Visit>
  bool find(uint32_t hash, uint64_t state_before, Visit&& visit) const {
    const uint64_t tag = hash >> 10;
    Bucket* bucket = &main_bucket(bucket_of(hash, buckets_of(state_before)));
    for (uint64_t steps = 0; steps < kLongestChain; ++steps) {
      for (unsigned matches = bucket->matches(tag); matches != 0; matches &= matches - 1) {
        uint64_t& slot = bucket->slots[std::countr_zero(matches)];
        const uint64_t word = load(slot);
        if (word != 0 && visit(word, slot)) return true;
      }
      const uint64_t next = load(bucket->next);
      if (next == 0) return false;
      bucket = &overflow_bucket(next - 1);
    }
    return false;  // a chain that changes under the reader can lead in circles; state() tells
  }

  // Every slot once or, when it moves meanwhile, more than once: visit(hash, slot word). Any process. Buckets
  // are split towards higher numbers, so going upwards meets whatever moves.
  template <typename Visit>
  void for_each(Visit&& visit, uint64_t from = 0, uint64_t to = UINT64_MAX) const {
    std::vector<uint64_t> words;
    for (uint64_t number = from; number < std::min(to, buckets_of(state())); ++number) {
      for (;;) {  // again when something moved
        const uint64_t before = state();
        words.clear();
        const Bucket* bucket = &main_bucket(number);
        for (uint64_t steps = 0; steps < kLongestChain; ++steps) {
          for (const uint64_t& slot : bucket->slots)
            if (const uint64_t word = load(slot); word != 0) words.push_back(word);
          const uint64_t next = load(bucket->next);
          if (next == 0 || state() != before) break;
          bucket = &overflow_bucket(next - 1);
        }
        if (state() == before) break;
      }
      for (const uint64_t word : words) visit(hash_of_slot(number, word), word);
    }
  }

  // The writer's. After make_room inserts of these hashes cannot fail. ENOSPC: no memory for the index file;
  // EFBIG: max_bytes.
  [[nodiscard]] Errno make_room(const uint32_t* hashes, size_t count);
  void insert(uint32_t hash, Location at);
  void replace(uint64_t& slot, uint32_t hash, Location at) { store(slot, slot_word(hash, at)); }
  void erase(uint64_t& slot);
  // A row nobody uses; the one longest unused. -1: there is none.
  int64_t take_row();
  // Blocks for the rows up to this one.
  [[nodiscard]] Errno allocate_rows(uint32_t row);

  // Extents that are full of buckets become huge pages, so that a get does not miss the TLB as well. The file
  // takes no more memory for it. One thread of the writer's process.
  void use_huge_pages();

  // The same in a new file, under another generation, at the same addresses: for an index whose file was
  // removed. Nobody may write to it meanwhile. What fails has changed nothing.
  [[nodiscard]] Errno move_to(int directory, const char* name, uint64_t generation);
  // From now on readers of this mapping find zeroes, or another index; the file's memory is free when all
  // have done so.
  void leave(IndexPlaces& places);

 private:
  static constexpr uint64_t kBucketsOffset = 32 * kMiB;
  static constexpr uint64_t kLongestChain = 1'000'000;
  static constexpr uint64_t kStateMask = (uint64_t{1} << 24) - 1;

  static uint64_t mapped_bytes(uint64_t max_bytes) { return kBucketsOffset + 2 * max_bytes; }
  static Result<IndexHeader> read_header(int fd);
  static Result<Index> start(Index index, uint64_t max_bytes, uint64_t keys);
  void unmap();
  void place_overflow();
  void bump(uint64_t buckets);
  Errno allocate(uint64_t offset, uint64_t& allocated, uint64_t needed);
  Errno need_overflow(uint64_t count);
  uint64_t take_overflow();
  void give_overflow(uint64_t number);
  Errno split();
  void tidy_chain(Bucket& bucket);
  void append(Bucket& bucket, uint64_t word);

  PageRange range_;
  bool is_left_ = false;           // others may be there by now
  IndexPlaces* places_ = nullptr;  // where the range goes; null: it is unmapped
  os::Fd fd_;                      // the writer's, to grow it; invalid: private memory, or a reader
  Bucket* overflow_ = nullptr;
  uint64_t huge_main_ = 0, huge_overflow_ = 0;  // bytes
};

}  // namespace spillway::segstore

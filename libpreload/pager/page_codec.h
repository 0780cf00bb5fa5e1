// page_codec.h - 4 KiB as LZ4, after a byte shuffle where that helps: the first bytes of all words, then the
// second ones, and so on, so that the zeroes of small integers become runs (as Blosc and HDF5 do).
//
// Threads: one at a time. Needs no memory beside itself, and 4 KiB of the stack.
#pragma once
#include <cstdint>

#include "base/core/units.h"

namespace spillway {

class PageCodec {
 public:
  enum class Filter : uint8_t { kNone, kShuffle };

  // Returns how many bytes, or 0: more than `most`.
  uint32_t compress(Filter filter, const char* page, char* to, uint32_t most);
  // False: these are not the bytes of a page.
  static bool expand(Filter filter, const char* from, uint32_t bytes, char* page);

 private:
  alignas(16) char state_[16 * kKiB + 32] = {};  // LZ4's
  alignas(16) char shuffled_[kPageBytes] = {};
};

}  // namespace spillway

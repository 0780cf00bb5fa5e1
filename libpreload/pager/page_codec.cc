#include "libpreload/pager/page_codec.h"

#include <lz4.h>

#include <cstring>

namespace spillway {
namespace {

static_assert(sizeof(LZ4_stream_t) <= 16 * kKiB + 32);

constexpr uint32_t kWords = kPageBytes / 8;

// Sixteen bytes, of which two words or sixteen words' same byte.
using Bytes = uint8_t __attribute__((vector_size(16)));

Bytes load(const char* from) {
  Bytes bytes;
  memcpy(&bytes, from, sizeof bytes);
  return bytes;
}
void store(char* to, Bytes bytes) { memcpy(to, &bytes, sizeof bytes); }

// a0 b0 a1 b1 ...: of the first halves, and of the second.
Bytes interleave_first(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
Bytes interleave_second(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// Interleaves the registers whose numbers differ in `bit`. That turns the bits of a byte's place: the
// register's bit becomes the lowest of its place in the register, whose highest becomes the register's.
template <int bit>
void interleave(Bytes (&r)[8]) {
  for (int i = 0; i < 8; ++i) {
    if ((i & bit) != 0) continue;
    const Bytes a = r[i], b = r[i | bit];
    r[i] = interleave_first(a, b);
    r[i | bit] = interleave_second(a, b);
  }
}

// Sixteen words at a time: a byte's place is the word's four bits and the byte's three.
void shuffle(const char* page, char* to) {
  for (uint32_t word = 0; word < kWords; word += 16) {
    Bytes r[8];
    for (int i = 0; i < 8; ++i) r[i] = load(page + word * 8 + i * 16);
    interleave<4>(r);
    interleave<2>(r);
    interleave<1>(r);
    interleave<4>(r);
    // The register's number has the byte's bits in the order 0, 2, 1 now.
    for (uint32_t i = 0; i < 8; ++i) store(to + ((i & 3) << 1 | i >> 2) * kWords + word, r[i]);
  }
}

void unshuffle(const char* from, char* page) {
  for (uint32_t word = 0; word < kWords; word += 16) {
    Bytes r[8];
    for (uint32_t i = 0; i < 8; ++i) r[i] = load(from + i * kWords + word);
    interleave<4>(r);
    interleave<2>(r);
    interleave<1>(r);
    for (int i = 0; i < 8; ++i) store(page + word * 8 + i * 16, r[i]);
  }
}

}  // namespace

uint32_t PageCodec::compress(Filter filter, const char* page, char* to, uint32_t most) {
  if (filter == Filter::kShuffle) {
    shuffle(page, shuffled_);
    page = shuffled_;
  }
  return static_cast<uint32_t>(LZ4_compress_fast_extState(state_, page, to, static_cast<int>(kPageBytes),
                                                          static_cast<int>(most), /*acceleration=*/1));
}

bool PageCodec::expand(Filter filter, const char* from, uint32_t bytes, char* page) {
  alignas(16) char shuffled[kPageBytes];
  char* to = filter == Filter::kShuffle ? shuffled : page;
  const int n = LZ4_decompress_safe(from, to, static_cast<int>(bytes), static_cast<int>(kPageBytes));
  if (n != static_cast<int>(kPageBytes)) return false;
  if (filter == Filter::kShuffle) unshuffle(shuffled, page);
  return true;
}

}  // namespace spillway

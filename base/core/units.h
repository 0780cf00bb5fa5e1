// units.h - the sizes everything is counted in, and rounding to them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace spillway {

inline constexpr uint64_t kKiB = uint64_t{1} << 10;
inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr uint64_t kGiB = uint64_t{1} << 30;

// x86-64 and the default arm64 configuration. A kernel with larger pages refuses the first mapping, with a
// message.
inline constexpr uint64_t kPageShift = 12;
inline constexpr uint64_t kPageBytes = uint64_t{1} << kPageShift;

// The granule of address space, eviction and huge pages: one entry of the page map.
inline constexpr uint64_t kExtentShift = 21;
inline constexpr uint64_t kExtentBytes = uint64_t{1} << kExtentShift;
inline constexpr unsigned kExtentPages = kExtentBytes / kPageBytes;

constexpr bool is_power_of_two(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }
// `to` is a power of two. The caller has made sure that n + to does not overflow.
constexpr uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) & ~(to - 1); }
constexpr uint64_t round_down(uint64_t n, uint64_t to) { return n & ~(to - 1); }

}  // namespace spillway

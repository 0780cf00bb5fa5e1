// streams.h - recognises runs of extents that are touched one after the other, forward, backward or with a
// stride, several at once, and says what to read ahead. The window doubles while it is used. Extents that are
// in memory cause no faults: a stream passes over them.
//
// Source of the idea: majority and stride prefetchers such as Leap (ATC 2020). Indices are of extents within
// one chunk. Threads: the caller holds the pager's lock.
#pragma once
#include <atomic>
#include <cstdint>

namespace spillway {

class Streams {
 public:
  // Whether the extent is in memory, or there is none.
  using IsHere = bool (*)(const void* chunk, int64_t index);
  constexpr explicit Streams(IsHere is_here) : is_here_(is_here) {}

  // Extents first, first + step, ... `count` of them, are to be read ahead.
  struct Ahead {
    int64_t first = 0;
    int64_t step = 0;
    int count = 0;
    int stream = -1;
  };
  // Whether a stream comes by there next: forward ones enter an extent at its beginning, backward ones at its
  // end.
  bool expects(const void* chunk, int64_t index, bool at_beginning, bool at_end) const;
  // A thread had to wait for an extent (or to have it moved back). `most`: the largest window.
  Ahead on_fault(const void* chunk, int64_t index, int most);
  // Of what is to be read ahead only the first `count` could be: the rest is for the next time.
  void fell_short(const Ahead& ahead, int count);
  // A fault on no stream's way. Streams that have ended are forgotten, so that chance does not lead to them.
  void on_scattered_fault();
  // That were recognised so far.
  uint64_t recognised() const { return recognised_.load(std::memory_order_relaxed); }

 private:
  static constexpr int kStreams = 16;
  static constexpr uint64_t kScatteredPerStream = 64;
  static constexpr int64_t kLongestGap = 64;
  static constexpr int kFarthest = 16;  // a stride larger than so many extents is no stream
  struct Stream {
    const void* chunk = nullptr;
    int64_t at = 0;     // the last extent that was touched
    int64_t step = 0;   // 0: one fault so far
    int64_t front = 0;  // the last that is being read ahead
    int window = 0;
    uint64_t used = 0;
  };

  bool leads_to(const Stream& s, const void* chunk, int64_t index) const;
  Stream* beginning(const void* chunk, int64_t index);
  Stream& oldest();

  const IsHere is_here_;
  Stream streams_[kStreams];
  uint64_t clock_ = 0, scattered_ = 0;
  std::atomic<uint64_t> recognised_ = 0;
};

}  // namespace spillway

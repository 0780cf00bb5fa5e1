#include "libpreload/pager/streams.h"

#include <algorithm>
#include <cstdlib>

namespace spillway {

// On the stream's way, up to just beyond what is being read ahead.
Streams::Stream* Streams::going_on(const void* chunk, int64_t index) {
  for (Stream& s : streams_) {
    if (s.chunk != chunk || s.step == 0) continue;
    const int64_t steps = (index - s.at) / s.step;
    if ((index - s.at) % s.step == 0 && steps >= 0 && steps <= (s.front - s.at) / s.step + 1) return &s;
  }
  return nullptr;
}

// Near the only fault of a stream to be.
Streams::Stream* Streams::beginning(const void* chunk, int64_t index) {
  Stream* nearest = nullptr;
  for (Stream& s : streams_) {
    const int64_t distance = std::abs(index - s.at);
    if (s.chunk == chunk && s.step == 0 && distance != 0 && distance <= kFarthest &&
        (nearest == nullptr || distance < std::abs(index - nearest->at)))
      nearest = &s;
  }
  return nearest;
}

Streams::Stream& Streams::oldest() {
  return *std::min_element(streams_, streams_ + kStreams,
                           [](const Stream& a, const Stream& b) { return a.used < b.used; });
}

Streams::Ahead Streams::on_fault(const void* chunk, int64_t index, int most) {
  ++clock_;
  if (Stream* s = going_on(chunk, index)) {
    s->used = clock_;
    if (index == s->at) return {};
    s->at = index;
    s->window = std::min(std::max(2, 2 * s->window), most);
    const int64_t goal = index + s->step * s->window;
    // Behind the reader after all: start anew from where it is.
    if ((s->front - index) / s->step < 0) s->front = index;
    const auto count = static_cast<int>((goal - s->front) / s->step);
    if (count <= 0) return {};
    const Ahead ahead{s->front + s->step, s->step, count};
    s->front = goal;
    return ahead;
  }
  if (Stream* s = beginning(chunk, index)) {
    *s = {chunk, index, index - s->at, index, 1, clock_};
    // A step of one is a stream at once; a stride must be seen twice.
    if (std::abs(s->step) > 1) return {};
    s->front = index + s->step;
    return {s->front, s->step, 1};
  }
  oldest() = {chunk, index, 0, index, 0, clock_};
  return {};
}

}  // namespace spillway

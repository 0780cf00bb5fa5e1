#include "libpreload/pager/streams.h"

#include <algorithm>
#include <cstdlib>

namespace spillway {

// Next on the stream's way, or next but one: threads overtake each other.
bool Streams::leads_to(const Stream& s, const void* chunk, int64_t index) const {
  if (s.chunk != chunk || s.step == 0 || (index - s.at) % s.step != 0) return false;
  const int64_t steps = (index - s.at) / s.step;
  if (steps < 0 || steps > kLongestGap) return false;
  int missed = 0;
  for (int64_t i = s.at + s.step; i != index && s.at != index && missed <= 1; i += s.step)
    missed += !is_here_(chunk, i);
  return missed <= 1;
}

bool Streams::expects(const void* chunk, int64_t index, bool at_beginning, bool at_end) const {
  return std::any_of(streams_, streams_ + kStreams, [&](const Stream& s) {
    return (s.step > 0 ? at_beginning : at_end) && leads_to(s, chunk, index);
  });
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

void Streams::on_scattered_fault() {
  if (++scattered_ % kScatteredPerStream == 0) oldest() = {};
}

void Streams::fell_short(const Ahead& ahead, int count) {
  if (ahead.stream >= 0) streams_[ahead.stream].front = ahead.first + (count - 1) * ahead.step;
}

Streams::Ahead Streams::on_fault(const void* chunk, int64_t index, int most) {
  ++clock_;
  Stream* const s = std::find_if(streams_, streams_ + kStreams,
                                 [&](const Stream& stream) { return leads_to(stream, chunk, index); });
  if (s != streams_ + kStreams) {
    s->used = clock_;
    if (index == s->at) return {};
    s->at = index;
    if (s->window == 1) recognised_.fetch_add(1, std::memory_order_relaxed);
    s->window = std::min(std::max(2, 2 * s->window), most);
    // Behind the reader after all: start anew from where it is.
    if ((s->front - index) / s->step < 0) s->front = index;
    int missing = s->window;
    for (int64_t i = index; i != s->front && missing > 0;) missing -= !is_here_(chunk, i += s->step);
    const int64_t first = s->front + s->step;
    int count = 0;
    for (; missing > 0 && count < kLongestGap; ++count) missing -= !is_here_(chunk, s->front += s->step);
    return {first, s->step, count, static_cast<int>(s - streams_)};
  }
  if (Stream* second = beginning(chunk, index)) {
    *second = {chunk, index, index - second->at, index, 1, clock_};
    // A step of one is a stream at once; a stride must be seen twice.
    if (std::abs(second->step) > 1) return {};
    second->front = index + second->step;
    return {second->front, second->step, 1, static_cast<int>(second - streams_)};
  }
  oldest() = {chunk, index, 0, index, 0, clock_};
  return {};
}

}  // namespace spillway

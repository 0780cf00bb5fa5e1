#include "libpool/segstore/ring_client.h"

#include <cstring>

#include "base/os/clock.h"
#include "base/os/futex.h"

namespace spillway::segstore {
namespace {

constexpr int kLookAgainMs = 20;    // whether the writer lives, which tells nobody when it dies
constexpr int kAnswerSpins = 2000;  // about a microsecond: a writer that is awake has answered by then

}  // namespace

std::shared_ptr<RingClient> RingClient::attach(int directory) {
  std::shared_ptr<RingClient> client(new RingClient);
  Result<Control> control = Control::open(directory);
  Result<os::Fd> lock_file = os::open_in(directory, "LOCK", os::OpenFor::kReading);
  std::string path;
  if (!control || !lock_file || !control->read_ring_path(path, client->generation_) || path.empty())
    return nullptr;
  Result<Ring> ring = Ring::attach(directory, path);
  if (!ring) return nullptr;
  client->control_ = std::move(*control);
  client->lock_file_ = std::move(*lock_file);
  client->ring_ = std::move(*ring);
  return client->is_alive() ? client : nullptr;
}

bool RingClient::is_over() const {
  return ring_.header().end == kEnded || control_.ring_generation() != generation_ ||
         !os::is_file_locked(lock_file_.get());
}

bool RingClient::is_alive() const { return ring_.header().end == kServes && !is_over(); }

bool RingClient::take_slot(uint32_t& number, Answer& why) {
  const std::lock_guard lock(mutex_);
  if (!idle_.empty()) {
    number = idle_.back();
    idle_.pop_back();
    return true;
  }
  why.how = Answer::How::kNoSlot;
  for (number = 0; number < kRingSlots; ++number) {
    if (ours_[number]) continue;
    const Errno error = ring_.take(number);
    if (error.ok()) return ours_[number] = true;
    if (error == EAGAIN) continue;
    why.how = Answer::How::kNoMemory;
    why.os_error = error.code();
    return false;
  }
  return false;
}

void RingClient::give_slot(uint32_t number) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kKeptSlots) return idle_.push_back(number);
  ours_[number] = false;
  ring_.give_back(number);
}

void RingClient::submit(uint32_t number, uint32_t bytes, bool is_first, bool is_last) {
  RingSlot& slot = ring_.slot(number);
  slot.bytes = bytes;
  slot.is_first = is_first ? 1 : 0;
  slot.is_last = is_last ? 1 : 0;
  slot.state = SlotState::kSubmitted;
  RingHeader& header = ring_.header();
  header.submitted[number / 64] |= uint64_t{1} << (number % 64);
  ++header.bell;
  if (header.is_asleep.exchange(0) != 0) os::wake_all_shared(&header.bell);
}

bool RingClient::wait(RingSlot& slot, bool is_last, Answer& answer) {
  for (int spins = 0; slot.state != SlotState::kDone && spins < kAnswerSpins; ++spins) {
  }
  for (;;) {
    SlotState state = slot.state;
    if (state == SlotState::kDone) return true;
    const bool ends = ring_.header().end != kServes;
    if (ends && state == SlotState::kSubmitted &&
        slot.state.compare_exchange_strong(state, SlotState::kFree)) {
      answer.how = Answer::How::kNotBegun;
      return false;
    }
    os::wait_shared(&slot.state, static_cast<uint32_t>(state), kLookAgainMs);
    if (slot.state != state || !is_over()) continue;
    state = slot.state;  // for the last time: nobody changes it any more
    if (state == SlotState::kDone) return true;
    // A piece that is not the last was not acted on, whoever has read it.
    answer.how = !is_last || state == SlotState::kSubmitted ? Answer::How::kNotBegun
                 : state == SlotState::kMade                ? Answer::How::kMade
                                                            : Answer::How::kUnknown;
    answer.sequence = slot.sequence;
    slot.state = SlotState::kFree;
    return false;
  }
}

Answer RingClient::call(const Request& request) {
  Answer answer;
  if (ring_.header().end != kServes) return answer;
  uint32_t number = 0;
  if (!take_slot(number, answer)) return answer;
  answer = {};
  RingSlot& slot = ring_.slot(number);
  char* const piece = ring_.piece(number);
  uint64_t filled = 0;
  bool is_first = true, answered = false;
  // True: it has an answer, perhaps to a piece.
  auto hand_over = [&](bool is_last) {
    submit(number, static_cast<uint32_t>(filled), is_first, is_last);
    is_first = false;
    filled = 0;
    if (!wait(slot, is_last, answer)) return false;
    answer.how = Answer::How::kGiven;
    answer.code = static_cast<StoreCode>(slot.code);
    answer.os_error = slot.os_error;
    answer.sequence = slot.sequence;
    answer.message.assign(slot.message, std::min<size_t>(slot.message_bytes, sizeof slot.message));
    slot.state = SlotState::kFree;
    return true;
  };
  answered = [&] {
    for (std::string_view rest : request.pieces)
      while (!rest.empty()) {
        if (filled == kPieceBytes && (!hand_over(false) || answer.code != StoreCode::kOk)) return true;
        const uint64_t part = std::min<uint64_t>(rest.size(), kPieceBytes - filled);
        memcpy(piece + filled, rest.data(), part);
        filled += part;
        rest.remove_prefix(part);
      }
    return false;
  }();
  if (!answered) (void)hand_over(true);
  give_slot(number);
  return answer;
}

}  // namespace spillway::segstore

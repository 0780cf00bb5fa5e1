#include "libpool/segstore/ring_server.h"

#include <bit>
#include <cstring>
#include <new>

#include "base/os/clock.h"
#include "base/os/futex.h"
#include "libpool/segstore/reader.h"
#include "libpool/segstore/shared_files.h"

namespace spillway::segstore {
namespace {

constexpr int kLookAroundMs = 1000;                  // for what dead clients left half submitted
constexpr int kRequestSpins = 2000;                  // about a microsecond: the next write of a client
constexpr uint64_t kLongBytes = kMiB;                // from here on a value is a file of its own
constexpr uint64_t kMostBytes = uint64_t{8} * kGiB;  // of one request; no value is larger than 4 GiB

}  // namespace

StoreResult<std::unique_ptr<RingServer>> RingServer::start(Writes& writer, int directory,
                                                           const std::string& path,
                                                           const std::string& index_directory, Files& files) {
  std::unique_ptr<RingServer> server(new RingServer(writer, files));
  Result<Control> control = Control::create(directory);
  if (!control) return failure(control.error(), path + "/CONTROL");
  server->control_ = std::move(*control);
  server->directory_ = directory;
  server->path_ = path;
  server->index_directory_ = index_directory;
  Result<Ring> ring = Ring::create(directory, index_directory, path, server->ring_path_);
  if (!ring) return failure(ring.error(), path + ": a ring for those who write through this process");
  server->ring_ = std::move(*ring);
  server->to_flush_.reserve(kRingSlots);  // what is made is remembered, however little memory there is
  RingServer* const self = server.get();
  server->taker_ = start_thread([self] { self->take_requests(); });
  server->flusher_ = start_thread([self] { self->flush_for_all(); });
  server->long_worker_ = start_thread([self] { self->do_long_ones(); });
  files.step("ring:announce");
  server->control_.write_ring_path(server->ring_path_, (server->control_.ring_generation() | 1) + 1);
  return server;
}

void RingServer::stop() {
  {
    const std::lock_guard lock(ring_mutex_);
    if (!ring_.is_open() || stopping_.exchange(true)) return;
    ring_.end(kEnding);
    ++ring_.header().bell;
    os::wake_all_shared(&ring_.header().bell);
  }
  end_thread(taker_);
  // Long ones go on to the flusher, so it ends last.
  const auto end_lane = [&](bool& no_more, std::condition_variable& wakes, std::thread& lane) {
    {
      const std::lock_guard lock(mutex_);
      no_more = true;
    }
    wakes.notify_all();
    end_thread(lane);
  };
  end_lane(no_more_long_ones_, long_wakes_, long_worker_);
  end_lane(no_more_to_flush_, flush_wakes_, flusher_);
  ring_.end(kEnded);
  remove_shared_file(directory_, ring_path_);
}

void RingServer::take_requests() {
  uint64_t looked_ms = os::monotonic_ms();
  while (!stopping_) {
    RingHeader& header = ring_.header();
    const uint32_t bell = header.bell;
    if (take_submitted(false)) continue;
    bool rang = false;
    for (int spins = 0; !rang && spins < kRequestSpins; ++spins) rang = header.bell != bell;
    if (rang) continue;
    header.is_asleep = 1;
    if (header.bell == bell && !stopping_) os::wait_shared(&header.bell, bell, kLookAroundMs);
    header.is_asleep = 0;
    if (header.bell != bell && os::monotonic_ms() - looked_ms < kLookAroundMs) continue;
    looked_ms = os::monotonic_ms();
    // A client may have died between submitting and saying so, or with half of a request here.
    (void)take_submitted(true);
    drop_of_the_dead();
    replace_ring_if_gone();
  }
}

// As Writer::replace_index_if_gone. By the thread that takes requests: when it has none, the others have.
void RingServer::replace_ring_if_gone() {
  if (!(os::open_in(directory_, ring_path_.c_str(), os::OpenFor::kReading).error() == ENOENT)) return;
  // 1. Clients keep what was not taken, and wait for another ring.
  ring_.end(kEnding);
  // 2. What was taken is answered, so the other threads do not look at the ring. Until then it is not over.
  const auto is_busy = [&] {
    for (uint32_t number = 0; number < kRingSlots; ++number) {
      const SlotState state = ring_.slot(number).state;
      if (state == SlotState::kTaken || state == SlotState::kMade) return true;
    }
    return false;
  };
  while (is_busy()) {
    if (stopping_) return;
    os::sleep_us(1000);
  }
  const uint64_t coming = control_.ring_generation() | 1;
  store(control_.block().ring_generation, coming);
  ring_.end(kEnded);
  for (std::string& request : requests_) request = {};
  // 3. The other one.
  std::string path;
  Result<Ring> ring = Ring::create(directory_, index_directory_, path_, path);
  const std::lock_guard lock(ring_mutex_);
  if (!ring || stopping_) {
    if (ring) remove_shared_file(directory_, path);
    return;  // in a second again
  }
  ring_ = std::move(*ring);
  ring_path_ = path;
  control_.write_ring_path(ring_path_, coming + 1);
}

bool RingServer::take_submitted(bool all) {
  bool any = false;
  for (uint32_t word = 0; word < kRingSlots / 64; ++word) {
    std::atomic<uint64_t>& hints = ring_.header().submitted[word];
    if (!all && hints == 0) continue;
    for (uint64_t bits = hints.exchange(0) | (all ? ~uint64_t{0} : 0); bits != 0; bits &= bits - 1) {
      const uint32_t number = word * 64 + static_cast<uint32_t>(std::countr_zero(bits));
      SlotState submitted = SlotState::kSubmitted;
      if (!ring_.slot(number).state.compare_exchange_strong(submitted, SlotState::kTaken)) continue;
      any = true;
      take(number);
    }
  }
  return any;
}

void RingServer::take(uint32_t number) try {
  files_.step("ring:taken");
  const RingSlot& slot = ring_.slot(number);
  const uint64_t bytes = std::min<uint64_t>(slot.bytes, kPieceBytes);
  std::string& request = requests_[number];
  if (slot.is_first != 0) request.clear();
  if (request.size() + bytes > kMostBytes) {
    request = {};
    return answer(number, StoreStatus(StoreCode::kInvalid, "a write of more than 8 GiB"));
  }
  request.append(ring_.piece(number), bytes);
  if (slot.is_last == 0) return answer(number, uint64_t{0});
  const std::optional<ReadRequest> read = read_request(request);
  if (!read) return answer(number, StoreStatus(StoreCode::kInvalid, "a request that cannot be read"));
  const bool is_long = request.size() >= kLongBytes || read->head.what == Wanted::kCompact ||
                       (read->head.durability == Durability::kSync && read->head.what != Wanted::kSync);
  if (!is_long) return make(number, *read);
  {
    const std::lock_guard lock(mutex_);
    long_ones_.emplace_back(number, std::exchange(request, {}));
  }
  long_wakes_.notify_one();
} catch (const std::bad_alloc&) {
  requests_[number] = {};
  answer(number, StoreStatus(StoreCode::kIo, "the writing process has no memory for this write", ENOMEM));
}

StoreResult<uint64_t> RingServer::make_now(const ReadRequest& request, Durability durability) {
  PutOptions options = request.options();
  options.durability = durability;
  switch (request.head.what) {
    case Wanted::kPut:
      return writer_.put(request.key, request.value, options, request.condition);
    case Wanted::kRemove:
      return writer_.remove(request.key, durability, request.condition);
    case Wanted::kBatch:
      return writer_.write(request.batch, durability);
    case Wanted::kSync:
      return uint64_t{0};
    case Wanted::kCompact:
      if (StoreStatus bad = writer_.compact(); !bad.ok()) return bad;
      return uint64_t{0};
  }
  return StoreStatus(StoreCode::kInvalid, "a request that cannot be read");
}

void RingServer::make(uint32_t number, const ReadRequest& request) {
  const bool waits = request.head.durability == Durability::kGroup && request.head.what != Wanted::kCompact;
  StoreResult<uint64_t> result = make_now(request, waits ? Durability::kAsync : request.head.durability);
  const bool is_made = result.ok() && (*result != 0 || request.head.what == Wanted::kSync);
  if (!waits || !is_made) return answer(number, result);
  RingSlot& slot = ring_.slot(number);
  slot.sequence = *result;
  slot.state = SlotState::kMade;
  files_.step("ring:made");
  {
    const std::lock_guard lock(mutex_);
    to_flush_.push_back({number, *result});
  }
  flush_wakes_.notify_one();
}

void RingServer::answer(uint32_t number, const StoreResult<uint64_t>& result) {
  RingSlot& slot = ring_.slot(number);
  const StoreStatus& status = result.status();
  slot.code = static_cast<uint32_t>(status.code());
  slot.os_error = status.os_error();
  slot.message_bytes = 0;
  slot.sequence = 0;
  if (result.ok()) {
    slot.sequence = *const_cast<StoreResult<uint64_t>&>(result);
  } else {
    slot.message_bytes = static_cast<uint32_t>(std::min(status.message().size(), sizeof slot.message));
    memcpy(slot.message, status.message().data(), slot.message_bytes);
  }
  files_.step("ring:answer");
  slot.state = SlotState::kDone;
  os::wake_all_shared(&slot.state);
}

// Memory of requests whose clients died before the last piece.
void RingServer::drop_of_the_dead() {
  for (uint32_t number = 0; number < kRingSlots; ++number)
    if (requests_[number].capacity() > kPieceBytes && !ring_.is_taken(number)) requests_[number] = {};
}

void RingServer::flush_for_all() {
  std::vector<Waiting> now;
  now.reserve(kRingSlots);
  for (;;) {
    now.clear();
    {
      std::unique_lock lock(mutex_);
      flush_wakes_.wait(lock, [&] { return no_more_to_flush_ || !to_flush_.empty(); });
      if (to_flush_.empty()) return;
      now.swap(to_flush_);
    }
    const StoreStatus status = writer_.sync();
    for (const Waiting& each : now)
      answer(each.slot, status.ok() ? StoreResult<uint64_t>(each.sequence) : StoreResult<uint64_t>(status));
  }
}

void RingServer::do_long_ones() {
  for (;;) {
    std::pair<uint32_t, std::string> next;
    {
      std::unique_lock lock(mutex_);
      long_wakes_.wait(lock, [&] { return no_more_long_ones_ || !long_ones_.empty(); });
      if (long_ones_.empty()) return;
      next = std::move(long_ones_.front());
      long_ones_.pop_front();
    }
    try {
      // It was read once already, in this process's memory.
      if (const std::optional<ReadRequest> request = read_request(next.second)) make(next.first, *request);
    } catch (const std::bad_alloc&) {
      answer(next.first,
             StoreStatus(StoreCode::kIo, "the writing process has no memory for this write", ENOMEM));
    }
  }
}

}  // namespace spillway::segstore
